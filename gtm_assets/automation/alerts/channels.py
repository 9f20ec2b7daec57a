"""Channels: how a message reaches people. Each is one apprise URL of the settings, which is a secret.

No URL, nor a part of one, reaches a log, an error or Dagster's records: apprise's and urllib3's own words, which
may hold it, are kept back, and an error says only the channel and the answer's code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from gtm_assets.automation.alerts.matrix import Channel, Severity
from gtm_assets.errors import GtmError
from gtm_assets.reporting.names import PICTURE
from gtm_assets.settings import Settings

LOG = "log"
"""The channel that is always there: it is told where no other is set."""
TIMEOUT_SECONDS = 10.0

logger = logging.getLogger("gtm_assets.alerts")


class DeliveryError(GtmError):
    """A message did not reach its channel. The text names the channel and holds no part of its URL."""


@dataclass(frozen=True)
class Message:
    """What a channel is told. ``kind`` is that of an incident's message, ``summary`` or ``test``."""

    title: str
    body: str
    kind: str
    severity: Severity | None = None


Deliver = Callable[[str, Message], None]
"""Brings a message to the channel of this name. Raises :class:`DeliveryError`."""


def channels_set(settings: Settings) -> tuple[Channel, ...]:
    """The channels that have a URL."""
    return tuple(channel for channel in Channel if getattr(settings, url_field(channel)) is not None)


def url_field(channel: Channel) -> str:
    """The setting that holds a channel's URL."""
    return f"alert_{channel}_url"


def deliver_by(settings: Settings, log: logging.Logger = logger) -> Deliver:
    """Delivery to the channels of the settings, and to ``log``."""

    def deliver(channel: str, message: Message) -> None:
        if channel == LOG:
            level = logging.INFO if message.kind in ("resolved", "summary", "test") else logging.WARNING
            log.log(level, "%s\n%s", message.title, message.body)
            return
        picture = settings.report_path / PICTURE
        pictures = [picture] if message.kind == "summary" and picture.exists() else []
        url = getattr(settings, url_field(Channel(channel)))
        if url is None:
            raise DeliveryError(f"the channel {channel} is not set: GTM_ALERT_{channel.upper()}_URL")
        _send(channel, url.get_secret_value(), message, pictures)

    return deliver


def _send(channel: str, url: str, message: Message, pictures: Sequence[Path]) -> None:
    setting = f"GTM_ALERT_{channel.upper()}_URL"
    with _kept_back() as lines:
        # Imported here: it takes a third of a second, and most processes send nothing.
        import apprise

        service = apprise.Apprise()
        if not service.add(url):
            raise DeliveryError(f"{setting}: apprise does not know such a URL")
        # A chat's webhook takes text alone; an e-mail and several chats carry files.
        carries = all(getattr(server, "attachment_support", False) for server in service)
        try:
            arrived = service.notify(
                title=message.title,
                body=message.body,
                notify_type=_type(message),
                attach=[str(picture) for picture in pictures] if carries and pictures else None,
                timeout=TIMEOUT_SECONDS,
            )
        # Plugins may raise anything, and what they say may hold the URL.
        except Exception as error:
            raise DeliveryError(f"the channel {channel} broke off ({type(error).__name__})") from None
    if not arrived:
        code = re.search(r"\berror[=:]\s*(\d{3})\b", "\n".join(lines))
        raise DeliveryError(f"the channel {channel} {f'answered {code[1]}' if code else 'did not answer'}")


def _type(message: Message) -> str:
    by_kind = {"resolved": "success", "summary": "info", "test": "info"}
    by_severity: Mapping[Severity | None, str] = {Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
    return by_kind.get(message.kind) or by_severity.get(message.severity, "info")


# -- keeping secrets -------------------------------------------------------------------------------------------

_log_lines: ContextVar[list[str] | None] = ContextVar("what the client logged while sending", default=None)
_SPEAKERS = ("apprise", "requests", "urllib3.connectionpool", "urllib3.util.retry")


def _keep_back(record: logging.LogRecord) -> bool:
    lines = _log_lines.get()
    if lines is None:
        return True
    lines.append(record.getMessage())
    return False


@contextmanager
def _kept_back() -> Iterator[list[str]]:
    """Within it, what the libraries log, the request's URL included, goes into the list and nowhere else."""
    # Threads that apprise starts inherit this context.
    for name in _SPEAKERS:
        logging.getLogger(name).addFilter(_keep_back)
    lines: list[str] = []
    token = _log_lines.set(lines)
    try:
        yield lines
    finally:
        _log_lines.reset(token)
