"""Report pages: how figures add up and are written, how the folder is replaced, what a page may hold."""

import json
import re
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import duckdb
import pytest
from pydantic import SecretStr

from gtm_assets.automation.alerts.channels import Message, deliver_by
from gtm_assets.automation.alerts.summary import headline
from gtm_assets.cli import report as command
from gtm_assets.reporting.charts import by_name, over_time
from gtm_assets.reporting.folder import DIGEST
from gtm_assets.reporting.html import SCRIPT, made
from gtm_assets.reporting.names import FIRST_PAGE, PICTURE, SENTENCE
from gtm_assets.reporting.page import Chart, Choice, Content, Page, Section, Table, Tile
from gtm_assets.reporting.published import open_published
from gtm_assets.reporting.report import write_report
from gtm_assets.reporting.rows import (
    Column,
    Measure,
    ReportError,
    Rows,
    change,
    grouped,
    short,
    written,
    written_change,
)
from gtm_assets.reporting.theme import DARK, LIGHT, painted
from gtm_assets.runtime import linked_folder
from gtm_assets.settings import load_settings
from gtm_assets_tests.alert_receiver import receiving

AMOUNT = Measure("Amount", "amount", "amount")
RATE = Measure("Win rate", "won", "share", ("won", "lost"))
COLUMNS = (
    Column("owner", "Owner"),
    Column("amount", "Amount", "amount"),
    Column("won", "Won", "count"),
    Column("lost", "Lost", "count"),
    Column("days", "Days", "number"),
)
DEALS = Rows(
    "deals",
    COLUMNS,
    [
        ("Ann", Decimal("0.10"), 1, 2, 3.0),
        ("Bob", Decimal("1000000000.20"), 3, 1, None),
        ("Ann", Decimal("0.20"), 0, 0, 5.0),
        ("Cy", None, None, None, None),
    ],
    "",
)


def test_amounts_add_up_to_the_cent_and_ratios_are_those_of_sums():
    found = grouped(DEALS, ["owner"], [AMOUNT, RATE], {})

    assert found == [("Ann", 30, 1 / 3), ("Bob", 100_000_000_020, 0.75), ("Cy", None, None)]
    assert grouped(DEALS, [], [AMOUNT], {"owner": "Ann"}) == [(30,)]
    assert grouped(DEALS, [], [AMOUNT], {"owner": "nobody"}) == [(None,)]
    assert [row[0] for row in grouped(DEALS, ["owner"], [AMOUNT], {}, largest_first=True)] == ["Bob", "Ann", "Cy"]


def test_figures_that_do_not_add_up_are_refused():
    days = Measure("Days", "days", "number")

    assert grouped(DEALS, ["owner"], [days], {"owner": "Bob"}) == [("Bob", None)]
    with pytest.raises(ReportError, match="days of the rows 'deals' does not add up"):
        grouped(DEALS, ["owner"], [days], {})
    with pytest.raises(ReportError, match="no column 'region'"):
        grouped(DEALS, ["region"], [AMOUNT], {})


@pytest.mark.parametrize(
    ("value", "kind", "full", "headline"),
    [
        (22465750, "amount", "$224,657.50", "$224.7k"),
        (-5, "amount", "−$0.05", "−$0"),
        (238881490, "amount", "$2,388,814.90", "$2.39m"),
        (9999, "count", "9,999", "9,999"),
        (1234567, "count", "1,234,567", "1.23m"),
        (0.125, "share", "12.5 %", "12.5 %"),
        (0.12250000000000001, "share", "12.3 %", "12.3 %"),
        (2.25, "number", "2.3", "2.3"),
        ("2026-11-01", "month", "Nov 2026", "Nov 2026"),
        ("2026-11-29 05:49", "instant", "2026-11-29 05:49 UTC", "2026-11-29 05:49 UTC"),
        (None, "amount", "–", "–"),
    ],
)
def test_how_figures_are_written(value, kind, full, headline):
    assert (written(value, kind, "USD"), short(value, kind, "USD")) == (full, headline)


def test_a_change_is_relative_but_that_of_a_share_is_a_difference():
    assert written_change(change(110, 100, "amount"), "amount") == "+10.0 %"
    assert written_change(change(0.4, 0.5, "share"), "share") == "−10.0 pp"
    assert written_change(change(1, 0, "count"), "count") == "–"
    assert written_change(change(5, None, "count"), "count") == "–"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG defines it, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_texts_and_marks_stand_out_from_what_is_behind_them_light_and_dark():
    for palette, text, behind in product(
        (LIGHT, DARK), ("ink", "soft", "accent", "good", "bad"), ("page", "card")
    ):
        assert contrast(palette[text], palette[behind]) >= 4.5, (text, behind)
    for palette, mark in product((LIGHT, DARK), ("accent", "second", "third", "fourth")):
        assert contrast(palette[mark], palette["card"]) >= 3, mark
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_a_picture_has_colours_and_no_names_of_them():
    named = {"mark": {"color": "var(--accent)"}, "axis": ["var(--soft)"]}
    assert painted(named) == {"mark": {"color": LIGHT["accent"]}, "axis": [LIGHT["soft"]]}


# -- pages -----------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path):
    """A small published file: two owners, one with a name that would end a script."""
    path = tmp_path / "published" / "gtm.duckdb"
    path.parent.mkdir()
    with duckdb.connect(str(path)) as file:
        file.execute("create schema gtm_meta; create schema gtm_mart; create schema gtm_core")
        file.execute(
            "create table gtm_meta.publication as select 'b78f4434' as run_id, ?::timestamptz as published_at,"
            " ?::timestamptz as as_of, 7::bigint as checks_passed, 1::bigint as checks_warned,"
            " '2026-09-09' as first_partition",
            [datetime(2026, 9, 12, 8, tzinfo=UTC), datetime(2026, 9, 12, 5, 49, tzinfo=UTC)],
        )
        file.execute(
            "create table gtm_core.fct_opportunity as select 'EUR' as currency_iso_code, 1.00 as amount;"
            "create table gtm_mart.rep_deals (owner varchar, month date, amount decimal(38, 2));"
            "insert into gtm_mart.rep_deals values ('Ann', '2026-08-01', 10.10), ('Ann', '2026-09-01', 5.05),"
            " ('</script><img src=x onerror=alert(1)>', '2026-09-01', null)"
        )
        file.execute("comment on column gtm_mart.rep_deals.amount is 'Amount of <deals> won.'")
    return path


def content(published):
    rows = published.rows(
        "deals",
        "select owner, month, amount from gtm_mart.rep_deals order by month, owner",
        Column("owner", "Owner"),
        Column("month", "Month", "month"),
        Column("amount", "Amount", "amount"),
        report="gtm_mart.rep_deals",
    )
    return Content(
        [
            Section(
                "All",
                [
                    Tile("Amount", rows, AMOUNT),
                    Chart("By month", rows, ["month"], [AMOUNT], drawn=over_time()),
                    Chart("By owner", rows, ["owner"], [AMOUNT], drawn=by_name(), if_missing="Not all have one."),
                    Table("Names", rows, ["owner"]),
                ],
            )
        ],
        choices=[Choice("owner", "Owner", [(name, name) for name in rows.distinct("owner")], everything="All")],
    )


PAGE = Page("index", "Deals", "What was won.", content)
PAGES = (PAGE, Page("more", "More", "The same once more.", content))


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_its_rows_and_no_text_of_a_record_becomes_markup(published):
    with open_published(published) as file:
        html = made(PAGE, file, PAGES).html

    assert data_of(html)["rows"]["deals"]["values"] == [
        ["Ann", "2026-08-01", 1010],
        ["</script><img src=x onerror=alert(1)>", "2026-09-01", None],
        ["Ann", "2026-09-01", 505],
    ]
    assert "<img" not in html
    assert '<data value="1515" title="€15.15">€15</data>' in html
    assert "Amount of &lt;deals&gt; won." in html
    assert "1 of 2 have no figure. Not all have one." in html
    assert 'aria-label="By month. Amount, 2 figures, from Aug 2026 to Sep 2026: last €5.05, highest €10.10' in html


def test_rows_of_one_name_are_the_same(published):
    def two(published):
        one = published.rows("x", "select 1 as n", Column("n", "N", "count"))
        other = published.rows("x", "select 2 as n", Column("n", "N", "count"))
        return Content([Section("s", [Table("a", one, ["n"]), Table("b", other, ["n"])])])

    with open_published(published) as file, pytest.raises(ReportError, match=r"two rows .* are named 'x'"):
        made(Page("index", "t", "l", two), file, ())


def test_a_query_that_fails_says_of_which_rows(published):
    with open_published(published) as file:
        with pytest.raises(ReportError, match="'gone' of a report page can't be read: Catalog Error"):
            file.rows("gone", "select 1 from gtm_mart.rep_gone")
        with pytest.raises(ReportError, match="'other' of a report page have the columns n"):
            file.rows("other", "select 1 as n", Column("m", "M"))


def test_nothing_published_is_a_sentence(tmp_path):
    with (
        pytest.raises(ReportError, match=r"nothing is published at .*Build it: gtm run"),
        open_published(tmp_path / "x"),
    ):
        pass


# -- the folder ------------------------------------------------------------------------------------------------


@pytest.fixture
def write(published, monkeypatch):
    """Writes the two pages beside the published file. Their messages need the reports of a whole warehouse."""
    monkeypatch.setattr("gtm_assets.reporting.headline.sentence", lambda _: "Sep 2026: bookings €5.05.")
    monkeypatch.setattr("gtm_assets.reporting.headline.picture", lambda _: b"\x89PNG\r\n\x1a\n")
    return lambda: write_report(published, published.parent / "report", PAGES)


def change_data(published, statement: str) -> None:
    with duckdb.connect(str(published)) as file:
        file.execute(statement)


def test_pages_are_written_where_their_figures_have_changed(published, write):
    first, folder = write(), published.parent / "report"
    files = {path.name for path in folder.iterdir()}
    before = folder.readlink()

    assert first.rewritten and first.figures == 8
    assert files == {"index.html", "more.html", SCRIPT, SENTENCE, PICTURE, DIGEST}
    # Published once more, by another run: every figure is as it was.
    change_data(published, "update gtm_meta.publication set run_id = 'other', published_at = now()")
    assert not write().rewritten
    assert folder.readlink() == before
    change_data(published, "update gtm_mart.rep_deals set amount = 10.11 where amount = 10.10")
    assert write().rewritten
    assert data_of((folder / FIRST_PAGE).read_text())["rows"]["deals"]["values"][0][2] == 1011
    assert [path.name for path in folder.parent.glob(".report*")] == [folder.readlink().name]


def test_a_failure_leaves_yesterdays_pages(published, write, monkeypatch):
    write()
    folder = published.parent / "report"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    change_data(published, "update gtm_mart.rep_deals set amount = 99")
    written_files = []

    def full(descriptor):
        written_files.append(descriptor)
        if len(written_files) == 2:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(linked_folder.os, "fsync", full)
        with pytest.raises(ReportError, match=r"was not replaced: .*No space left.*run: gtm run"):
            write()

    assert len(written_files) == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.glob(".report*")] == [folder.readlink().name]
    assert write().rewritten


def test_pages_of_a_state_folder_that_was_copied_are_replaced(published, write, tmp_path):
    write()
    folder = published.parent / "report"
    # A copy that follows links holds the pages themselves.
    shutil.copytree(folder, tmp_path / "copied")
    folder.unlink()
    (tmp_path / "copied").rename(folder)
    change_data(published, "update gtm_mart.rep_deals set amount = 99")

    assert write().rewritten
    assert folder.is_symlink()
    assert [path.name for path in folder.parent.glob(".report*")] == [folder.readlink().name]


# -- the command and the messages ------------------------------------------------------------------------------


@pytest.fixture
def settings(published, monkeypatch):
    monkeypatch.setenv("GTM_HOME", str(published.parent.parent))
    return load_settings()


def test_the_command_opens_the_first_page_and_says_where_it_is(settings, write, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", lambda address: opened.append(address) or False)
    with pytest.raises(SystemExit):
        command.open_report.main([], standalone_mode=False)
    assert "Build it: gtm run" in capsys.readouterr().err and not opened
    write()
    command.open_report.main([], standalone_mode=False)

    assert opened == [(settings.report_path / FIRST_PAGE).as_uri()]
    said = capsys.readouterr().out
    assert opened[0] in said and "No browser could be started here" in said


def test_without_tables_in_the_published_file_there_is_no_report(settings):
    off = settings.model_copy(update={"engine": "postgres", "export_published": False})

    assert not off.writes_report and "GTM_EXPORT_PUBLISHED=false" in command.report_address(off)
    assert settings.model_copy(update={"engine": "postgres"}).writes_report


def test_the_summary_has_the_headline_and_the_picture_goes_where_files_are_carried(settings, write):
    assert headline(settings) == []
    write()
    first, second = headline(settings)
    assert first == "Headline: Sep 2026: bookings €5.05." and second.endswith("/published/report/index.html")

    with receiving() as receiver:
        deliver = deliver_by(settings.model_copy(update={"alert_chat_url": SecretStr(receiver.url("chat"))}))
        deliver("chat", Message("Daily summary", "body", "summary"))
        deliver("chat", Message("[test] x", "body", "test"))
    assert receiver.files == [[PICTURE], []]
