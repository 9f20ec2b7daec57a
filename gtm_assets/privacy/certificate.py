"""The certificate of an erasure: what was asked, what was touched, where it was searched, and what lies outside.

It names nobody: a request is known by a keyed hash.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from gtm_assets.lake.rewriting import Rewriting

OUTSIDE = (
    "The source: delete or anonymise the person there too. Until then each extraction meets them, and the lake "
    "keeps nothing of it.",
    "Backups of the state folder and of the lake. One that is restored is cleaned by the next gtm run before it "
    "does anything else, as long as the folder of erasures (GTM_ERASURES_DIR) was not restored with it. Let "
    "backups expire.",
    "Copies that people have made: files that were exported, mailed or screenshot, and published files that a "
    "program still has open.",
    "Blocks of the disk that were freed. They are overwritten in time; an encrypted disk keeps them unreadable.",
)
OUTSIDE_OF_A_BUCKET = "Older versions of the bucket's keys, where it keeps them: let a lifecycle rule remove them."
OUTSIDE_OF_A_SERVER = (
    "The log that the PostgreSQL server itself writes, in which statements stand as they were typed: it goes as "
    "the server rotates it. Its write-ahead log, its archive and base backups, and dead rows of its statistics: "
    "they go as the server recycles and expires them. An administrator runs checkpoint and vacuum full "
    "pg_statistic there, and lets archives and backups expire."
)


@dataclass
class TableTouched:
    """What of a raw table was rewritten."""

    records: int = 0
    versions: int = 0
    versions_removed: int = 0
    quarantined: int = 0
    files: int = 0
    values: dict[str, int] = field(default_factory=dict)
    """By column the values that are gone."""

    def add(self, one: Rewriting, records: int) -> None:
        """Take what rewriting the table once more did; ``records`` are all that were touched so far."""
        self.records = records
        self.versions += one.versions
        self.versions_removed += one.removed
        self.quarantined += one.quarantined
        self.files += len(one.files)
        for column, count in one.cells.items():
            self.values[column] = self.values.get(column, 0) + count


@dataclass
class Certificate:
    """What an erasure did."""

    requests: list[str]
    """Names of the ledger's entries that this erasure applied."""
    began_at: datetime
    ended_at: datetime | None = None
    tables: dict[str, TableTouched] = field(default_factory=dict)
    """By ``source.table``."""
    removed: list[str] = field(default_factory=list)
    """Files and folders that were removed whole."""
    cleaned: list[str] = field(default_factory=list)
    """Logs and records of runs in which asterisks stand now."""
    built_anew: list[str] = field(default_factory=list)
    """What was made from the lake after it had been rewritten."""
    searched: list[str] = field(default_factory=list)
    """Where it was searched, in sentences."""
    values_searched: int = 0
    """How many addresses, names and numbers were looked for."""
    found: list[str] = field(default_factory=list)
    """Where something was found: nothing, or there is no certificate."""
    outside: list[str] = field(default_factory=lambda: list(OUTSIDE))

    def write(self, folder: Path) -> Path:
        """Write it as JSON, and as a text beside it; gives the text's path."""
        assert self.ended_at is not None
        folder.mkdir(parents=True, exist_ok=True)
        name = f"certificate-{self.ended_at:%Y-%m-%dT%H%M%SZ}-{self.requests[0] if self.requests else 'none'}"
        content = asdict(self) | {"began_at": self.began_at.isoformat(), "ended_at": self.ended_at.isoformat()}
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        path = folder / f"{name}.txt"
        path.write_text(self.text())
        return path

    def text(self) -> str:
        """The certificate for people."""
        lines = [
            "Certificate of erasure",
            "",
            f"Requests   {', '.join(self.requests)} (keyed hashes)",
            f"Begun      {self.began_at:%Y-%m-%d %H:%M:%S} UTC",
            f"Ended      {self.ended_at:%Y-%m-%d %H:%M:%S} UTC" if self.ended_at else "",
            "",
            "Rewritten in the lake:",
            *(
                f"  {name}: {one.records:,} records, {one.versions:,} versions in {one.files:,} files; "
                f"{one.versions_removed:,} versions that differed by personal fields alone are gone; "
                f"{one.quarantined:,} records in quarantine; values: "
                + (", ".join(f"{column} {count:,}" for column, count in sorted(one.values.items())) or "none")
                for name, one in sorted(self.tables.items())
            ),
            *([] if self.tables else ["  nothing: no record held anything any more"]),
            "",
            "Removed:",
            *(f"  {path}" for path in self.removed or ["nothing"]),
            "",
            "Asterisks stand in place of it in:",
            *(f"  {path}" for path in self.cleaned or ["nothing"]),
            "",
            "Built anew:",
            *(f"  {what}" for what in self.built_anew or ["nothing"]),
            "",
            f"Searched for {self.values_searched:,} addresses, names and numbers, by format and by bytes:",
            *(f"  {what}" for what in self.searched),
            f"Found: {'; '.join(self.found) or 'nothing'}",
            "",
            "Outside of what gtm reaches:",
            *(f"  {what}" for what in self.outside),
            "",
        ]
        return "\n".join(lines)
