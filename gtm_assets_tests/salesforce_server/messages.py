"""Requests and replies, apart from how they travel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gtm_assets_tests.salesforce_server.errors import ApiError


@dataclass
class Request:
    """A request: what was sent, and what the routes make of it.

    ``path`` is without the query string, ``params`` are decoded, headers have lower-case names.
    """

    method: str
    path: str
    params: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    endpoint: str = ""
    """Which resource: token, versions, resources, limits, objects, describe, query, query_more, deleted,
    job_create, jobs, job_status, job_results, job_change, job_delete."""
    object: str = ""
    """API name of the object concerned, where there is one."""
    soql: str = ""
    """The query, where there is one."""
    version: str = ""
    """Version of the API, such as 59.0."""

    @property
    def line(self) -> str:
        """``GET /services/data/v59.0/query q=select …``: method, path, decoded parameters, a job's query."""
        params = " ".join(f"{name}={value}" for name, value in self.params.items())
        soql = self.soql if self.soql not in self.params.values() else ""
        return " ".join(part for part in (self.method, self.path, params, soql) if part)

    def json(self) -> dict[str, Any]:
        """The body.

        Raises:
            ApiError: it isn't a JSON object.
        """
        try:
            body = json.loads(self.body)
        except ValueError as error:
            raise ApiError(400, "JSON_PARSER_ERROR", f"The JSON body could not be read: {error}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "JSON_PARSER_ERROR", "The JSON body is not an object")
        return body


@dataclass
class Reply:
    """A reply: status, headers and the body, in one piece or many."""

    status: int
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Reply:
        """A JSON body."""
        try:
            body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair: Salesforce escapes it.
            body = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, body, {"Content-Type": "application/json;charset=UTF-8"})

    @classmethod
    def error(cls, error: ApiError) -> Reply:
        """The reply that an error is."""
        return cls.json(error.body, error.status)

    def whole(self) -> bytes:
        """The body in one piece."""
        if not isinstance(self.body, bytes):
            self.body = b"".join(self.body)
        return self.body


@dataclass(frozen=True)
class Logged:
    """A request that the server has answered. ``status`` is None where the connection broke before a reply."""

    method: str
    path: str
    params: dict[str, str]
    endpoint: str
    object: str
    soql: str
    status: int | None
    fault: str | None
