"""The root of the platform's own errors, and how a source can fail.

The message of a :class:`GtmError` says what is wrong and what to do: people are shown it without a traceback.
"""

from __future__ import annotations

import re
from typing import Protocol

_WRITTEN_OUT = re.compile(r"gtm_assets\.[\w.]+: ")


class GtmError(Exception):
    """Each exception of this package is one. The message is a sentence for the person who runs it."""


def own_sentence(written_out: str) -> str | None:
    """The sentence of an error that Python wrote out, ``module.Class: sentence``; None where it is not a GtmError.

    An error of another process reaches us as such a text alone.
    """
    text = written_out.strip()
    if own := _WRITTEN_OUT.match(text):
        return text[own.end() :]
    return None


class MayPass(GtmError):
    """The same may succeed a little later, with nothing mended: a step tries it again."""


class SourceUnavailable(MayPass):
    """The source can't answer now (overloaded, in maintenance, too many requests). Asking again may help."""


class LakeError(GtmError):
    """The lake can't be read or written. The message names the table, the partition and what to do."""


class BucketError(LakeError):
    """The bucket in which the lake lies refuses a request. The message names bucket, key and what to do."""


class BucketAway(BucketError, MayPass):
    """The bucket does not answer now, or another machine was faster. Nothing is lost."""


class CredentialsRefused(GtmError):
    """The source refuses who we say we are, or how we ask. Asking again doesn't help, and may lock the account."""


class BudgetReached(GtmError):
    """The share of the source's request limit that we may use is used. Only time helps; nothing is lost."""


class _Table(Protocol):
    @property
    def qualified_name(self) -> str: ...


class NotReadable(GtmError):
    """The source doesn't let us read one table. The others are not concerned."""

    def __init__(self, table: _Table, reason: str, is_gone: bool = False, is_of_the_query: bool = False) -> None:
        """``reason`` is the source's own, in one sentence.

        ``is_gone``: it does not know the table at all; ``is_of_the_query``: it knows it and can't be asked so,
        which no right mends.
        """
        super().__init__(f"{table.qualified_name} can't be read: {reason}")
        self.reason, self.is_gone, self.is_of_the_query = reason, is_gone, is_of_the_query
