"""What every Salesforce organisation can do, whether it is synthetic or live."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import polars as pl

from gtm_assets.partitions import Window
from gtm_assets.sources.salesforce.catalog import SalesforceObject


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
