"""``gtm serve`` and ``gtm access``: a server that people share, and who may read what on it."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gtm_assets.cli.speech import console, escaped, explained, problems, wait_for_ctrl_c, whole_texts
from gtm_assets.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from gtm_assets.serving.access import Enforcer


@click.command()
@click.option("--port", default=5433, show_default=True, help="Port of the server.")
@explained
def serve(port: int) -> None:
    """Serve what is published by a PostgreSQL server of your own, until Ctrl-C.

    Its files lie in the state folder. What is missing is landed, built and published first, as by gtm run.
    """
    settings = load_settings()
    if settings.serves or settings.engine == "postgres":
        raise SettingsError(
            "what is published is served already: gtm run brings it to the server that you have named"
        )
    from gtm_assets.serving import private_server

    # Whoever ends us ends the server with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = settings.home / "postgres"
    with private_server.running(folder, port) as address:
        file = folder / "address"
        file.touch(0o600)
        file.write_text(address)
        done = subprocess.run(
            [sys.executable, "-c", "from gtm_assets.cli.main import main; main()", "run"],
            check=False,
            env={**os.environ, "GTM_SERVE_URL_FILE": str(file)},
        )
        if done.returncode:
            sys.exit(done.returncode)
        console.print(f'connect    psql "$(cat {file})"')
        console.print("           the schemas to read: gtm_published_core, gtm_published_mart, gtm_published_meta")
        console.print(f"access     GTM_SERVE_URL_FILE={file} gtm access show")
        console.print("           Ctrl-C stops the server; what it holds stays.")
        wait_for_ctrl_c()


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--user", "login", required=True, help="A login of the access file: what it may see is in FILE.")
@click.option("--role", help="One of that login's roles. Default: all of them.")
@explained
def share(file: Path, login: str, role: str | None) -> None:
    """Write of what is published what one person may see into FILE, a DuckDB file: rows left out, data masked."""
    settings = load_settings()
    if not settings.published_path.exists():
        raise SettingsError(f"nothing is published at {settings.published_path} yet. Build it: gtm run")
    from gtm_assets import clock
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.publish import descriptions
    from gtm_assets.serving.access_file import file_at
    from gtm_assets.serving.sharing import Sharing
    from gtm_assets.serving.sharing import share as write

    allowed = file_at(settings.access_path)
    described = descriptions(json.loads(manifest_path().read_text()))
    sharing = Sharing.of(allowed, login, role)
    rows = write(settings.published_path, file, allowed, sharing, described, clock.now())
    console.print(
        f"{escaped(file)} holds {sum(rows.values()):,} rows of {len(rows):,} tables, which {login} may see as "
        f"{', '.join(sharing.roles)}."
    )


@click.group()
def access() -> None:
    """Who may read what on the server that people share."""


@access.command("show")
@explained
def show_access() -> None:
    """Print what each role may do with each layer, and who has which."""
    from gtm_assets.serving.access_file import LAYERS, file_at, matrix

    path = load_settings().access_path
    said = file_at(path)
    # A column a role: names of roles are short, and a screen of 80 columns has room for six of them.
    roles, *rights = zip(*matrix(said), strict=True)
    table = whole_texts("layer", *roles)
    table.show_edge = False
    for layer, row in zip([*LAYERS, "shown of personal data"], rights, strict=True):
        table.add_row(layer, *row)
    console.print(table)
    people = whole_texts("login", "roles", "rows")
    for login, person in said.people.items():
        people.add_row(login, ", ".join(person.roles), " ".join([person.scope, *person.regions]))
    if said.people:
        console.print(people)
    console.print(f"This is said in {path}. To enforce it: gtm access apply")


@access.command("apply")
@explained
def apply_access() -> None:
    """Enforce the access file on the server, in one transaction."""
    enforcer = _enforcer()
    enforcer.apply()
    console.print(escaped(enforcer.check().sentence))


@access.command("grant")
@click.argument("login")
@click.option(
    "--role", "roles", multiple=True, required=True, help="A role of the file. Several times for several."
)
@click.option("--scope", type=click.Choice(["all", "region", "team", "own"]), default="own", show_default=True)
@click.option("--user", help="Who the login is in dim_user, by email or id.")
@click.option("--region", "regions", multiple=True, help="A division of dim_user, for the scope region.")
@explained
def grant_access(
    login: str, roles: tuple[str, ...], scope: str, user: str | None, regions: tuple[str, ...]
) -> None:
    """Enter LOGIN in the access file. The server has it after gtm access apply."""
    from gtm_assets.serving.access_file import file_at, granted

    path = load_settings().access_path
    file_at(path)
    path.write_text(granted(path.read_text(), str(path), login, [*roles], scope, user, [*regions]))
    console.print(f"{path} has {login}. To enforce it: gtm access apply")


@access.command("rotate")
@click.argument("login")
@click.option("--to", type=click.Path(path_type=Path), help="A file to write the password to, instead of here.")
@explained
def rotate_password(login: str, to: Path | None) -> None:
    """Give LOGIN another password. The server gets no more of it than proves that one knows it."""
    password = _enforcer().rotate(login)
    if to is None:
        console.print(f"The password of {login} is now: {escaped(password)}")
        return
    to.touch(0o600)
    to.chmod(0o600)
    to.write_text(password + "\n")
    console.print(f"The password of {login} is in {to}")


@access.command("lift")
@click.argument("role")
@explained
def lift_refusal(role: str) -> None:
    """Let ROLE in again that is refused. It is not refused again this month, however much it uses."""
    enforcer = _enforcer()
    enforcer.lift(role, getpass.getuser())
    console.print(escaped(f"{role} is let in again, until the month after this one at least."))
    console.print(escaped(enforcer.check().sentence))


@access.command("audit")
@click.option("--login", help="Only what this login read.")
@click.option("--days", default=7, show_default=True, help="So many days back.")
@click.option("--limit", default=50, show_default=True, help="At most so many statements, the newest first.")
@explained
def audit_access(login: str | None, days: int, limit: int) -> None:
    """Read the server's log of who read personal and financial data, and print the newest entries."""
    settings = load_settings()
    enforcer = _enforcer()
    from gtm_assets.serving.audit_log import AuditLog
    from gtm_assets.serving.securing import Names

    log = AuditLog(enforcer.server, Names(settings.schema_prefix))
    finding = enforcer.audited()
    if finding.passed:
        reading = log.read(settings.audit_days)
        console.print(f"{reading.statements:,} statements are new.")
        if reading.damaged:
            console.print(f"{reading.damaged:,} lines of the log were cut off and could not be read.")
    else:
        problems.print(f"[yellow]warning:[/] {escaped(finding.sentence)}")
    table = whole_texts("when (UTC)", "login", "roles", "objects", "outcome", "statement")
    for entry in log.entries(login, days, limit):
        table.add_row(*map(escaped, entry))
    console.print(table)


@access.command("review")
@click.option("--sign", "signed_by", help="Who signs it off; asked for where it is not given.")
@click.option("--remark", default="", help="What is to be noted with it.")
@click.option("--no-sign", is_flag=True, help="Only write it.")
@explained
def review_access(signed_by: str | None, remark: str, no_sign: bool) -> None:
    """Write this quarter's review of who may read what and who did, and have it signed off."""
    settings = load_settings()
    enforcer = _enforcer()
    from gtm_assets.serving.review import Reviewing

    reviewing = Reviewing(enforcer, settings.schema_prefix)
    review = reviewing.write(settings.home / "reviews")
    console.print(escaped(review.text), soft_wrap=True)
    console.print(f"The review is in {review.path}")
    if no_sign:
        return
    signed_by = signed_by or click.prompt("Does each login need what it has? Who signs this off")
    reviewing.sign(review, signed_by, remark)
    console.print(escaped(f"{signed_by} has signed the review of {review.quarter} off."))


def _enforcer() -> Enforcer:
    settings = load_settings()
    if not settings.is_shared:
        raise SettingsError("no server is named: set GTM_SERVE_URL")
    try:
        from gtm_assets.serving.access import enforcer_of
    except ImportError as error:
        raise SettingsError(
            f"GTM_SERVE_URL needs what is not installed ({error}). Install it: make setup-postgres"
        ) from error
    from gtm_assets.dbt.project import manifest_path
    from gtm_assets.publishing.publish import descriptions

    return enforcer_of(settings, descriptions(json.loads(manifest_path().read_text())))
