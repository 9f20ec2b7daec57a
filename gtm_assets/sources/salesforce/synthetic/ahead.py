"""Reading ahead: while the records of one window land, those of the next are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime

import polars as pl

from gtm_assets.partitions import Window, end_of, partition_of
from gtm_assets.sources.salesforce.catalog import SalesforceObject

Made = tuple[str, datetime | None, datetime]
"""Table, start and end of a window."""


class Ahead:
    """Makes a table's records window by window, and from the second window on one window ahead, in a thread.

    Landing waits for the disk, and this fills the time. Memory holds one window more.
    """

    def __init__(self, make: Callable[[SalesforceObject, Window], Iterator[pl.DataFrame]]) -> None:
        """``make`` gives the pages of a window. It is a pure function: what is made too much does no harm."""
        self._make = make
        self._ended: dict[str, datetime] = {}
        """By table the end of the window that was asked for last."""
        self._next: tuple[Made, Future[list[pl.DataFrame]]] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def pages(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """The pages of a window."""
        waiting, self._next = self._next, None
        is_made = waiting is not None and waiting[0] == (table.name, window.start, window.end)
        pages = iter(waiting[1].result()) if waiting and is_made else self._make(table, window)
        if window.start is not None and self._ended.get(table.name) == window.start:
            self._begin(table, Window("", window.end, end_of(partition_of(window.end))))
        self._ended[table.name] = window.end
        yield from pages

    def _begin(self, table: SalesforceObject, window: Window) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, "synthetic-org")
        made = self._thread.submit(lambda: list(self._make(table, window)))
        self._next = (table.name, window.start, window.end), made
