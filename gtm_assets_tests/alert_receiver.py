"""A receiver of alerts on this machine: an HTTP server that keeps what it is told, and can be made to refuse."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """What has arrived, by channel: the first part of the path is the channel's name."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, str, str]] = []
        """Channel, title and body."""
        self.types: list[str] = []
        self.files: list[list[str]] = []
        """Of each message the names of what was attached."""
        self.refusing: set[str] = set()
        self.asked = 0
        self.port = 0

    def url(self, channel: str, secret: str = "T0K3N") -> str:
        return f"json://user:{secret}@127.0.0.1:{self.port}/{channel}/{secret}"

    def titles(self, channel: str) -> list[str]:
        return [title for to, title, _ in self.arrived if to == channel]

    def bodies(self, channel: str) -> list[str]:
        return [body for to, _, body in self.arrived if to == channel]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            receiver.asked += 1
            channel = self.path.split("/")[1]
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            refused = channel in receiver.refusing
            if not refused:
                receiver.arrived.append((channel, told["title"], told["message"]))
                receiver.types.append(told["type"])
                receiver.files.append([attached["filename"] for attached in told.get("attachments", [])])
            self.send_response(503 if refused else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
