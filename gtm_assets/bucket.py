"""The bucket of an object store that speaks S3, as a file system whose errors are sentences.

It is s3fs with three things of its own: a pattern is answered by one flat list and not folder by folder, an answer
whose body breaks off is asked for again, and each error names the bucket, the key and what to do. Credentials are
found as AWS's own tools find them; AWS_MAX_ATTEMPTS says how often a request is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from fnmatch import fnmatchcase
from http.client import IncompleteRead
from typing import Any

import fsspec
from aiohttp import ClientPayloadError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem
from typing_extensions import override

from gtm_assets.errors import BucketAway, BucketError
from gtm_assets.settings import Settings

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, TokenRetrievalError)
_BROKEN_OFF = (ClientPayloadError, HTTPClientError, IncompleteRead, asyncio.TimeoutError)
_REGION = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "IllegalLocationConstraintException"}
)
_AWAY = frozenset(
    {
        *("500", "502", "503", "504", "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"),
        *("409", "ConditionalRequestConflict", "OperationAborted", "Throttling", "TooManyRequests", "429"),
    }
)
_RIGHTS = "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject"
_BLOCK = 8 * 2**20
"""Bytes that are read at a time at least."""


class Bucket(S3FileSystem):  # type: ignore[misc]
    """The file system of ``s3://`` in this process."""

    default_block_size = _BLOCK
    retries = 1
    """AWS's library tries again, and waits longer each time. s3fs need not do so too."""

    @override
    async def _call_s3(self, method: str, *given: Mapping[str, Any], **kwargs: Any) -> Any:
        for last in (False, False, True):
            try:
                answer = await super()._call_s3(method, *given, **kwargs)
                if method == "get_object":
                    answer["Body"] = _Body(await answer["Body"].read())
                return answer
            except FileNotFoundError as error:
                if _code(error) == "NoSuchBucket":
                    raise self._told(error, **kwargs) from error
                raise
            except FileExistsError:
                raise
            except _BROKEN_OFF as error:
                if last:
                    raise self._told(error, **kwargs) from error
            except (OSError, BotoCoreError) as error:
                if _code(error) == "PreconditionFailed" and "IfNoneMatch" in kwargs:
                    raise FileExistsError(str(error)) from error
                raise self._told(error, **kwargs) from error

    async def _keys_below(self, path: str) -> dict[str, str]:
        bucket, _, prefix = path.partition("/")
        found: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            answer = await self._call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            found |= {f"{bucket}/{key['Key']}": key["ETag"] for key in answer.get("Contents", ())}
            if not answer.get("IsTruncated"):
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    keys_below = sync_wrapper(_keys_below)
    """Each key that begins like this, by ``bucket/key``, with its entity tag."""

    @override
    async def _glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        path = self._strip_protocol(path)
        parts = path.split("/")
        magic = [number for number, part in enumerate(parts) if any(c in part for c in "*?[")]
        if "**" in path:
            return list(await super()._glob(path))
        if not magic:
            return [path] if await self._exists(path) else []
        found = await self._keys_below("/".join([*parts[: magic[0]], parts[magic[0]].split("*")[0]]))
        return [
            key
            for key in found
            if key.count("/") == path.count("/") and all(map(fnmatchcase, key.split("/"), parts))
        ]

    def _told(self, error: Exception, Bucket: str = "", Key: str = "", Prefix: str = "", **_: Any) -> BucketError:
        """The error as a sentence."""
        place = f"s3://{Bucket}/{Key or Prefix}"
        code = _code(error)
        where = f" at {self.endpoint_url}" if self.endpoint_url else ""
        if isinstance(error, _NO_CREDENTIALS):
            return BucketError(
                f"{place}: there are no credentials for the bucket{where} ({error}). Set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
            )
        if code == "NoSuchBucket":
            return BucketError(
                f"{place}: there is no bucket {Bucket}{where}. Make it, or mend GTM_LAKE_URL or GTM_LAKE_ENDPOINT"
            )
        if code in _REGION:
            return BucketError(f"{place}: the bucket lies in another region ({error}). Set GTM_LAKE_REGION")
        if isinstance(error, PermissionError):
            return BucketError(
                f"{place}: the credentials are refused{where} ({error}). See that they are right and not over, "
                f"and that they may {_RIGHTS} there"
            )
        if isinstance(error, (*_BROKEN_OFF, BotoCoreError, TimeoutError)) or code in _AWAY:
            return BucketAway(
                f"{place}: the bucket{where} does not answer now ({error or type(error).__name__}). Nothing is "
                f"lost. Try again later; see that GTM_LAKE_ENDPOINT and the network are right"
            )
        return BucketError(f"{place}: the request was refused{where} ({error})")


class _Body:
    """An answer's body that has been read."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content

    def close(self) -> None:
        """Nothing is open."""


def _code(error: BaseException) -> str:
    """The store's own word for what is wrong."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def options(settings: Settings) -> dict[str, Any]:
    """What tells one store from another. No credentials are among it."""
    # What others write, and what is removed, is seen at once.
    given: dict[str, Any] = {"use_listings_cache": False}
    if settings.lake_endpoint:
        given["endpoint_url"] = settings.lake_endpoint
    if settings.lake_region:
        given["client_kwargs"] = {"region_name": settings.lake_region}
    return given


fsspec.register_implementation("s3", Bucket, clobber=True)
