"""For clients that speak https to salesforce.com only: their requests go to the local server instead."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter


class LoopbackAdapter(HTTPAdapter):
    """Sends every request to ``url``, whatever host it names."""

    def __init__(self, url: str, **options: Any) -> None:
        """``url`` is the local server's; options are those of :class:`HTTPAdapter`."""
        self._local = urlsplit(url)
        super().__init__(**options)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send, to the local server."""
        there = urlsplit(request.url)._replace(scheme=self._local.scheme, netloc=self._local.netloc)
        request.url = there.geturl()
        return super().send(request, **options)


def loopback_session(url: str) -> requests.Session:
    """A session for simple-salesforce that reaches the local server under any https address."""
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", LoopbackAdapter(url))
    return session
