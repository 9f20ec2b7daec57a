"""Texts as they come: what is no Unicode in them becomes U+FFFD, the same by REST and by Bulk.

Salesforce keeps half a surrogate pair where somebody cut an emoji in two. JSON escapes it, Bulk writes its three
bytes; neither has a place in a text of any engine. The lake counts and tells what holds U+FFFD.
"""

from __future__ import annotations

import codecs
import json
import re
from contextlib import suppress
from typing import Any

REPLACEMENT = "\ufffd"
# Bytes that are no UTF-8 are decoded to U+DC80 and up; the three of half a pair are one character.
_ENCODED_HALF = "\udced[\udca0-\udcbf][\udc80-\udcbf]"
_NO_UNICODE = re.compile(f"{_ENCODED_HALF}|[\ud800-\udfff]")
_CUT_HALF = re.compile("\udced[\udca0-\udcbf]?$")


def repaired(text: str) -> str:
    """The text with U+FFFD for each character that is none."""
    return _NO_UNICODE.sub(REPLACEMENT, text)


def parsed(content: bytes) -> Any:
    """JSON, with U+FFFD for what is no Unicode in its texts. Numbers are texts, so that they keep their digits.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = repaired(content.decode("utf-8-sig", "surrogateescape"))
    found = json.loads(text, parse_float=str, parse_int=str)
    # Only an escape can hide half a pair from what was repaired already.
    return _each_repaired(found) if "\\ud" in text.lower() else found


def _each_repaired(value: Any) -> Any:
    if isinstance(value, str):
        return repaired(value)
    if isinstance(value, dict):
        return {repaired(name): _each_repaired(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_each_repaired(item) for item in value]
    return value


class Utf8:
    """A stream of bytes that should be UTF-8, made so: in, chunk by chunk, and out."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""

    def add(self, chunk: bytes, is_last: bool = False) -> bytes:
        """The chunk as UTF-8. The start of a character whose rest has not come is held back."""
        if chunk.isascii() and not self._held and not self._decoder.getstate()[0]:
            return chunk
        text = self._held + self._decoder.decode(chunk, is_last)
        self._held = ""
        # Nearly always all texts are well, and finding those that are not takes ten times as long.
        with suppress(UnicodeEncodeError):
            return text.encode()
        cut = None if is_last else _CUT_HALF.search(text)
        self._held = text[cut.start() :] if cut else ""
        return repaired(text[: cut.start()] if cut else text).encode()
