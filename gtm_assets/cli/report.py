"""``gtm report``: the pages of what is published."""

from __future__ import annotations

import webbrowser

import click

from gtm_assets.cli.speech import console, explained
from gtm_assets.reporting.names import FIRST_PAGE
from gtm_assets.settings import Settings, SettingsError, load_settings

_SWITCHED_OFF = (
    "none: its pages show the published file's tables, which it has not with GTM_EXPORT_PUBLISHED=false. "
    "Leave it out, and run: gtm run"
)


def report_address(settings: Settings) -> str:
    """Where a browser finds the report, or why there is none."""
    page = settings.report_path / FIRST_PAGE
    if not settings.writes_report:
        return _SWITCHED_OFF
    return page.absolute().as_uri() if page.exists() else "none yet: it is written by gtm run"


@click.group()
def report() -> None:
    """The report pages of what is published."""


@report.command("open")
@explained
def open_report() -> None:
    """Open the report in the browser, and say where it is."""
    settings = load_settings()
    if not settings.writes_report:
        raise SettingsError(f"there is no report. {_SWITCHED_OFF.partition(': ')[2]}")
    if not (settings.report_path / FIRST_PAGE).exists():
        raise SettingsError(f"nothing is published at {settings.report_path} yet. Build it: gtm run")
    address = report_address(settings)
    console.print(address)
    if not webbrowser.open(address):
        console.print(
            "No browser could be started here: open the address above, or copy the folder to where one is."
        )
