"""What every Salesforce organisation can do, whether it is synthetic or live."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

import polars as pl

from gtm_assets.catalog.raw_table import Described
from gtm_assets.partitions import Window
from gtm_assets.sources.salesforce.catalog import SalesforceObject


@dataclass(frozen=True)
class Totals:
    """What an organisation counts of a table's records whose cursor lies before an instant."""

    before: datetime
    records: int
    """Those that are not deleted."""
    deleted: int | None = None
    """Those in the recycle bin; None where the object has none."""
    sums: Mapping[str, Decimal] = field(default_factory=dict)
    """Sum of the records that are not deleted, by column; 0 where none has a value."""
    currency: str | None = None
    """The sums are of records in this currency; None: of all."""
    changed: Collection[str] = ()
    """Ids of records that were changed or deleted since that instant, and so may be counted or not."""
    queries: tuple[str, ...] = ()
    """How the organisation was asked."""


class SalesforceOrg(Protocol):
    """An organisation that records can be extracted from. The raw assets know no more of it."""

    def changes(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """The records whose cursor lies in the window, in pages, plus late ones that were missed before.

        Columns are named as in the catalogue; values may be text or typed; repeats are allowed.

        Raises:
            NotReadable: the organisation doesn't let us read this table.
            SourceUnavailable: it can't answer now.
            CredentialsRefused: it refuses our credentials.
        """
        ...

    def snapshot(self, table: SalesforceObject, window: Window) -> Iterator[pl.DataFrame]:
        """All records as they are at the window's end or, from a live organisation, now, in pages.

        It raises what :meth:`changes` raises.
        """
        ...

    def known_at(self, window: Window) -> datetime:
        """When what an extraction of the window finds counts as seen, UTC."""
        ...

    def described(self, table: SalesforceObject) -> Described | None:
        """What the organisation says of the table's fields; None where it says nothing.

        It raises what :meth:`changes` raises.
        """
        ...

    def objects(self) -> Collection[str]:
        """API names of the objects whose records our user may query. It raises what :meth:`changes` raises."""
        ...

    def deletions(self, table: SalesforceObject, window: Window) -> Mapping[str, datetime]:
        """Ids of the records that the organisation lists as deleted before the window's end, each with when.

        It may list few of them, or none: a full extraction finds all. It raises what :meth:`changes` raises.
        """
        ...

    def totals(self, table: SalesforceObject, window: Window) -> Totals:
        """What the organisation counts of the records whose cursor lies before the window's end, or a bit earlier.

        It raises what :meth:`changes` raises.
        """
        ...
