"""Logging in: OAuth 2.0 client credentials and JWT bearer, and the tokens that they give."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl

import jwt

from gtm_assets.sources.salesforce.synthetic.ids import HIDDEN
from gtm_assets_tests.salesforce_server.messages import Reply, Request
from gtm_assets_tests.salesforce_server.objects import make_id

ORG_ID = make_id("00D", HIDDEN)
USER_ID = make_id("005", HIDDEN)
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_URLS = ("https://login.salesforce.com", "https://test.salesforce.com")
_LONGEST_ASSERTION = timedelta(minutes=5)


@dataclass(frozen=True)
class ConnectedApp:
    """The app that clients log in as.

    ``public_key`` (PEM, RSA) checks the signature of JWT assertions for ``username``; without it only client
    credentials work.
    """

    consumer_key: str = "local-consumer-key"
    consumer_secret: str = "local-consumer-secret"
    username: str = "integration@local.example"
    public_key: str | None = None


class _Refused(Exception):
    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.reply = Reply.json({"error": error, "error_description": description}, 400)


class Sessions:
    """Tokens given and still good. Safe for threads.

    A token's age and an assertion's end are measured by the machine's clock, as both ends must; the org's own
    time is another.
    """

    def __init__(self, app: ConnectedApp, lifetime: timedelta) -> None:
        """No sessions yet; each lives for ``lifetime``."""
        self.app = app
        self.lifetime = lifetime
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()

    def token(self, request: Request, url: str) -> Reply:
        """The reply to a request for a token; ``url`` is the server's own."""
        form = dict(parse_qsl(request.body.decode(errors="replace"), keep_blank_values=True)) | request.params
        try:
            self._check(form, request.headers.get("authorization", ""), url)
        except _Refused as refused:
            return refused.reply
        access = f"{ORG_ID[:15]}!{secrets.token_urlsafe(48)}"
        with self._lock:
            self._ends[access] = time.monotonic() + self.lifetime.total_seconds()
        return Reply.json(
            {
                "access_token": access,
                "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
                "scope": "api",
                "instance_url": url,
                "id": f"{LOGIN_URLS[0]}/id/{ORG_ID}/{USER_ID}",
                "token_type": "Bearer",
                "issued_at": str(int(time.time() * 1000)),
                "api_instance_url": url,
            }
        )

    def is_open(self, authorization: str) -> bool:
        """True where the header carries a token that is good."""
        with self._lock:
            return self._ends.get(_bearer(authorization), 0.0) > time.monotonic()

    def expire(self, authorization: str) -> None:
        """End the session of one token."""
        with self._lock:
            self._ends.pop(_bearer(authorization), None)

    def expire_all(self) -> None:
        """End all sessions."""
        with self._lock:
            self._ends.clear()

    def _check(self, form: dict[str, str], authorization: str, url: str) -> None:
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            self._check_credentials(form, authorization)
        elif grant == JWT_BEARER:
            self._check_assertion(form.get("assertion", ""), url)
        else:
            raise _Refused("unsupported_grant_type", "grant type not supported")

    def _check_credentials(self, form: dict[str, str], authorization: str) -> None:
        key, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                key, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
            except ValueError:
                raise _Refused("invalid_client", "invalid client credentials") from None
        if key != self.app.consumer_key:
            raise _Refused("invalid_client_id", "client identifier invalid")
        if not secrets.compare_digest(secret.encode(), self.app.consumer_secret.encode()):
            raise _Refused("invalid_client", "invalid client credentials")

    def _check_assertion(self, assertion: str, url: str) -> None:
        if self.app.public_key is None:
            raise _Refused("invalid_grant", "user hasn't approved this consumer")
        try:
            # Salesforce takes its login addresses, and the org's own, for the audience.
            claims = jwt.decode(
                assertion,
                self.app.public_key,
                algorithms=["RS256"],
                options={"require": ["iss", "sub", "aud", "exp"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise _Refused("invalid_grant", "assertion expired") from None
        except jwt.InvalidTokenError:
            raise _Refused("invalid_grant", "invalid assertion") from None
        audience = str(claims["aud"])
        if audience not in (*LOGIN_URLS, url) and not audience.endswith(".my.salesforce.com"):
            raise _Refused("invalid_grant", "audience is invalid")
        if int(claims["exp"]) > time.time() + _LONGEST_ASSERTION.total_seconds():
            raise _Refused("invalid_grant", "assertion is valid for too long")
        if claims["iss"] != self.app.consumer_key:
            raise _Refused("invalid_client_id", "client identifier invalid")
        if claims["sub"] != self.app.username:
            raise _Refused("invalid_grant", "user hasn't approved this consumer")


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "oauth") else ""
