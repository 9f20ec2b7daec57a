"""What a source is. Each folder beside this module offers one, and the registry lists them.

A command imports no more than it needs: a source imports its catalogue at its top, and the rest where it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gtm_assets.catalog.origin import Origin
from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.settings import DAILY, Refresh, Settings

if TYPE_CHECKING:
    import dagster as dg

    from gtm_assets.checks.active_rows import RecordReconciliation
    from gtm_assets.checks.reconciliation import SourceReconciliation
    from gtm_assets.lake.store import Lake
    from gtm_assets.partitions import Calendar
    from gtm_assets.sources.raw_asset import Rules


class Source(ABC):
    """A system that records come from: its tables, how they are extracted, and what proves them.

    What a method says of ``settings`` is of the source's own settings, which stand in ``settings.py`` with the
    source's name as prefix.
    """

    name: ClassVar[str]
    """First part of its raw tables' keys, and name of its dbt source."""
    description: ClassVar[str]
    """Of the dbt source."""
    tables: ClassVar[tuple[RawTable, ...]]
    may_refuse_tables: ClassVar[bool] = False
    """Whether it may keep single tables from us: their assets then check that a table has not vanished."""

    @abstractmethod
    def mode(self, settings: Settings) -> str | None:
        """Where its records come from, in a word such as ``live``; None where the source is off."""

    def is_external(self, settings: Settings) -> bool:
        """Whether another loader fills its tables, which are read where they lie."""
        return False

    # -- extraction ------------------------------------------------------------------------------------------

    def refresh(self, settings: Settings) -> Refresh:
        """How often its tables are refreshed: by ``GTM_REFRESH``, else by ``GTM_<NAME>_REFRESH``, else daily."""
        own: Refresh = getattr(settings, f"{self.name}_refresh", DAILY)
        return settings.refresh or own

    def tells_news(self, settings: Settings) -> bool:
        """Whether :meth:`has_news` knows all that is new, as with files. Other sources have to be asked."""
        return False

    @abstractmethod
    def raw_asset(self, table: RawTable, read: Collection[str], rules: Rules) -> dg.AssetsDefinition:
        """The asset that lands one of its tables. ``read`` are the columns that models read."""

    @abstractmethod
    def resources(self, settings: Settings, calendar: Calendar) -> Mapping[str, Any]:
        """What its assets and checks ask Dagster for, by name."""

    def external_asset(self, table: RawTable) -> dg.AssetSpec:
        """One of its tables where another loader fills them."""
        raise NotImplementedError(f"no loader fills the tables of {self.name}")

    def refuse_to_land(self, settings: Settings, lake: Lake) -> None:
        """Raise a :class:`GtmError` where its records must not land in this lake. ``gtm run`` asks first."""
        return

    def has_news(self, settings: Settings, lake: Lake, table: RawTable) -> bool:
        """Whether a table is to be landed again though no partition of it is missing."""
        return False

    def can_be_read(self, settings: Settings, lake: Lake, table: RawTable) -> bool | None:
        """Whether a table can be read, as far as is known; None where none of it has landed."""
        return lake.unreadable_reason(table) is None if lake.partitions(table) else None

    # -- checks ----------------------------------------------------------------------------------------------

    def asset_checks(self, settings: Settings, calendar: Calendar) -> Sequence[dg.AssetChecksDefinition]:
        """Checks beside those of its assets. Not asked where another loader fills its tables."""
        return ()

    def full_extraction_checks(self) -> Sequence[dg.AssetCheckKey]:
        """Those of them that are made after a full extraction alone."""
        return ()

    reconciliation_check = "reconciles_with_source"
    """Name of the check of :attr:`reconciliations`. Where two sources feed a table, theirs differ."""
    reconciliation_description = "Counts and sums of the table are, day by day, those of the raw records."

    def reconciliations(self) -> Sequence[SourceReconciliation]:
        """The tables of core that hold its records, day by day."""
        return ()

    def record_reconciliations(self) -> Sequence[RecordReconciliation]:
        """The tables of core that show its records one by one: compared where another loader fills its tables."""
        return ()

    def origins(self) -> Sequence[Origin]:
        """How a row of core is followed to the source's records."""
        return [Origin(rule.core, rule.id_column, rule.raw) for rule in self.record_reconciliations()]

    def report_rows(self) -> Mapping[str, str]:
        """Report to a select of the rows that the source adds to what the report counts, from its own tables."""
        return {}

    # -- what people are told --------------------------------------------------------------------------------

    def examine(self, settings: Settings) -> Iterable[tuple[bool, str]]:
        """What ``gtm doctor`` tries: whether it is well, and a sentence."""
        return ()

    def summary(self, settings: Settings, reach: str) -> str:
        """What ``gtm run`` says of the source at its end, or nothing. ``reach``: up to when it was read."""
        return f"{self.name}, {self.mode(settings)}: {reach}" if reach else ""
