"""An object store on the loopback for as long as a test needs it, and faults that a test plants in its answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from gtm_assets.lake.store import Lake
from gtm_assets.settings import load_settings
from gtm_assets_tests.needs import needs

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    # So that a store that stays away is told of at once.
    "AWS_MAX_ATTEMPTS": "1",
}
_BUCKETS = count()


def _lacking() -> str | None:
    if find_spec("s3fs") is None or find_spec("moto") is None:
        return "the extra s3 or moto is not installed: make setup-s3-tests"
    return None


needs_store = needs(_lacking())


class ObjectStore:
    """moto's S3, with a place for faults before it."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log_request(self, *_):
                """Nobody reads it."""

        self._store = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.requests: list[tuple[str, str]] = []
        """Method and path of each request, in their order."""
        self.fault: Callable[[str, str], bytes | int | None] = lambda method, path: None
        """Given a request's method and path: a status to answer with, None to let it pass, or ``CUT``."""

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append((method, path))
        fault = self.fault(method, path)
        if isinstance(fault, int):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"].read(length)
            code = {503: "SlowDown", 403: "AccessDenied", 500: "InternalError"}[fault]
            body = f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
            start_response(
                f"{fault} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            )
            return [body]
        if fault == CUT:
            started = []
            parts = b"".join(self._store(environ, lambda status, headers, *_: started.extend([status, headers])))
            start_response(*started)
            return [parts[: len(parts) // 2]]
        if fault == LOST:
            b"".join(self._store(environ, lambda *_: None))
            body = b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"
            start_response("500 InternalError", [("Content-Length", str(len(body)))])
            return [body]
        return self._store(environ, start_response)

    def new_bucket(self) -> str:
        """A bucket that nobody has used, by its URL."""
        from gtm_assets.bucket import Bucket

        name = f"lake-{os.getpid()}-{next(_BUCKETS)}"
        Bucket(endpoint_url=self.url).call_s3("create_bucket", Bucket=name)
        return f"s3://{name}/gtm"

    def settings(self, url: str, home: Path) -> dict[str, str]:
        """The variables of a platform whose lake lies there."""
        return {
            "GTM_HOME": str(home),
            "GTM_LAKE_URL": url,
            "GTM_LAKE_ENDPOINT": self.url,
            "GTM_LAKE_REGION": "us-east-1",
        }

    def lake(self, home: Path, url: str | None = None) -> Lake:
        """A lake in a bucket, by default a new one; locks and what is written lie in ``home``."""
        return Lake.of(load_settings(self.settings(url or self.new_bucket(), home)))

    def stop(self) -> None:
        self._server.shutdown()


CUT = b"cut"
"""The answer's body breaks off in the middle."""
LOST = b"lost"
"""The request is done, and the answer to it is an error."""


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    store = ObjectStore()
    try:
        yield store
    finally:
        store.stop()
