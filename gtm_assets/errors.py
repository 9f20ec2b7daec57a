"""How a source can fail: what may pass, what will not, and what concerns one table alone."""

from __future__ import annotations

from gtm_assets.catalog.raw_table import RawTable


class SourceUnavailable(RuntimeError):
    """The source can't answer now (overloaded, in maintenance, too many requests). Asking again may help."""


class CredentialsRefused(RuntimeError):
    """The source refuses who we say we are, or how we ask. Asking again doesn't help, and may lock the account."""


class BudgetReached(RuntimeError):
    """The share of the source's request limit that we may use is used. Only time helps; nothing is lost."""


class NotReadable(RuntimeError):
    """The source doesn't let us read one table. The others are not concerned."""

    def __init__(self, table: RawTable, reason: str, is_gone: bool = False, is_of_the_query: bool = False) -> None:
        """``reason`` is the source's own, in one sentence.

        ``is_gone``: it does not know the table at all; ``is_of_the_query``: it knows it and can't be asked so,
        which no right mends.
        """
        super().__init__(f"{table.qualified_name} can't be read: {reason}")
        self.table, self.reason, self.is_gone, self.is_of_the_query = table, reason, is_gone, is_of_the_query
