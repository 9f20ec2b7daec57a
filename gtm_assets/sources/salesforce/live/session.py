"""A session with an organisation: who we say we are, what it answers, and what is asked again.

A request is tried again where the answer may be another one a little later, with growing pauses. The body is read
within each try, so that a connection that breaks in mid-body counts too. A session that has expired is renewed,
and the same request is made again. Everything else that the organisation refuses is a :class:`Refused`. It has an
error code of Salesforce's own: an answer without one comes from a proxy or a firewall in between, and says nothing
of the organisation.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from gtm_assets.errors import BudgetReached, CredentialsRefused, GtmError, SourceUnavailable
from gtm_assets.sources.salesforce.live.texts import parsed, repaired

T = TypeVar("T")

TRIES = 7
RENEWALS = 5
"""How often one request may find its session expired. A session that expires more often is really refused."""
LONGEST_WAIT = 60.0
CONNECT_SECONDS, READ_SECONDS = 10.0, 150.0
"""Salesforce lets a query run for two minutes."""
JWT_SECONDS = 180
SHORTEST_KEY = 2048
"""In bits. Salesforce takes no certificate with fewer."""
_EXPECT_DAILY_ROWS = {408, 420, 429}
_EXPIRED = "INVALID_SESSION_ID"
_LATER = (
    "What has landed stays and nothing is lost. The count falls as the day before passes: go on with `gtm run` in "
    "a few hours, in 24 at the latest"
)
_NO_API = {"API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED"}
_NOT_SERVED = "UNSUPPORTED_API_VERSION"
_LOGIN_PASSES = {"unknown_error", "server_error", "temporarily_unavailable"}
"""OAuth errors that say nothing of our credentials."""
_LOGIN_RATE = re.compile("rate.(limit.)?exceeded|too.many|try again", re.IGNORECASE)
_TITLE = re.compile(rb"<(title|h1)[^>]*>\s*([^<]{1,80})", re.IGNORECASE)


class Unsettled(GtmError):
    """This answer may be another one a little later. ``after``: the seconds that the organisation asks for."""

    def __init__(self, sentence: str, after: float = 0.0) -> None:
        """``sentence`` says what came instead of an answer."""
        super().__init__(sentence)
        self.after = after


class Refused(GtmError):
    """The organisation refuses one request. ``code`` is its error code, such as MALFORMED_QUERY."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """The answer's HTTP status and Salesforce's words, without our secrets."""
        super().__init__(f"{code}: {message} (HTTP {status})")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Login:
    """How we log in: with a client's secret, or as ``username`` with a token signed by a private key."""

    url: str
    """The organisation's own address, without a path."""
    client_id: str
    client_secret: str | None = None
    username: str | None = None
    private_key: str | None = None
    audience: str = "https://login.salesforce.com"

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Login({self.url})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return tuple(s for s in (self.client_secret, self.private_key) if s)

    def form(self, now: float) -> dict[str, str]:
        """The form that asks for a session. ``now`` is in seconds since 1970.

        Raises:
            CredentialsRefused: the private key is none that signs.
        """
        if self.client_secret is not None:
            return {
                "grant_type": "client_credentials",
                "client_id": self.client_id,
                "client_secret": self.client_secret,
            }
        import jwt

        claims = {
            "iss": self.client_id,
            "sub": self.username,
            "aud": self.audience,
            "exp": int(now) + JWT_SECONDS,
        }
        assertion = jwt.encode(claims, signing_key(self.private_key or ""), algorithm="RS256")
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


class Budget:
    """The requests of the last 24 hours, as the organisation counts them, and the share that we may use."""

    def __init__(self, share: float, kept: int = 0) -> None:
        """``share`` of the organisation's limit is ours and everybody else's together.

        ``kept`` requests of it are for another run, and are not used.
        """
        self.share, self.kept = share, kept
        self.used: int | None = None
        self.limit: int | None = None
        self._open = 0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Count a request that is about to be made.

        Raises:
            BudgetReached: it would use more than the share.
        """
        with self._lock:
            used, limit = self.used, self.limit
            if used is not None and limit and used + self._open + 1 > self.share * limit - self.kept:
                kept = f", of which {self.kept:,} are kept for the partition's own run" if self.kept else ""
                raise BudgetReached(
                    f"{used:,} of Salesforce's {limit:,} API requests of the last 24 hours are used, "
                    f"and GTM_SALESFORCE_API_SHARE stops us at {self.share:.0%}{kept}. {_LATER}"
                )
            self._open += 1

    def done(self, answer: requests.Response | None) -> None:
        """Read the organisation's own count from an answer; None where there was no answer."""
        info = answer.headers.get("Sforce-Limit-Info", "") if answer is not None else ""
        with self._lock:
            self._open -= 1
            used, _, limit = info.partition("api-usage=")[2].split(";")[0].split(",")[0].partition("/")
            if used.strip().isdigit() and limit.strip().isdigit():
                # Answers overtake each other, and an older one has counted fewer requests.
                self.used, self.limit = max(self.used or 0, int(used)), int(limit)

    def update(self, used: int, limit: int) -> None:
        """Take over the count of the organisation's limits."""
        with self._lock:
            self.used, self.limit = used, limit


class Session:
    """Requests to one organisation. Threads may share it."""

    def __init__(
        self,
        login: Login,
        api_version: str,
        budget: Budget,
        first_wait: float = 1.0,
        read_seconds: float = READ_SECONDS,
        tries: int = TRIES,
    ) -> None:
        """Nothing is asked before the first request. ``first_wait`` is the longest first pause, in seconds."""
        self.login, self.budget, self.first_wait, self.tries = login, budget, first_wait, tries
        self.api_version, self.data_path = api_version, f"/services/data/v{api_version}"
        self.org_time: datetime | None = None
        """What the organisation's clock said in its last answer, to the second."""
        self._timeouts = (CONNECT_SECONDS, read_seconds)
        self._token: str | None = None
        self._versions: frozenset[str] | None = None
        self._renewing = threading.Lock()
        self._of_thread = threading.local()

    # -- requests -----------------------------------------------------------------------------------------------

    def get(self, path: str, *members: str) -> dict[str, Any]:
        """The JSON object that a GET of ``path`` answers; numbers are texts. It has these ``members``.

        ``path`` is below the data path, or begins with /services.
        """
        return self.call("GET", path, object_with(*members))

    def post(self, path: str, body: Mapping[str, Any], *members: str) -> dict[str, Any]:
        """The JSON object that a POST answers. It has these ``members``."""
        return self.call("POST", path, object_with(*members), body=body)

    def call(
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], T],
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        counted: bool = True,
    ) -> T:
        """What ``read`` makes of the answer. ``read`` may raise :class:`Unsettled`, and is then called anew.

        Raises:
            Refused: the organisation refuses this request.
            SourceUnavailable: it gave no answer of use, ``tries`` times.
            CredentialsRefused: it refuses to renew the session, or does not serve this version of its API.
            BudgetReached: the share of the API limit is used.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Unsettled),
            stop=tenacity.stop_after_attempt(self.tries),
            wait=self._wait,
            reraise=True,
        )
        try:
            return retrying(lambda: self._with_session(method, path, read, params, body, counted))
        except Unsettled as error:
            raise SourceUnavailable(
                f"Salesforce gave no answer of use to {method} {_named(path)}: {error}"
            ) from None

    def _wait(self, state: tenacity.RetryCallState) -> float:
        jittered = tenacity.wait_random_exponential(multiplier=self.first_wait, max=LONGEST_WAIT)(state)
        error = state.outcome.exception() if state.outcome else None
        return max(jittered, min(getattr(error, "after", 0.0), LONGEST_WAIT))

    def _with_session(
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], T],
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        counted: bool,
    ) -> T:
        for _ in range(RENEWALS):
            token = self._token or self._renew(None)
            try:
                return self._once(method, path, read, params, body, token, counted)
            except Refused as error:
                if error.status != 401 and error.code != _EXPIRED:
                    self._see_version(error)
                    raise
                self._renew(token)
        raise CredentialsRefused(f"Salesforce logs us in and refuses each new session at once ({_EXPIRED})")

    def _once(
        self,
        method: str,
        path: str,
        read: Callable[[requests.Response], T],
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        token: str | None,
        counted: bool,
    ) -> T:
        if counted:
            self.budget.take()
        answer: requests.Response | None = None
        try:
            with _settling():
                answer = self._http.request(
                    method,
                    self.login.url + (path if path.startswith("/services") else f"{self.data_path}/{path}"),
                    params=params,
                    json=body,
                    headers={"Accept-Encoding": "gzip", "Authorization": f"Bearer {token}"},
                    auth=_as_given,
                    timeout=self._timeouts,
                    stream=True,
                    allow_redirects=False,
                )
                self._read_clock(answer)
                self._judge(answer)
                return read(answer)
        finally:
            if counted:
                self.budget.done(answer)
            if answer is not None:
                answer.close()

    def _see_version(self, error: Refused) -> None:
        """Of a refusal that may be of the API's version, see whether it is: a missing object looks the same."""
        if error.code != _NOT_SERVED and error.status not in (404, 410):
            return
        if self._versions is None:
            try:
                listed = self._once("GET", "/services/data", _read_versions, None, None, self._token, False)
            except Refused:
                listed = []
            self._versions = frozenset(listed)
        if self.api_version in self._versions or not (self._versions or error.code == _NOT_SERVED):
            return
        numbers = sorted(self._versions, key=float)
        served = f"this organisation serves {numbers[0]} to {numbers[-1]}" if numbers else "it is retired"
        raise CredentialsRefused(
            f"Salesforce does not serve version {self.api_version} of its API: {served}. Set "
            f"GTM_SALESFORCE_API_VERSION to one that it serves, or leave it out"
        ) from None

    @property
    def _http(self) -> requests.Session:
        # requests' sessions are not made for threads.
        http: requests.Session | None = getattr(self._of_thread, "http", None)
        if http is None:
            http = self._of_thread.http = requests.Session()
            # A proxy can't reach an address of this machine.
            http.trust_env = not is_loopback(self.login.url)
        return http

    def _read_clock(self, answer: requests.Response) -> None:
        with suppress(KeyError, ValueError, TypeError):
            self.org_time = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)

    def _judge(self, answer: requests.Response, is_login: bool = False) -> None:
        """Raise unless the answer is a success."""
        status = answer.status_code
        if status in (200, 201, 204):
            return
        if 300 <= status < 400:
            other = urlsplit(answer.headers.get("Location", "")).hostname
            raise CredentialsRefused(
                f"{self.login.url} redirects to {other or 'another address'}. Set GTM_SALESFORCE_INSTANCE_URL to "
                f"the organisation's own (Setup, My Domain); where that is a proxy's page, have it let us through"
            )
        after = answer.headers.get("Retry-After", "")
        code, message = self._reason(answer, is_login)
        if not code or status >= 500 or status in _EXPECT_DAILY_ROWS:
            what = f"HTTP {status} {code} {message}".strip() if code else _not_salesforces(answer)
            raise Unsettled(what, float(after) if after.isdigit() else 0.0)
        if code == "REQUEST_LIMIT_EXCEEDED":
            # A limit of concurrent requests passes. A daily limit does not, and asking again would use more of it.
            if message.startswith("Concurrent"):
                raise Unsettled(f"{code}: {message}")
            raise BudgetReached(f"Salesforce's API limit of the last 24 hours is used up ({message}). {_LATER}")
        if code in _NO_API:
            raise CredentialsRefused(f"the platform's user may not use the API ({code}: {message})")
        raise Refused(status, code, message or "no reason given")

    def _reason(self, answer: requests.Response, is_login: bool) -> tuple[str, str]:
        """The error code and message of an answer, without our secrets; empty where they are not Salesforce's.

        The API answers a list of errors, the login an object: a proxy's own JSON is neither.
        """
        try:
            found = parsed(answer.content)
            error = found if is_login else found[0]
            names = ("error", "error_description") if is_login else ("errorCode", "message")
            code, message = (str(error.get(name) or "") for name in names)
        except (ValueError, AttributeError, LookupError, TypeError):
            return "", ""
        return code[:80], self._scrubbed(message)

    def _scrubbed(self, text: str) -> str:
        for secret in (*self.login.secrets, self._token):
            if secret:
                text = text.replace(secret, "***")
        return text.replace("\0", "")[:500]

    # -- the session itself -------------------------------------------------------------------------------------

    def _renew(self, stale: str | None) -> str:
        with self._renewing:
            # Another thread may have logged in meanwhile.
            if self._token is None or self._token == stale:
                self._token = self._log_in()
            return self._token

    def _log_in(self) -> str:
        try:
            return self._asked_for_token()
        except Unsettled as error:
            raise Unsettled(f"the login gave none: {error}", error.after) from None

    def _asked_for_token(self) -> str:
        form = self.login.form(time.time())
        with _settling():
            answer = self._http.post(
                f"{self.login.url}/services/oauth2/token",
                data=form,
                auth=_as_given,
                timeout=self._timeouts,
                allow_redirects=False,
            )
        try:
            self._judge(answer, is_login=True)
        except Refused as error:
            if error.code.lower() in _LOGIN_PASSES or _LOGIN_RATE.search(str(error)):
                raise Unsettled(f"HTTP {error.status} {error.code}: {error.message}") from None
            raise CredentialsRefused(
                f"Salesforce refuses the login at {self.login.url} ({error.code}: {error.message}). Check the "
                f"GTM_SALESFORCE_* credentials and the connected app; `gtm doctor` tries them"
            ) from None
        return str(object_with("access_token")(answer)["access_token"])


@contextmanager
def _settling() -> Iterator[None]:
    """Turn what breaks on the way into :class:`Unsettled`. Its message names no address and no header."""
    try:
        yield
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise SourceUnavailable(
                "Salesforce's certificate can't be verified. Look at GTM_SALESFORCE_INSTANCE_URL, at a proxy in "
                "between, or set REQUESTS_CA_BUNDLE"
            ) from None
        raise Unsettled(f"the connection broke ({type(error).__name__})") from None


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from putting the password of a .netrc file in place of our session."""
    return request


def read_json(answer: requests.Response) -> Any:
    """The JSON of an answer; numbers are texts. None where it has no body.

    Raises:
        Unsettled: it is not JSON.
    """
    if answer.status_code == 204:
        return None
    try:
        return parsed(answer.content)
    except ValueError:
        raise Unsettled(_not_salesforces(answer, "is not JSON")) from None


def object_with(*members: str) -> Callable[[requests.Response], dict[str, Any]]:
    """Reads an answer that is a JSON object, and has these members: else it is :class:`Unsettled`."""

    def read(answer: requests.Response) -> dict[str, Any]:
        found = read_json(answer)
        if not isinstance(found, dict) or not all(found.get(name) for name in members):
            raise Unsettled(_not_salesforces(answer, "lacks what was asked for"))
        return found

    return read


def _read_versions(answer: requests.Response) -> list[str]:
    found = read_json(answer)
    try:
        return [f"{float(version['version']):.1f}" for version in found]
    except (KeyError, TypeError, ValueError):
        raise Unsettled(_not_salesforces(answer, "is no list of versions")) from None


def _not_salesforces(answer: requests.Response, what: str = "is not Salesforce's") -> str:
    """Says that somebody else has answered, and how the page calls itself."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0] or "no type"
    title = _TITLE.search(answer.content)
    named = f', "{repaired(title[2].decode(errors="replace")).strip()}"' if title else ""
    return (
        f"HTTP {answer.status_code} with a page that {what} ({kind}{named}). It is of a proxy or a firewall in "
        f"between, or of maintenance: have the network let us through to {urlsplit(answer.url).hostname}"
    )


def _named(path: str) -> str:
    """A path for a message, without ids of jobs and queries."""
    parts = [part for part in path.split("/") if part]
    return "/".join(part if len(part) < 15 or not any(c.isdigit() for c in part) else "…" for part in parts)


def is_loopback(url: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def read_secret(path: Path) -> str:
    """A secret from a mounted file, without the line's end.

    Raises:
        CredentialsRefused: the file can't be read.
    """
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsRefused(f"the secret's file {path} can't be read ({type(error).__name__})") from None


def signing_key(pem: str) -> Any:
    """The RSA private key of a PEM text.

    Raises:
        CredentialsRefused: it is none that can sign, and what it is.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    def refused(what: str) -> CredentialsRefused:
        return CredentialsRefused(f"the file of GTM_SALESFORCE_PRIVATE_KEY_FILE holds {what}")

    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise refused(
            "a private key that is locked with a passphrase. Unlock it: openssl pkey -in KEY -out UNLOCKED"
        ) from None
    # The library raises errors of many kinds for a text that is not a key.
    except Exception:
        # A file may hold a certificate beside its key. The certificate is the fault only where no key was found.
        if "PUBLIC KEY" in pem or "BEGIN CERTIFICATE" in pem or pem.startswith("ssh-"):
            what = "a public key or a certificate. Name the file of the private key that belongs to it"
        else:
            what = "no RSA private key in PEM form"
        raise refused(what) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise refused(f"a private key of another kind ({type(key).__name__}). Salesforce takes RSA alone")
    if key.key_size < SHORTEST_KEY:
        raise refused(f"an RSA key of {key.key_size} bits. Make one of {SHORTEST_KEY} or more")
    return key
