"""``gtm erase``: a person taken out of all that the platform keeps, with a certificate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from gtm_assets.cli.speech import console, escaped, explained, problems, whole_texts
from gtm_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from gtm_assets.lake.rewriting import Rewriting
    from gtm_assets.privacy.person import Person


@click.command()
@click.option("--email", help="An address of the person's, in any case.")
@click.option("--id", "id_", metavar="ID", help="The id of a record that is the person: a contact, lead or user.")
@click.option("--dry-run", is_flag=True, help="Show what would be touched, and touch nothing.")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@click.option("--block", is_flag=True, help="Keep out a person too of whom nothing has landed yet.")
@click.option("--replay", "is_replay", is_flag=True, help="Apply all erasures again, as after a restore.")
@explained
def erase(email: str | None, id_: str | None, dry_run: bool, yes: bool, block: bool, is_replay: bool) -> None:
    """Take a person out of everything, and prove it.

    The person's rows stay, so that all numbers stay, without what identifies them: in the lake, in quarantine, in
    the warehouse, in what is published and served. Builds as of earlier days and what dbt compiled are removed,
    records of runs and logs are overwritten. The source keeps sending the person until it is erased there: of what
    it sends nothing lands that identifies them. In the end all is searched, and a certificate written.

    It can't be undone.
    """
    if is_replay:
        if email or id_ or dry_run or block:
            raise click.UsageError("--replay applies what was asked before: leave the other options out.")
    elif bool(email and email.strip()) == bool(id_ and id_.strip()):
        raise click.UsageError("say whom: either --email or --id, and only one of them.")
    if dry_run and block:
        raise click.UsageError("--block enters the person in the ledger: leave --dry-run out.")
    settings = load_settings()
    from gtm_assets.privacy import erasure

    erasure.refuse(settings)
    if is_replay:
        path = erasure.replay(settings, _say, lambda: _rebuilt(settings), is_forced=True)
        console.print(f"certificate  {path}" if path else "Nobody was erased: there is nothing to apply.")
        return
    asked = erasure.Asked(email and email.strip(), id_ and id_.strip())
    person = erasure.find(settings, asked)
    changes = erasure.preview(settings, person)
    if not changes and not block:
        console.print(
            f"Nobody is known by {escaped(asked.email or asked.id)}: nothing was touched. To keep them out all "
            "the same, add --block."
        )
        sys.exit(1)
    if not changes:
        person = erasure.blocked(asked)
    _show(person, changes)
    if dry_run:
        console.print("Nothing was touched.")
        return
    if not yes:
        click.confirm("Erase this? It can't be undone.", abort=True)
    certificate = erasure.erase(settings, asked, person, _say, lambda: _rebuilt(settings))
    console.print(f"certificate  {certificate}")


def finish_what_is_pending(settings: Settings) -> None:
    """Carry out erasures that were cut short, or that a restored lake or state folder lacks.

    It costs next to nothing where nobody was erased.
    """
    if not settings.erasures_path.exists() and not _lake_has_a_ledger(settings):
        return
    from gtm_assets.privacy import erasure

    if erasure.pending(settings):
        problems.print("Erasures are not applied to all that is here: that comes first.")
        path = erasure.replay(settings, _say, lambda: _rebuilt(settings), is_forced=False)
        if path:
            console.print(f"certificate  {path}")


def _lake_has_a_ledger(settings: Settings) -> bool:
    from gtm_assets.lake.reader import LakeReader

    return bool(LakeReader.of(settings).ledger.entries())


def _rebuilt(settings: Settings) -> list[str]:
    """Build, prove, publish and serve from the lake; what went wrong."""
    if settings.executor == "in_process":
        from gtm_assets.dbt import process as dbt_process

        dbt_process.warm_up()
    from gtm_assets.cli.run import rebuild

    outcome = rebuild(settings, console)
    return [] if outcome.succeeded else outcome.errors or ["it was not published"]


def _show(person: Person, changes: Sequence[Rewriting]) -> None:
    shown = whole_texts("table", "records", "versions", "in quarantine", "files", "values")
    for one in changes:
        shown.add_row(
            one.table.qualified_name,
            f"{len(one.records):,}",
            f"{one.versions:,}",
            f"{one.quarantined:,}",
            f"{len(one.files):,}",
            ", ".join(f"{column} {count:,}" for column, count in sorted(one.cells.items())),
        )
    console.print(shown)
    console.print(
        f"The person is {person.records:,} records; {len(person.values):,} addresses, names and numbers are "
        "theirs alone."
    )


def _say(sentence: str) -> None:
    console.print(escaped(sentence))
