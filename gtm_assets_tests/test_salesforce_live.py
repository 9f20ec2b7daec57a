"""The live source against a local Salesforce: the same lake as the organisation itself, whatever goes wrong."""

import dataclasses
import json
import logging
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import Deletes, fivetran_name
from gtm_assets.checks.drift import schema_drift
from gtm_assets.checks.raw import DRIFT, VANISHED, Limits
from gtm_assets.errors import BudgetReached, CredentialsRefused, NotReadable, SourceUnavailable
from gtm_assets.finding import Finding
from gtm_assets.lake.landing import Landing
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.runtime.runs import INTRADAY_TAG
from gtm_assets.sources.raw_asset import READABLE_CHECK, Rules, asset_key, landing_metadata
from gtm_assets.sources.salesforce import totals
from gtm_assets.sources.salesforce.assets import (
    SCOPE_CHECK,
    raw_asset,
    scope_check,
    totals_checks,
)
from gtm_assets.sources.salesforce.catalog import OBJECTS, SalesforceObject
from gtm_assets.sources.salesforce.live import deletions, extraction, org, spool, texts
from gtm_assets.sources.salesforce.live.diagnostics import examine
from gtm_assets.sources.salesforce.live.org import REQUESTS_A_REFRESH, REQUESTS_KEPT, LiveOrg, Wanted
from gtm_assets.sources.salesforce.live.query import Description, Span, drift
from gtm_assets.sources.salesforce.live.resource import live_org, wanted_by
from gtm_assets.sources.salesforce.live.session import Budget, Login, Session
from gtm_assets.sources.salesforce.source import Salesforce
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets.sources.salesforce.synthetic.org import LATEST_DAYS
from gtm_assets.sources.salesforce.totals import equals_source
from gtm_assets_tests.gtm_process import SMALL, GtmHome
from gtm_assets_tests.lake_builders import content, leftovers
from gtm_assets_tests.properties import at_most
from gtm_assets_tests.salesforce_server import TRANSIENT, ConnectedApp, Fault, SalesforceServer
from gtm_assets_tests.salesforce_server import server as protocol
from gtm_assets_tests.salesforce_server.errors import ApiError
from gtm_assets_tests.salesforce_server.messages import Reply

TABLES = {table.name: table for table in OBJECTS}
CALENDAR = Calendar(date(2026, 9, 4), date(2026, 9, 12))
DAYS = ("2026-09-04", "2026-09-05", "2026-09-06")
YOUNG = Calendar(date(2024, 10, 10), date(2024, 10, 20))
"""The organisation in its second month: 1,400 records."""
FIRST, SECOND, THIRD = "2024-10-10", "2024-10-11", "2024-10-12"
LATE = timedelta(days=LATEST_DAYS + 1)
"""A lookback that reaches all late records of the synthetic organisation."""
BULK, REST = 1, 10**9
SYNTHETIC = SyntheticOrg(1, 0.001)


@pytest.fixture(scope="module")
def running() -> Iterator[SalesforceServer]:
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        yield server


@pytest.fixture
def server(running) -> Iterator[SalesforceServer]:
    """The server as it was at first: of what it held nothing is changed by these tests."""
    # A request that an earlier test's client has given up counts as that test's.
    running.wait_until_idle()
    running.requests_used = 0
    running.now = YOUNG.window(FIRST).end
    running.log.clear()
    yield running
    running.faults.clear()
    running.daily_requests, running.requests_used = 100_000, 0


@pytest.fixture
def small_pages(monkeypatch):
    """Pages so small that most tables have several."""
    monkeypatch.setattr(extraction, "PAGE_ROWS", 40)
    monkeypatch.setattr(protocol, "PAGE_ROWS", 30)


def session(server: SalesforceServer, **changes) -> Session:
    login = Login(server.url, server.app.consumer_key, server.app.consumer_secret)
    version = changes.pop("version", "62.0")
    return Session(
        changes.pop("login", login), version, Budget(changes.pop("share", 0.8)), first_wait=0, **changes
    )


@contextmanager
def live(server: SalesforceServer, folder: Path, **options) -> Iterator[LiveOrg]:
    made = {"lookback": LATE, "bulk_rows": 8_000, "parallel": 4, "poll_seconds": 0} | options
    source = LiveOrg(made.pop("session", None) or session(server), folder / "salesforce", **made)
    try:
        yield source
    finally:
        source.close()


def land(
    lake: Lake, source, day: str, calendar: Calendar = YOUNG, tables: Sequence[SalesforceObject] = OBJECTS
) -> list[Landing]:
    window = calendar.window(day)
    return [lake.land(table, window, source.changes(table, window), window.end) for table in tables]


def contents(lake: Lake, tables: Sequence[SalesforceObject] = OBJECTS) -> dict[str, Counter]:
    return {table.name: content(lake, table) for table in tables}


@pytest.fixture(scope="module")
def young(tmp_path_factory) -> dict[str, Counter]:
    """The young organisation, landed directly."""
    lake = Lake(tmp_path_factory.mktemp("young"))
    land(lake, SYNTHETIC, FIRST)
    return contents(lake)


def asked(server: SalesforceServer, endpoint: str, object_: str | None = None) -> list:
    return [e for e in server.log if e.endpoint == endpoint and object_ in (None, e.object)]


# -- the same lake ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "bulk_rows",
    [pytest.param(8000, id="rest_and_bulk"), pytest.param(BULK, id="bulk", marks=pytest.mark.nightly)],
)
def test_what_lands_through_the_api_is_what_lands_directly(server, tmp_path, bulk_rows):
    directly, by_api = Lake(tmp_path / "directly"), Lake(tmp_path / "by_api")
    for day in DAYS:
        land(directly, SYNTHETIC, day, CALENDAR)
        server.now = CALENDAR.window(day).end
        with live(server, tmp_path, bulk_rows=bulk_rows) as source:
            land(by_api, source, day, CALENDAR)

    assert sum(sum(found.values()) for found in contents(by_api).values()) > 20_000
    assert contents(by_api) == contents(directly)
    assert asked(server, "job_results") != []


def test_late_records_are_found_within_the_lookback_and_the_others_by_a_full_extraction(tmp_path):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    first, second = YOUNG.window(FIRST), YOUNG.window("2024-10-11")

    def titles() -> set[str]:
        return set(lake.read(contact).collect()["title"]) & {"soon", "later"}

    with SalesforceServer(SYNTHETIC, first.end) as server:
        with live(server, tmp_path, lookback=timedelta(minutes=10)) as source:
            land(lake, source, FIRST, tables=[contact])
        soon, later = lake.read(contact).collect()["id"][:2]
        server.now = second.end
        for record, title, minutes in ((soon, "soon", 9), (later, "later", 11)):
            stamp = first.end - timedelta(minutes=minutes)
            server.edit("Contact", record, touch=False, Title=title, SystemModstamp=stamp)
        with live(server, tmp_path, lookback=timedelta(minutes=10)) as source:
            land(lake, source, "2024-10-11", tables=[contact])
            by_lookback = titles()
            lake.land_snapshot(contact, second, source.snapshot(contact, second), second.end)

    assert by_lookback == {"soon"}
    assert titles() == {"soon", "later"}


def test_both_ways_give_one_version_where_texts_are_empty(server, tmp_path):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    empty = pl.col("title").is_null()

    for bulk_rows in (REST, BULK):
        with live(server, tmp_path, bulk_rows=bulk_rows) as source:
            (landing,) = land(lake, source, FIRST, tables=[contact])

    assert lake.read(contact).filter(empty).collect().height > 0
    assert (landing.received, landing.added) == (160, 0)


def test_a_full_extraction_by_the_api_finds_nothing_gone_where_nothing_is(server, tmp_path):
    lake, user, window = Lake(tmp_path / "lake"), TABLES["user"], YOUNG.window(FIRST)
    land(lake, SYNTHETIC, FIRST, tables=[user])

    with live(server, tmp_path) as source:
        landing = lake.land_snapshot(user, window, source.snapshot(user, window), window.end)

    assert (landing.received, landing.added, landing.hard_deleted) == (17, 0, 0)


def test_large_queries_are_bulk_jobs_and_small_ones_rest_and_what_bulk_refuses_is_rest(server, tmp_path):
    with live(server, tmp_path, bulk_rows=160) as source:
        land(Lake(tmp_path / "lake"), source, FIRST)

    by_bulk = {entry.object for entry in asked(server, "job_results")}
    assert by_bulk == {"Contact", "ContactHistory", "OpportunityFieldHistory"}
    assert [e.status for e in asked(server, "job_create", "ForecastingItem")] == [400]
    selects = [e for e in asked(server, "query", "ForecastingItem") if "COUNT()" not in e.soql]
    assert [e.status for e in selects] == [200]
    assert {entry.path.rpartition("/")[2] for entry in asked(server, "query")} == {"queryAll"}


@pytest.mark.parametrize("bulk_rows", [REST, BULK], ids=["rest", "bulk"])
def test_a_page_is_let_go_once_the_next_one_lands(server, tmp_path, monkeypatch, bulk_rows):
    """Memory holds a page or two, however many there are; `test_benchmarks.py` measures it."""
    monkeypatch.setattr(spool, "_PAGE_ROWS", 10)
    monkeypatch.setattr(spool, "_BLOCK", 4096)
    monkeypatch.setattr(protocol, "PAGE_ROWS", 10)
    lake, contact, window = Lake(tmp_path / "lake"), TABLES["contact"], YOUNG.window(FIRST)
    seen, alive = [], []

    def watched(pages):
        for page in pages:
            seen.append(weakref.ref(page))
            alive.append(sum(reference() is not None for reference in seen))
            yield page
            del page

    with live(server, tmp_path, bulk_rows=bulk_rows) as source:
        lake.land(contact, window, watched(source.changes(contact, window)), window.end)

    assert len(seen) >= 10
    assert max(alive) <= 2


def test_where_no_bulk_job_is_left_of_the_day_rest_is_taken(server, tmp_path, monkeypatch):
    jobs = {"DailyBulkV2QueryJobs": {"Max": "10000", "Remaining": "2001"}}
    monkeypatch.setattr(org, "read_limits", lambda session: jobs)

    with live(server, tmp_path, bulk_rows=BULK) as source:
        land(Lake(tmp_path / "lake"), source, FIRST)

    assert len(asked(server, "job_create")) == 1


# -- what goes wrong -------------------------------------------------------------------------------------------


FAULTS = (*TRANSIENT, Fault.QUERY_TIMEOUT, Fault.FAILED_JOB, Fault.ABORTED_JOB)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "least_met"),
    [pytest.param(10, 0, id="10"), pytest.param(100, 11, id="100", marks=pytest.mark.nightly)],
)
def test_the_lake_is_the_same_whatever_breaks_so_many_times(
    server, small_pages, young, tmp_path, times, least_met
):
    met: Counter = Counter()
    for seed in range(times):
        lake = Lake(tmp_path / f"lake-{seed}")
        server.log.clear()
        server.faults.clear()
        server.faults.random(seed, 0.1, FAULTS)
        plan = [Wanted(table, YOUNG.window(FIRST)) for table in OBJECTS]
        with live(server, tmp_path, bulk_rows=50, plan=plan) as source:
            land(lake, source, FIRST)
        met.update(entry.fault for entry in server.log if entry.fault)

        assert contents(lake) == young, f"seed {seed}"
        assert leftovers(lake) == []
    # Which request meets which fault differs from run to run: requests are sent side by side.
    assert min(met[fault.name] for fault in FAULTS) >= least_met, met
    assert met.total() > 10 * times


STEPS = {
    "login": ("oauth2", REST),
    "describe": ("describe", REST),
    "count": ("COUNT", REST),
    "select": ("GET.*q=SELECT Id", REST),
    "next page": ("query/01", REST),
    "new job": ("POST.*jobs", BULK),
    "job state": ("GET.*jobs/query/[^/]*$", BULK),
    "results": ("results", BULK),
    "next results": ("locator=", BULK),
}
WITH_RECORDS = {"select", "next page", "results", "next results"}


@pytest.mark.parametrize(
    ("fault", "step"),
    [
        (fault, step)
        for fault in (*TRANSIENT, Fault.SLOW)
        for step in STEPS
        if not (fault is Fault.SHORT_PAGE and step not in WITH_RECORDS)
        and not (fault is Fault.SESSION_EXPIRED and step == "login")
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_each_fault_at_each_step_is_survived(server, small_pages, young, tmp_path, fault, step):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    match, bulk_rows = STEPS[step]
    # Slow is slower than we wait.
    server.faults.add(fault, match=match, times=2, seconds=1.5)
    patience = session(server, read_seconds=0.75)

    with live(server, tmp_path, bulk_rows=bulk_rows, session=patience) as source:
        land(lake, source, FIRST, tables=[contact])

    assert content(lake, contact) == young["contact"]
    assert server.faults.pending == []


PROXIES = (
    {"status": 400},
    {"status": 401},
    {"status": 403},
    {"status": 404, "page": '{"message": "no route"}'},
    {"status": 407, "page": ""},
    {"status": 200, "page": "[]"},
)
"""What a proxy, a firewall or a gateway may answer in Salesforce's place."""


@pytest.mark.parametrize("step", [*STEPS, "limits"])
def test_what_a_proxy_answers_at_a_step_is_not_taken_for_salesforces(server, small_pages, young, tmp_path, step):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    match, bulk_rows = (STEPS | {"limits": ("limits", REST)})[step]
    for page in PROXIES:
        server.faults.add(Fault.PROXY, match=match, **page)

    with live(server, tmp_path, bulk_rows=bulk_rows) as source:
        land(lake, source, FIRST, tables=[contact])

    assert content(lake, contact) == young["contact"]
    assert server.faults.pending == []


@pytest.mark.parametrize(("match", "bulk_rows"), [("describe", REST), ("COUNT", REST), ("results", BULK)])
@pytest.mark.parametrize("page", PROXIES[2:4], ids=["HTML", "JSON"])
def test_a_proxy_that_goes_on_answering_is_named_and_nothing_lands(server, tmp_path, match, bulk_rows, page):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    server.faults.add(Fault.PROXY, match=match, times=None, **page)

    with live(server, tmp_path, bulk_rows=bulk_rows) as source, pytest.raises(SourceUnavailable) as told:
        land(lake, source, FIRST, tables=[contact])

    assert f"HTTP {page['status']} with a page that is not Salesforce's" in str(told.value)
    assert "a proxy or a firewall in between" in str(told.value)
    assert lake.batches() == [] and lake.unreadable_partitions(contact) == []


@pytest.mark.parametrize("match", ["oauth2", "describe", "results"])
@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://portal.example/login", "portal.example"),
        ("", "another address"),
    ],
)
def test_a_redirect_is_refused_with_where_it_leads(server, tmp_path, match, location, named):
    lake, reply = Lake(tmp_path / "lake"), protocol.SalesforceServer._reply

    def redirecting(self, call):
        if re.search(match, call.request.line):
            return Reply(302, b"", {"Location": location})
        return reply(self, call)

    with (
        live(server, tmp_path, bulk_rows=BULK) as source,
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(CredentialsRefused, match=f"redirects to {named}. Set GTM_SALESFORCE_INSTANCE_URL"),
    ):
        patch.setattr(protocol.SalesforceServer, "_reply", redirecting)
        land(lake, source, FIRST, tables=[TABLES["contact"]])

    assert lake.batches() == []


def test_what_a_proxy_answers_beside_the_extraction_is_no_word_of_salesforces_either(server, tmp_path):
    """The list of all objects, what was deleted, the totals."""
    user, window = TABLES["user"], YOUNG.window("2024-10-11")
    server.now = window.end
    with live(server, tmp_path) as source:
        expected = (source.objects(), source.deletions(user, window), source.totals(user, window))
        for match in ("sobjects$", "deleted", "SELECT"):
            for page in PROXIES:
                server.faults.add(Fault.PROXY, match=match, **page)
        with live(server, tmp_path) as again:
            found = (again.objects(), again.deletions(user, window), again.totals(user, window))

    assert found == expected
    assert server.faults.pending == []
    # A 401 that is not Salesforce's ends no session.
    assert len(asked(server, "token")) == 2


def test_a_session_that_expires_in_mid_download_goes_on_with_the_locator(server, small_pages, tmp_path):
    server.faults.add(Fault.SESSION_EXPIRED, match="locator=", after=1)

    with live(server, tmp_path, bulk_rows=BULK) as source:
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])

    pages = asked(server, "job_results")
    locators = [page.params.get("locator") for page in pages]
    assert [page.status for page in pages] == [200, 200, 401, 200, 200]
    assert locators[2] == locators[3]
    assert len(asked(server, "job_create")) == 1
    assert len(asked(server, "token")) == 2


def test_rows_of_a_page_that_hold_nothing_are_no_records(server, small_pages, young, tmp_path, monkeypatch):
    results, contact = protocol.SalesforceServer._on_job_results, TABLES["contact"]

    def with_blank_rows(self, call):
        reply = results(self, call)
        header, newline, rows = reply.whole().partition(b"\n")
        blank = b"," * header.count(b",") + b"\n"
        reply.body = b"".join([header, newline, blank, b"\n", rows, blank.replace(b",", b'"",', 1)])
        return reply

    monkeypatch.setattr(protocol.SalesforceServer, "_on_job_results", with_blank_rows)
    lake = Lake(tmp_path / "lake")
    with live(server, tmp_path, bulk_rows=BULK) as source:
        (landing,) = land(lake, source, FIRST, tables=[contact])

    assert landing.quarantined == 0
    assert content(lake, contact) == young["contact"]


def test_a_page_that_is_always_short_is_refused_and_lands_nothing(server, small_pages, tmp_path):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    server.faults.add(Fault.SHORT_PAGE, match="locator=|queryAll", times=None)

    for bulk_rows, found in (
        (BULK, "39 records, 40 were announced"),
        (REST, "announced 160 records and returned"),
    ):
        with live(server, tmp_path, bulk_rows=bulk_rows) as source, pytest.raises(SourceUnavailable, match=found):
            land(lake, source, FIRST, tables=[contact])

    assert lake.batches() == []
    assert list((tmp_path / "salesforce" / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("match", "bulk_rows", "told"),
    [("query/01", REST, "announced 160 records"), ("results", BULK, "processed 160 records")],
)
@pytest.mark.parametrize("records", [0, 30], ids=["without records", "with records"])
def test_pages_that_go_on_for_ever_are_refused(server, small_pages, tmp_path, match, bulk_rows, told, records):
    """As of a cache in between, or of a place that never moves."""
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    reply = protocol.SalesforceServer._reply

    def looping(self, call):
        answer = reply(self, call)
        if re.search(match, call.request.line):
            answer.headers["Sforce-Locator"] = "MjA"
            if bulk_rows == REST:
                page = json.loads(answer.whole())
                page |= {"done": False, "nextRecordsUrl": call.request.path, "records": page["records"][:records]}
                return Reply.json(page)
            if not records:
                answer.body = answer.whole().partition(b"\n")[0] + b"\n"
                answer.headers["Sforce-NumberOfRecords"] = "0"
        return answer

    with (
        live(server, tmp_path, bulk_rows=bulk_rows) as source,
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SourceUnavailable, match=told),
    ):
        patch.setattr(protocol.SalesforceServer, "_reply", looping)
        land(lake, source, FIRST, tables=[contact])

    assert lake.batches() == []


@pytest.mark.parametrize("place", ["https://elsewhere.example/services/data/v62.0/query/01g", "5", {}, None])
def test_a_next_page_whose_address_is_none_of_salesforces_is_refused(server, small_pages, tmp_path, place):
    page = {"totalSize": 2, "done": False, "records": [{"Id": "0031"}], "nextRecordsUrl": place}
    server.faults.add(Fault.PROXY, match="GET.*q=SELECT Id", times=None, status=200, page=json.dumps(page))

    with live(server, tmp_path) as source, pytest.raises(SourceUnavailable, match="is not a page of records"):
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])


def test_a_query_that_takes_too_long_is_asked_in_halves(server, young, tmp_path):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    server.faults.add(Fault.QUERY_TIMEOUT, match="queryAll", times=5)

    with live(server, tmp_path) as source:
        land(lake, source, FIRST, tables=[contact])

    spans = {e.soql.partition(" WHERE ")[2] for e in asked(server, "query") if e.status == 200}
    assert len(spans) > 3
    assert content(lake, contact) == young["contact"]


def test_a_query_that_takes_too_long_even_for_a_minute_is_told(server, tmp_path):
    server.faults.add(Fault.QUERY_TIMEOUT, times=None)

    with (
        live(server, tmp_path) as source,
        pytest.raises(SourceUnavailable, match="index on Contact"),
    ):
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])


@pytest.mark.parametrize("state", [Fault.FAILED_JOB, Fault.ABORTED_JOB])
def test_a_job_that_comes_to_nothing_is_replaced_by_rest(server, young, tmp_path, state):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    server.faults.add(state, match="GET.*jobs")

    with live(server, tmp_path, bulk_rows=BULK) as source:
        land(lake, source, FIRST, tables=[contact])

    assert content(lake, contact) == young["contact"]
    assert asked(server, "job_results") == []


def test_an_organisation_that_stays_down_is_unavailable_and_the_next_try_lands(server, young, tmp_path):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    server.faults.add(Fault.HTTP_ERROR, match="describe", times=7)

    with live(server, tmp_path) as source:
        with pytest.raises(SourceUnavailable, match="no answer of use to GET sobjects/Contact/describe: HTTP 503"):
            land(lake, source, FIRST, tables=[contact])
        land(lake, source, FIRST, tables=[contact])

    assert content(lake, contact) == young["contact"]


def test_a_busy_organisation_is_asked_again_when_it_says(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    server.faults.add(Fault.HTTP_ERROR, match="describe", status=429, retry_after=17)

    with live(server, tmp_path) as source:
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])

    assert waits == [17]


# -- texts -----------------------------------------------------------------------------------------------------


BROKEN = {
    "half a pair": "a\ud83d",
    "the other half": "\ude00",
    "NUL": "a\0b",
    "a pair": "\ud83d\ude00",
    "own": "\ufffd",
}
REPAIRED = {"half a pair": "a\ufffd", "the other half": "\ufffd", "NUL": "ab", "a pair": "😀", "own": "\ufffd"}


@contextmanager
def with_texts(texts: Sequence[str]) -> Iterator[None]:
    """The server's answers hold these texts in place of ``text 0`` and so on, as JSON and Bulk write them."""
    by_title = {f"text {number}": text for number, text in enumerate(texts)}
    page, results = protocol.SalesforceServer._page, protocol.SalesforceServer._on_job_results

    def json_page(call, cursor, locator, start):
        reply = page(call, cursor, locator, start)
        for title, text in by_title.items():
            reply.body = reply.whole().replace(json.dumps(title).encode(), json.dumps(text).encode())
        return reply

    def csv_page(self, call):
        reply = results(self, call)
        for title, text in by_title.items():
            given = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            reply.body = reply.whole().replace(title.encode(), given.encode("utf-8", "surrogatepass"))
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol.SalesforceServer, "_page", staticmethod(json_page))
        patch.setattr(protocol.SalesforceServer, "_on_job_results", csv_page)
        yield


def test_what_is_no_unicode_in_a_text_lands_as_the_replacement_character_and_is_told(tmp_path):
    contact = TABLES["contact"]
    lakes = {rows: Lake(tmp_path / str(rows)) for rows in (REST, BULK)}
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        ids = next(iter(SYNTHETIC.snapshot(contact, YOUNG.window(FIRST))))["id"][: len(BROKEN)].to_list()
        for number, id_ in enumerate(ids):
            server.edit("Contact", id_, touch=False, Title=f"text {number}")
        with with_texts(list(BROKEN.values())):
            landings = []
            for rows, lake in lakes.items():
                with live(server, tmp_path, bulk_rows=rows) as source:
                    landings += land(lake, source, FIRST, tables=[contact])

    for lake, landing in zip(lakes.values(), landings, strict=True):
        landed = dict(lake.read(contact).select("id", "title").collect().iter_rows())
        assert {name: landed[id_] for name, id_ in zip(BROKEN, ids, strict=True)} == REPAIRED
        assert landing.quarantined == 0
        assert landing.repaired == {"title": 4}
        assert "title in 4" in landing_metadata(landing)["texts_repaired"].text
        assert "title in 4" in schema_drift([landing], set(), {"title"}).sentence
    assert contents(lakes[REST], [contact]) == contents(lakes[BULK], [contact])


@given(
    pieces=st.lists(
        st.sampled_from(["a", '"', ",", "é", "😀", "\ud800", "\udfff", "\0", "\ufffd", "\x80"]), max_size=9
    ),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
@settings(max_examples=at_most(60), deadline=None)
def test_both_ways_repair_a_text_alike_wherever_it_is_cut(pieces, cuts):
    text = "".join(pieces)
    as_bytes = json.loads(json.dumps(text)).encode("utf-8", "surrogatepass")
    ends = sorted({0, len(as_bytes), *(cut for cut in cuts if cut < len(as_bytes))})

    stream = texts.Utf8()
    chunks = [stream.add(as_bytes[low:high]) for low, high in pairwise(ends)]
    by_bulk = b"".join([*chunks, stream.add(b"", is_last=True)]).decode()

    assert by_bulk == texts.parsed(json.dumps(text).encode()) == texts.parsed(json.dumps([text]).encode())[0]
    by_bulk.encode()


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0", b"\xf0\x9f\x98"])
def test_bytes_that_are_no_text_are_replaced_and_nothing_else(bad):
    stream = texts.Utf8()
    found = b"".join(stream.add(bytes([byte])) for byte in b'"' + bad + b'","e"') + stream.add(b"", is_last=True)
    assert re.fullmatch('"\ufffd+","e"', found.decode())
    assert re.fullmatch('\ufffd+","e', texts.parsed(b'"' + bad + rb'\",\"e"'))


def test_an_error_with_a_broken_text_is_told_and_can_be_kept(server):
    server.faults.add(Fault.REFUSED, match="oauth2", code="invalid_grant", message="no \ud83d user\0 such")

    with pytest.raises(CredentialsRefused, match="no \ufffd user such") as told:
        session(server).get("limits")

    str(told.value).encode()


# -- the budget ------------------------------------------------------------------------------------------------


def test_before_four_fifths_of_the_api_limit_it_stops_and_later_goes_on(server, young, tmp_path):
    lake = Lake(tmp_path / "lake")
    server.daily_requests, server.requests_used = 60, 10
    plan = [Wanted(table, YOUNG.window(FIRST)) for table in OBJECTS]

    with live(server, tmp_path, plan=plan) as source, pytest.raises(BudgetReached) as stop:
        land(lake, source, FIRST)

    assert server.requests_used <= 48
    assert "of Salesforce's 60 API requests" in str(stop.value)
    assert "go on with `gtm run` in a few hours, in 24 at the latest" in str(stop.value)
    landed = [table for table in OBJECTS if lake.has_landed(table, FIRST)]
    assert 0 < len(landed) < len(OBJECTS)
    server.daily_requests = 1000
    with live(server, tmp_path) as source:
        land(lake, source, FIRST, tables=[table for table in OBJECTS if table not in landed])
    assert contents(lake) == young


def test_a_refresh_within_the_day_leaves_requests_to_the_partitions_own_run(server, tmp_path):
    lake, rules = Lake(tmp_path / "lake"), Rules(YOUNG, Limits(0.5, 0.05))
    made = raw_asset(TABLES["contact"], set(), rules)
    resources = {"org": live_org(settings_of(server, tmp_path), YOUNG), "lake": lake}
    server.daily_requests, server.requests_used = 1000, 800 - REQUESTS_KEPT

    def landed(tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        given = {"partition_key": FIRST, "tags": tags, "resources": resources, "raise_on_error": False}
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize([made], instance=instance, **given)

    stopped = landed({INTRADAY_TAG: "2024-10-11T23:49Z"}).get_step_failure_events()[0].step_failure_data.error
    assert "stops us at 80%, of which 250 are kept for the partition's own run" in stopped.to_string()
    assert landed({}).success and lake.has_landed(TABLES["contact"], FIRST)


def test_a_limit_that_others_have_used_up_is_not_asked_again(server, tmp_path):
    server.faults.add(Fault.LIMIT_REACHED, match="describe", times=None)

    with live(server, tmp_path) as source, pytest.raises(BudgetReached, match="TotalRequests Limit exceeded"):
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])

    assert len(asked(server, "describe")) == 1


# -- rights ----------------------------------------------------------------------------------------------------


def test_an_object_that_is_hidden_is_not_readable(server, tmp_path):
    server.faults.add(Fault.HIDDEN, object="Contact", times=None)

    with live(server, tmp_path) as source, pytest.raises(NotReadable, match=r"salesforce\.contact can't be read"):
        land(Lake(tmp_path / "lake"), source, FIRST, tables=[TABLES["contact"]])


@pytest.mark.parametrize("bulk_rows", [REST, BULK])
@pytest.mark.parametrize("when", ["before", "after the description"])
def test_a_field_that_is_hidden_is_null_and_told(server, young, tmp_path, when, bulk_rows):
    told: list[str] = []
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]
    match = None if when == "before" else "query"
    server.faults.add(Fault.HIDDEN, match=match, object="Contact", field="Title", times=None)

    with live(server, tmp_path, bulk_rows=bulk_rows, warn=told.append) as source:
        (landing,) = land(lake, source, FIRST, tables=[contact])

    assert landing.missing_columns == ("title",)
    assert landing.added == young["contact"].total()
    assert lake.read(contact).select(pl.col("title").null_count()).collect().item() == landing.added
    assert told == [
        "salesforce.contact: Title can't be read and land as null. The organisation does not have these fields of "
        "Contact, or hides them from our user"
    ]


CURSORS = {
    # One object of each kind: which system fields it has decides.
    "contact": ("SystemModstamp", "LastModifiedDate", "CreatedDate"),
    "user": ("SystemModstamp", "LastModifiedDate", "CreatedDate"),
    "user_role": ("SystemModstamp", "LastModifiedDate"),
    "forecasting_quota": ("SystemModstamp", "LastModifiedDate", "CreatedDate"),
    "forecasting_item": ("SystemModstamp",),
    "period": ("SystemModstamp",),
    "account_history": ("CreatedDate",),
}


def by_id(lake: Lake, table: SalesforceObject) -> dict[str, list[dict[str, Any]]]:
    """The landed versions of each record by cursor, without the loader's columns."""
    versions = lake.read(table).select(list(table.types)).collect().sort(table.cursor)
    return {id_: group.to_dicts() for (id_,), group in versions.group_by("id", maintain_order=True)}


@pytest.mark.parametrize("bulk_rows", [REST, BULK], ids=["rest", "bulk"])
@pytest.mark.parametrize(
    ("name", "hidden"),
    [(name, number) for name, cursors in CURSORS.items() for number in range(1, len(cursors))],
)
def test_where_a_cursor_is_hidden_the_next_one_stands_for_it_until_it_is_back(tmp_path, name, hidden, bulk_rows):
    table, cursors, told = TABLES[name], CURSORS[name], []
    stand_in = fivetran_name(cursors[hidden])
    days = (FIRST, SECOND, THIRD)
    first, second, third = map(YOUNG.window, days)
    lake, changed_at = Lake(tmp_path / "lake"), second.start + timedelta(hours=2)
    options = {"bulk_rows": bulk_rows, "lookback": timedelta(minutes=10), "warn": told.append}
    with SalesforceServer(SYNTHETIC, first.end) as server:
        for cursor in cursors[:hidden]:
            server.hide(table.api_name, cursor)
        with live(server, tmp_path, **options) as source:
            (landing,) = land(lake, source, days[0], tables=[table])
            described = source.described(table)
        before = by_id(lake, table)
        changed = next(iter(before))
        server.now = changed_at
        server.edit(table.api_name, changed, **({"CreatedDate": changed_at} if stand_in == "created_date" else {}))
        server.now = second.end
        with live(server, tmp_path, **options) as source:
            (daily,) = land(lake, source, days[1], tables=[table])
            whole = lake.land_snapshot(table, second, source.snapshot(table, second), second.end)
        meanwhile = by_id(lake, table)
        for cursor in cursors[:hidden]:
            server.show(table.api_name, cursor)
        server.now = third.end
        with live(server, tmp_path, **options) as source:
            (back,) = land(lake, source, days[2], tables=[table])
            lake.land_snapshot(table, third, source.snapshot(table, third), third.end)
            finding = equals_source(lake, table, source.totals(table, third), third.end)
        after = by_id(lake, table)

    assert 0 < landing.received == landing.added == len(before)
    assert landing.quarantined == daily.quarantined == whole.quarantined == back.quarantined == 0
    for (version,) in before.values():
        assert version[table.cursor] == version[stand_in] < first.end
    assert changed_at in [version[table.cursor] for version in meanwhile[changed]]
    assert (whole.added, whole.hard_deleted) == (0, 0)
    assert [text for text in told if "stands for it" in text] == [stands_for_it(table, cursors, hidden)] * 2
    assert not any(f"{cursors[0]} can't be read and" in text for text in told)
    assert table.cursor not in described.absent
    assert cursors[hidden] in schema_drift([landing], {table.cursor}, {table.cursor}, described).sentence
    # What is back adds the time of change that was hidden, and no record and no other content.
    assert finding.passed, finding.sentence
    own = set(table.types) - {"system_modstamp", "last_modified_date", "created_date"}
    for id_, versions in meanwhile.items():
        assert {name: after[id_][-1][name] for name in own} == {name: versions[-1][name] for name in own}
        assert after[id_][-1][table.cursor] >= versions[-1][table.cursor]


def stands_for_it(table: SalesforceObject, cursors: Sequence[str], hidden: int) -> str:
    said = (
        f"{table.qualified_name}: {cursors[0]} can't be read: {cursors[hidden]} stands for it as the cursor, in "
        f"{table.cursor}"
    )
    if cursors[hidden] == "CreatedDate":
        said += ". A change of a record that was there before shows up with the next full extraction"
    return said


@pytest.mark.parametrize("name", CURSORS)
def test_without_any_cursor_an_object_can_not_be_read(server, tmp_path, name):
    table = TABLES[name]
    for cursor in CURSORS[name]:
        server.hide(table.api_name, cursor)
    try:
        with live(server, tmp_path) as source, pytest.raises(NotReadable, match=f"of {table.api_name} are hidden"):
            land(Lake(tmp_path / "lake"), source, FIRST, tables=[table])
    finally:
        for cursor in CURSORS[name]:
            server.show(table.api_name, cursor)


def test_a_cursor_that_is_hidden_after_the_description_is_replaced_too(server, tmp_path):
    contact, lake, told = TABLES["contact"], Lake(tmp_path / "lake"), []
    server.faults.add(Fault.HIDDEN, match="query", object="Contact", field="SystemModstamp", times=None)

    with live(server, tmp_path, warn=told.append) as source:
        (landing,) = land(lake, source, FIRST, tables=[contact])
        described = source.described(contact)

    landed = lake.read(contact).collect()
    assert landing.added == landed.height == 160
    assert landed["system_modstamp"].to_list() == landed["last_modified_date"].to_list()
    assert told == [stands_for_it(contact, CURSORS["contact"], 1)]
    assert described.stand_ins == {"system_modstamp": "LastModifiedDate"}


def test_what_bulk_and_rest_refuse_for_good_is_not_tried_again_and_the_others_go_on(server, tmp_path):
    contact, user, lake = TABLES["contact"], TABLES["user"], Lake(tmp_path / "lake")
    said = "entity type Contact does not support query"
    server.faults.add(
        Fault.REFUSED, match="POST.*jobs.* FROM Contact", code="INVALIDENTITY", message=said, times=None
    )
    refused = {"code": "INVALID_TYPE_FOR_OPERATION", "message": said}
    server.faults.add(Fault.REFUSED, match="GET.*q=SELECT Id.* FROM Contact", **refused, times=None)
    assets = [raw_asset(t, {"id"}, Rules(YOUNG, Limits(0.2, 0.5), retry_seconds=0)) for t in (contact, user)]

    with live(server, tmp_path, bulk_rows=BULK) as source:
        ran = dg.materialize(
            assets,
            resources={"org": source, "lake": lake},
            partition_key=FIRST,
            selection=dg.AssetSelection.assets(*(asset.key for asset in assets)),
        )

    found = {(e.asset_key.path[-1], e.check_name): e for e in ran.get_asset_check_evaluations()}
    told = found["contact", READABLE_CHECK]
    assert ran.success
    assert not told.passed and f"INVALID_TYPE_FOR_OPERATION: {said}" in told.description
    assert (
        "take the table out of the catalogue" in told.description and "Give the platform" not in told.description
    )
    assert found["user", READABLE_CHECK].passed
    assert len(asked(server, "job_create", "Contact")) == 1
    assert len([e for e in asked(server, "query", "Contact") if "SELECT Id" in e.soql]) == 1
    assert lake.unreadable_partitions(contact) == [FIRST] and lake.read(user).collect().height == 17


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "UNKNOWN_EXCEPTION"),
        (400, "UNABLE_TO_LOCK_ROW"),
        (403, "TXN_SECURITY_METERING_ERROR"),
        (404, "OTHER"),
    ],
)
def test_a_refusal_that_may_pass_or_that_nobody_knows_makes_no_table_empty(server, tmp_path, status, code):
    contact, lake = TABLES["contact"], Lake(tmp_path / "lake")
    server.faults.add(Fault.REFUSED, match="COUNT", status=status, code=code, message="no", times=None)

    with (
        live(server, tmp_path) as source,
        pytest.raises(SourceUnavailable, match=f"Salesforce answers {code}: no"),
    ):
        land(lake, source, FIRST, tables=[contact])

    assert lake.batches() == []


@pytest.mark.parametrize("status", [400, 403])
def test_a_session_that_is_not_valid_is_no_word_of_the_table_whatever_the_status(server, young, tmp_path, status):
    contact, lake = TABLES["contact"], Lake(tmp_path / "lake")
    expired = {"match": "COUNT", "status": status, "code": "INVALID_SESSION_ID"}
    server.faults.add(Fault.REFUSED, times=None, **expired)
    with live(server, tmp_path) as source, pytest.raises(CredentialsRefused, match="refuses each new session"):
        land(lake, source, FIRST, tables=[contact])
    assert lake.batches() == [] and lake.unreadable_partitions(contact) == []
    server.faults.clear()
    server.faults.add(Fault.REFUSED, times=2, **expired)

    with live(server, tmp_path) as source:
        land(lake, source, FIRST, tables=[contact])

    assert content(lake, contact) == young["contact"]


def test_a_change_of_the_organisations_fields_is_told_once(server, tmp_path):
    contact, told = TABLES["contact"], []
    for _ in range(2):
        with live(server, tmp_path, warn=told.append) as source:
            list(source.changes(contact, YOUNG.window(FIRST)))
    assert told == []
    server.faults.add(Fault.HIDDEN, object="Contact", field="Title", times=None)

    for _ in range(2):
        with live(server, tmp_path, warn=told.append) as source:
            list(source.changes(contact, YOUNG.window(FIRST)))

    assert [text.rpartition(": ")[2] for text in told if "changed in the organisation" in text] == ["Title"]


def test_what_changed_between_descriptions_is_named():
    before, now = (
        {"Id": "id", "Gone__c": "string", "Amount": "currency"},
        {"Id": "id", "Amount": "double", "X": "date"},
    )

    assert list(drift(before, now)) == ["new: X", "gone: Gone__c", "type changed: Amount from currency to double"]


# -- equal to the source ---------------------------------------------------------------------------------------


def extracted_whole(
    server: SalesforceServer, lake: Lake, folder: Path, table: SalesforceObject, partition: str = FIRST
) -> None:
    window = YOUNG.window(partition)
    with live(server, folder) as source:
        lake.land_snapshot(table, window, source.snapshot(table, window), window.end)


def compared(
    server: SalesforceServer,
    lake: Lake,
    folder: Path,
    table: SalesforceObject,
    partition: str = FIRST,
    **options,
) -> Finding:
    with live(server, folder, **{"lookback": timedelta(minutes=10)} | options) as source:
        window = YOUNG.window(partition)
        return equals_source(lake, table, source.totals(table, window), window.end)


def test_after_a_full_extraction_the_lake_is_what_salesforce_counts_and_adds_up(server, tmp_path):
    lake = Lake(tmp_path / "lake")
    found = {}
    for table in OBJECTS:
        extracted_whole(server, lake, tmp_path, table)
        found[table.name] = compared(server, lake, tmp_path, table)

    assert {name: finding.sentence for name, finding in found.items() if not finding.passed} == {}
    deals = found["opportunity"].figures
    assert deals["records_in_lake"] == deals["records_in_salesforce"] > 20
    assert deals["amount_in_lake"] == deals["amount_in_salesforce"] > 10_000
    assert deals["currency_of_sums"] == "USD"
    assert found["task"].figures["deleted_records_in_salesforce"] is not None
    assert "SELECT SUM(Amount), SUM(ExpectedRevenue)" in deals["soql"].value


def test_the_sql_that_is_shown_gives_the_figures(server, tmp_path, monkeypatch):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    extracted_whole(server, lake, tmp_path, deals)
    finding = compared(server, lake, tmp_path, deals)
    monkeypatch.chdir(tmp_path)

    ((records, _, amount, *_),) = duckdb.sql(finding.sql).fetchall()

    assert records == finding.figures["records_in_salesforce"]
    assert float(amount) == finding.figures["amount_in_salesforce"]


def test_what_changed_without_a_new_time_of_change_is_counted_once_it_is_found(server, tmp_path):
    """As formulas do, and fields that are shown again."""
    lake, deals, day = Lake(tmp_path / "lake"), TABLES["opportunity"], "2024-10-11"
    extracted_whole(server, lake, tmp_path, deals)
    landed = lake.read(deals).collect()
    formulas = landed.filter(~pl.col("is_deleted"), pl.col("amount") > 0).head(3)
    with SalesforceServer(SYNTHETIC, YOUNG.window(day).end) as later:
        for record in formulas["id"]:
            later.edit("Opportunity", record, touch=False, NextStep="by formula")
        extracted_whole(later, lake, tmp_path, deals, day)
        found = lake.read(deals).filter(pl.col("next_step") == "by formula").collect()
        finding = compared(later, lake, tmp_path, deals, day)

    assert set(found["system_modstamp"]) == {YOUNG.window(day).end}
    assert finding.passed, finding.sentence
    assert finding.figures["records_in_lake"] >= landed.filter(~pl.col("is_deleted")).height > 20


def test_a_record_that_the_lake_has_lost_is_found(server, tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    extracted_whole(server, lake, tmp_path, deals)
    (path,) = lake.partition_dir(deals, FIRST).glob("*.parquet")
    landed = pl.read_parquet(path)
    lost = landed.filter(~pl.col("is_deleted"), pl.col("amount") > 0).sort("system_modstamp").row(0, named=True)
    landed.filter(pl.col("id") != lost["id"]).write_parquet(path)

    finding = compared(server, lake, tmp_path, deals)

    figures = finding.figures
    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert figures["records_in_salesforce"] - figures["records_in_lake"] == 1
    assert figures["amount_in_salesforce"] - figures["amount_in_lake"] == pytest.approx(float(lost["amount"]))
    assert "records are" in finding.sentence and "amount are" in finding.sentence


def test_an_amount_that_is_off_by_a_cent_is_found(server, tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    extracted_whole(server, lake, tmp_path, deals)
    (path,) = lake.partition_dir(deals, FIRST).glob("*.parquet")
    landed = pl.read_parquet(path).sort("amount", nulls_last=True)
    cent = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("0.01").cast(pl.Decimal(24, 6))).otherwise(0)
    landed.with_columns((pl.col("amount") + cent).cast(pl.Decimal(24, 6)).alias("amount")).write_parquet(path)

    finding = compared(server, lake, tmp_path, deals)

    assert not finding.passed
    assert "amount are" in finding.sentence and "records are" not in finding.sentence


def test_a_record_that_is_deleted_in_salesforce_and_alive_in_the_lake_is_found(server, tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    extracted_whole(server, lake, tmp_path, deals)
    (path,) = lake.partition_dir(deals, FIRST).glob("*.parquet")
    landed = pl.read_parquet(path)
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as other:
        record = landed.filter(~pl.col("is_deleted"))["id"][0]
        stamp = landed.filter(pl.col("id") == record)["system_modstamp"][0]
        other.edit("Opportunity", record, touch=False, IsDeleted=True, SystemModstamp=stamp)
        finding = compared(other, lake, tmp_path, deals)

    assert not finding.passed
    assert "records are" in finding.sentence and "deleted_records are" in finding.sentence


def test_what_changes_between_extraction_and_count_raises_no_alarm(tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        extracted_whole(server, lake, tmp_path, deals)
        alive = lake.read(deals).filter(~pl.col("is_deleted")).collect()["id"].to_list()
        server.now += timedelta(minutes=20)
        server.edit("Opportunity", alive[0], Amount=Decimal("987654.32"))
        server.delete("Opportunity", alive[1])
        server.now += timedelta(minutes=2)

        finding = compared(server, lake, tmp_path, deals)

    assert finding.passed, finding.sentence
    assert finding.figures["changed_meanwhile"] >= 2
    assert finding.figures["records_in_lake"] <= len(alive) - 2


def test_a_count_is_taken_again_where_records_change_under_it(tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        extracted_whole(server, lake, tmp_path, deals)
        alive = lake.read(deals).filter(~pl.col("is_deleted")).collect()["id"].to_list()
        server.now += timedelta(minutes=20)
        changing, call = iter(alive), Session.call

        def changed_first(self, method, path, read, **options):
            soql = (options.get("params") or {}).get("q", "")
            if "SELECT Id FROM" in soql and (record := next(changing, None)) and len(asked_ids) < busy:
                asked_ids.append(record)
                server.edit("Opportunity", record, Amount=Decimal(1))
            return call(self, method, path, read, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "call", changed_first)
            asked_ids, busy = [], 2
            finding = compared(server, lake, tmp_path, deals)
            asked_ids, busy = [], 100
            with pytest.raises(SourceUnavailable, match="opportunity changes faster than Salesforce can count"):
                compared(server, lake, tmp_path, deals)

    assert finding.passed, finding.sentence


def test_sums_are_of_the_records_in_the_organisations_own_currency(tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        first = next(iter(SYNTHETIC.snapshot(deals, YOUNG.window(FIRST)))).filter(pl.col("amount") > 0)["id"][0]
        server.edit("Opportunity", first, touch=False, CurrencyIsoCode="EUR")
        extracted_whole(server, lake, tmp_path, deals)

        finding = compared(server, lake, tmp_path, deals)

    in_lake = lake.read(deals).filter(~pl.col("is_deleted")).collect()
    assert finding.passed, finding.sentence
    assert finding.figures["amount_in_salesforce"] < float(in_lake["amount"].sum())
    assert finding.figures["records_in_lake"] == in_lake.height


@pytest.mark.parametrize(
    ("fault", "severity", "told"),
    [
        ({"kind": Fault.HIDDEN, "object": "Opportunity"}, None, "lists no object Opportunity"),
        ({"kind": Fault.QUERY_TIMEOUT, "match": "COUNT"}, dg.AssetCheckSeverity.WARN, "QUERY_TIMEOUT"),
    ],
)
def test_a_table_that_can_not_be_counted_is_told(server, tmp_path, fault, severity, told):
    lake, deals, user = Lake(tmp_path / "lake"), TABLES["opportunity"], TABLES["user"]
    for table in (deals, user):
        extracted_whole(server, lake, tmp_path, table)
    server.faults.add(fault.pop("kind"), times=None, **fault)
    keys = [dg.AssetCheckKey(asset_key(table), totals.CHECK) for table in (deals, user)]
    job = dg.define_asset_job("count", selection=dg.AssetSelection.checks(*keys))

    with live(server, tmp_path) as source:
        defs = dg.Definitions(
            asset_checks=[totals_checks(YOUNG)], jobs=[job], resources={"org": source, "lake": lake}
        )
        result = defs.resolve_job_def("count").execute_in_process()

    found = {e.asset_key.path[-1]: e for e in result.get_asset_check_evaluations()}
    assert found["opportunity"].passed == (severity is None)
    assert severity in (None, found["opportunity"].severity)
    assert re.search(told, found["opportunity"].description)
    assert found["opportunity"].metadata["compared"].value is False
    assert set(found) == {"opportunity", "user"}


# -- what is deleted for good ----------------------------------------------------------------------------------


def land_day(lake: Lake, source, table: SalesforceObject, day: str) -> Landing:
    window = YOUNG.window(day)
    return lake.land(table, window, source.changes(table, window), window.end, source.deletions(table, window))


def test_a_deletion_without_a_trace_in_queries_lands_the_same_day_at_its_time(tmp_path):
    lake, user, told = Lake(tmp_path / "lake"), TABLES["user"], []
    first = YOUNG.window(FIRST)
    with SalesforceServer(SYNTHETIC, first.end) as server:
        with live(server, tmp_path) as source:
            land_day(lake, source, user, FIRST)
            assert asked(server, "deleted") == []
        gone, edited, stays = lake.read(user).collect()["id"][:3]
        server.now = first.end + timedelta(hours=5)
        server.edit("User", edited, Title="Last words")
        server.purge("User", gone)
        server.now = YOUNG.window(SECOND).end
        with live(server, tmp_path, warn=told.append) as source:
            landing = land_day(lake, source, user, SECOND)
            again = land_day(lake, source, user, SECOND)
        server.now = YOUNG.window(THIRD).end
        with live(server, tmp_path) as source:
            third = land_day(lake, source, user, THIRD)
            whole = lake.land_snapshot(
                user, YOUNG.window(THIRD), source.snapshot(user, YOUNG.window(THIRD)), server.now
            )

    versions = lake.read(user).collect()
    tombstone = versions.filter("_fivetran_deleted").to_dicts()
    before = versions.filter((pl.col("id") == gone) & ~pl.col("_fivetran_deleted")).row(0, named=True)
    assert [(t["id"], t["system_modstamp"], t["_batch_id"]) for t in tombstone] == [
        (gone, first.end + timedelta(hours=5), f"user-{SECOND}-0000")
    ]
    assert {name for name in before if before[name] != tombstone[0][name]} == {
        "system_modstamp", "_fivetran_deleted", "_version_hash", "_batch_id", "_known_at", "_fivetran_synced"
    }  # fmt: skip
    assert (landing.hard_deleted, again.hard_deleted, again.added) == (1, 0, 0)
    assert (third.hard_deleted, whole.hard_deleted) == (0, 0)
    assert stays not in {t["id"] for t in tombstone}
    assert told == []


def test_deletions_are_asked_for_where_they_are_listed_and_no_further_back_than_they_are_kept(tmp_path):
    told = []
    late = YOUNG.window("2024-10-20")
    with SalesforceServer(SYNTHETIC, late.end) as server, live(server, tmp_path, warn=told.append) as source:
        for day in ("2024-10-11", "2024-10-20"):
            for name in ("user", "period", "user_role"):
                source.deletions(TABLES[name], YOUNG.window(day))
        near = asked(server, "deleted")
        told_near = list(told)
        server.now = late.end + timedelta(days=8)
        server.log.clear()
        with live(server, tmp_path, warn=told.append) as later:
            far = later.deletions(TABLES["user"], YOUNG.window("2024-10-11"))
            partly = later.deletions(TABLES["user"], YOUNG.window("2024-10-14"))

        entries = asked(server, "deleted")

    assert {entry.object for entry in near} == {"User", "UserRole"}
    assert {entry.status for entry in near} == {200}
    assert told_near == []
    assert far == partly == {}
    assert [(e.status, e.params["start"]) for e in entries] == [(200, "2024-10-15T04:54:00Z")]
    assert told == [
        "salesforce.user: not all deletions can be listed (Salesforce lists those of 15 days); "
        "the next full extraction finds the others"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"earliestDateAvailable": "2024-10-12T00:00:00.000+0000"}, "lists those since 2024-10-12 00:00 UTC"),
        ({"latestDateCovered": "2024-10-11T00:00:00.000+0000"}, "lists those until 2024-10-11 00:00 UTC"),
        ({}, None),
    ],
)
def test_what_the_list_of_deletions_does_not_reach_is_told(tmp_path, changes, told):
    notes, answer = [], protocol.SalesforceServer._on_deleted

    def changed(self, call):
        return Reply.json(json.loads(answer(self, call).whole()) | changes)

    with (
        SalesforceServer(SYNTHETIC, YOUNG.window(THIRD).end) as server,
        live(server, tmp_path, warn=notes.append) as source,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(protocol.SalesforceServer, "_on_deleted", changed)
        source.deletions(TABLES["user"], YOUNG.window(THIRD))

    assert [told in note for note in notes] == ([True] if told else [])


def test_more_deletions_than_one_answer_holds_are_asked_for_in_parts(tmp_path):
    answer, spans = protocol.SalesforceServer._on_deleted, []
    user, window = TABLES["user"], YOUNG.window(SECOND)

    def limited(self, call):
        start, end = (datetime.fromisoformat(call.request.params[name]) for name in ("start", "end"))
        spans.append((start, end))
        if end - start > timedelta(hours=12):
            raise ApiError(400, "EXCEEDED_ID_LIMIT", "too many ids")
        return answer(self, call)

    with SalesforceServer(SYNTHETIC, window.start) as server:
        ids = next(iter(SYNTHETIC.snapshot(user, YOUNG.window(FIRST))))["id"].to_list()
        for hour, id_ in zip((0, 7, 12, 23), ids, strict=False):
            server.now = window.start + timedelta(hours=hour)
            server.purge("User", id_)
        server.now = window.end
        with live(server, tmp_path) as source, pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol.SalesforceServer, "_on_deleted", limited)
            found = source.deletions(user, window)

    assert set(found) == set(ids[:4])
    assert len(spans) > 4


def test_the_list_of_deletions_is_asked_for_so_often_and_then_left_to_the_full_extraction(tmp_path):
    answer, told = protocol.SalesforceServer._on_deleted, []
    user, window = TABLES["user"], YOUNG.window(SECOND)

    def limited(self, call):
        start, end = (datetime.fromisoformat(call.request.params[name]) for name in ("start", "end"))
        if end - start > timedelta(minutes=10):
            raise ApiError(400, "EXCEEDED_ID_LIMIT", "too many ids")
        return answer(self, call)

    with SalesforceServer(SYNTHETIC, window.start) as server:
        early, late = next(iter(SYNTHETIC.snapshot(user, YOUNG.window(FIRST))))["id"][:2]
        for id_, ago in ((early, timedelta(hours=20)), (late, timedelta(minutes=1))):
            server.now = window.end - ago
            server.purge("User", id_)
        server.now = window.end
        with live(server, tmp_path, warn=told.append) as source, pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocol.SalesforceServer, "_on_deleted", limited)
            found = source.deletions(user, window)

        assert len(asked(server, "deleted")) == deletions.REQUESTS
    # The newest first: of the others the full extraction is the nearer.
    assert set(found) == {late}
    assert len(told) == 1
    assert "salesforce.user: not all deletions can be listed (Salesforce lists too many for" in told[0]
    assert told[0].endswith("the next full extraction finds the others")


def test_what_is_purged_between_extraction_and_count_raises_no_alarm(tmp_path):
    lake, deals = Lake(tmp_path / "lake"), TABLES["opportunity"]
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        extracted_whole(server, lake, tmp_path, deals)
        server.now += timedelta(minutes=20)
        server.purge("Opportunity", lake.read(deals).filter(~pl.col("is_deleted")).collect()["id"][0])
        server.now += timedelta(minutes=2)

        finding = compared(server, lake, tmp_path, deals)

    assert finding.passed, finding.sentence


# -- what the organisation describes ---------------------------------------------------------------------------


def drift_of(server: SalesforceServer, folder: Path, table: SalesforceObject, read: set[str]) -> Finding:
    """The finding of a run that lands one more partition."""
    lake = Lake(folder / "lake")
    with live(server, folder) as source:
        landings = land(lake, source, FIRST, tables=[table])
        return schema_drift(landings, set(), read, source.described(table))


def test_fields_that_models_read_and_our_user_can_not_see_are_an_error_from_the_first_day(server, tmp_path):
    contact = TABLES["contact"]
    plain = drift_of(server, tmp_path / "plain", contact, {"title"})
    server.faults.add(Fault.HIDDEN, object="Contact", field="Title", times=None)

    finding = drift_of(server, tmp_path / "hidden", contact, {"title"})
    unread = drift_of(server, tmp_path / "unread", contact, {"last_name"})

    assert plain.passed
    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "salesforce.contact does not return title, which models read" in finding.sentence
    assert unread.passed and "Gone, and read by no model: title" in unread.sentence


def test_a_custom_field_that_an_organisation_never_had_is_no_error_and_one_that_it_had_is(server, tmp_path):
    account, read = TABLES["account"], {"segment_c"}
    other = {"object": "Account", "field": "Segment__c", "times": None}
    server.faults.add(Fault.HIDDEN, **other)
    never = drift_of(server, tmp_path / "never", account, read)
    server.faults.clear()
    with_it = drift_of(server, tmp_path / "once", account, read)
    server.faults.add(Fault.HIDDEN, **other)

    # The day after it is gone too: all earlier descriptions count.
    once = [drift_of(server, tmp_path / "once", account, read) for _ in range(2)]

    assert never.passed and "never returned: segment_c" in never.sentence
    assert with_it.passed
    assert [finding.passed for finding in once] == [False, False]


def test_new_fields_and_changed_types_are_told(server, tmp_path):
    contact, answer = TABLES["contact"], protocol.SalesforceServer._on_describe
    assert drift_of(server, tmp_path, contact, set()).passed

    def changed(self, call):
        described = json.loads(answer(self, call).whole())
        types = {"Email": "location", "HasOptedOutOfEmail": "picklist", "SystemModstamp": "datetime"}
        for field in described["fields"]:
            field["type"] = types.get(field["name"], field["type"])
        described["fields"].append(described["fields"][1] | {"name": "ShoeSize__c", "type": "double"})
        return Reply.json(described)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol.SalesforceServer, "_on_describe", changed)
        finding = drift_of(server, tmp_path, contact, set())

    assert (finding.passed, finding.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert finding.figures["types_changed"] == ["email", "has_opted_out_of_email"]
    assert "Contact.Email is of type location" in finding.sentence
    assert "New fields, not landed: ShoeSize__c." in finding.sentence
    assert finding.figures["fields_not_landed"] == ["ShoeSize__c"]


def test_each_field_of_the_organisation_fits_its_column(server, tmp_path):
    with live(server, tmp_path) as source:
        described = {table.name: source.described(table) for table in OBJECTS}

    assert {name: d.retyped for name, d in described.items() if d.retyped} == {}
    assert {name: d.absent for name, d in described.items() if d.absent} == {}


def landed_by_its_asset(server: SalesforceServer, folder: Path, table: SalesforceObject) -> dict[str, Any]:
    asset = raw_asset(table, {"id", "title"}, Rules(YOUNG, Limits(0.2, 0.5), retry_seconds=0))
    with live(server, folder) as source:
        resources = {"org": source, "lake": Lake(folder / "lake")}
        result = dg.materialize(
            [asset, scope_check(["*__c", "Case"])], resources=resources, partition_key=FIRST,
            selection=dg.AssetSelection.assets(asset.key), raise_on_error=False,
        )  # fmt: skip
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def test_a_table_that_is_not_listed_is_gone_and_what_was_known_stays(server, tmp_path):
    contact, account = TABLES["contact"], TABLES["account"]
    landed_by_its_asset(server, tmp_path, contact)
    known = content(Lake(tmp_path / "lake"), contact)
    server.hide("Contact")
    try:
        found = landed_by_its_asset(server, tmp_path, contact)
        gone, stays = found[READABLE_CHECK], found[VANISHED]
    finally:
        server.show("Contact")
    server.faults.add(Fault.HIDDEN, match="Account/describe", object="Account", times=None)
    found = landed_by_its_asset(server, tmp_path, account)
    hidden, never = found[READABLE_CHECK], found[VANISHED]

    assert (gone.passed, gone.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert gone.description.startswith(
        "salesforce.contact is gone: Salesforce lists no object Contact to our user. What was last known stays."
    )
    assert content(Lake(tmp_path / "lake"), contact) == known != Counter()
    # It had records; the other one never had any.
    assert (
        "salesforce.contact had 160 records and can't be read any more: Salesforce lists no" in stays.description
    )
    assert not stays.passed and never.passed
    assert "salesforce.account can't be read" in hidden.description


def test_the_checks_of_a_live_table_take_the_description(server, tmp_path):
    server.faults.add(Fault.HIDDEN, object="Contact", field="Title", times=None)

    found = landed_by_its_asset(server, tmp_path, TABLES["contact"])

    assert "does not return title" in found[DRIFT].description
    assert SCOPE_CHECK not in found


def test_tables_in_scope_that_are_not_landed_are_listed(tmp_path):
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end) as server:
        plain = landed_by_its_asset(server, tmp_path, TABLES["account"])[SCOPE_CHECK]
        server.add_object("Invoice__c")
        server.add_object("Case")
        server.add_object("Asset")
        server.add_object("Flags__c", customSetting=True)
        server.add_object("Secret__c", queryable=False)
        told = landed_by_its_asset(server, tmp_path, TABLES["account"])[SCOPE_CHECK]
        server.faults.add(Fault.HTTP_ERROR, match="sobjects$", times=None)
        unlisted = landed_by_its_asset(server, tmp_path, TABLES["account"])[SCOPE_CHECK]

    assert plain.passed, plain.description
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "In scope and not landed: Case, Invoice__c." in told.description
    assert (unlisted.passed, unlisted.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "can't be listed" in unlisted.description


# -- who we are ------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused_once_and_not_shown(server, tmp_path):
    login = Login(server.url, server.app.consumer_key, "not-the-secret")

    with (
        live(server, tmp_path, session=session(server, login=login)) as source,
        pytest.raises(CredentialsRefused, match="refuses the login at http://127") as refused,
    ):
        list(source.changes(TABLES["contact"], YOUNG.window(FIRST)))

    assert "not-the-secret" not in str(refused.value)
    assert len(asked(server, "token")) == 1


@pytest.mark.parametrize(
    "hiccup",
    [
        {"kind": Fault.REFUSED, "code": "unknown_error", "message": "retry your request"},
        {"kind": Fault.REFUSED, "code": "invalid_grant", "message": "login rate exceeded"},
        {"kind": Fault.REFUSED, "code": "login_rate_exceeded", "message": ""},
        {"kind": Fault.REFUSED, "code": "server_error", "message": "none", "status": 500},
        {"kind": Fault.PROXY, "status": 403},
    ],
    ids=["unknown error", "rate", "rate as code", "server", "proxy"],
)
def test_a_login_that_hiccups_is_tried_again_and_does_not_doubt_the_credentials(server, hiccup):
    kind = hiccup.pop("kind")
    server.faults.add(kind, match="oauth2", times=3, **hiccup)
    assert session(server).get("limits")["DailyApiRequests"]
    assert len(asked(server, "token")) == 4
    server.faults.add(kind, match="oauth2", times=None, **hiccup)

    with pytest.raises(SourceUnavailable, match="the login gave none") as told:
        session(server).get("limits")

    assert "redentials" not in str(told.value)
    assert len(asked(server, "token")) == 4 + 7


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("20.0", "does not serve version 20.0 of its API: this organisation serves 50.0 to 65.0"),
        ("99.0", "does not serve version 99.0 of its API: this organisation serves 50.0 to 65.0"),
    ],
)
def test_a_version_of_the_api_that_is_not_served_names_its_setting(server, tmp_path, version, told):
    lake, contact = Lake(tmp_path / "lake"), TABLES["contact"]

    with (
        live(server, tmp_path, session=session(server, version=version)) as source,
        pytest.raises(CredentialsRefused, match=f"{told}. Set GTM_SALESFORCE_API_VERSION to one that it serves"),
    ):
        land(lake, source, FIRST, tables=[contact])
    ((_, sentence),) = examine(settings_of(server, tmp_path, GTM_SALESFORCE_API_VERSION=version))

    assert lake.batches() == []
    assert told in sentence


def test_a_missing_object_is_not_blamed_on_the_version_whatever_lists_the_versions(server, tmp_path):
    server.faults.add(Fault.HIDDEN, object="Contact", times=None, match="Contact|sobjects$")
    for versions in ({"kind": Fault.PROXY, "status": 404}, {"kind": Fault.REFUSED, "status": 403, "code": "NO"}):
        server.faults.add(versions.pop("kind"), match="services/data$", **versions)
        with live(server, tmp_path) as source, pytest.raises(NotReadable, match="lists no object Contact"):
            list(source.changes(TABLES["contact"], YOUNG.window(FIRST)))

    assert [fault for fault in server.faults.pending if fault is not Fault.HIDDEN] == []


def test_a_private_key_logs_in_too(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    app = ConnectedApp(public_key=public.decode())
    with SalesforceServer(SYNTHETIC, YOUNG.window(FIRST).end, app) as server:
        login = Login(server.url, app.consumer_key, username=app.username, private_key=pem)
        other = dataclasses.replace(login, username="somebody@else.example")

        assert session(server, login=login).get("limits")["DailyApiRequests"]
        with pytest.raises(CredentialsRefused, match="refuses the login"):
            session(server, login=other).get("limits")
        # As openssl writes a key and its certificate into one file.
        certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
        for both in (certificate + pem, pem + certificate, public.decode() + pem):
            assert session(server, login=dataclasses.replace(login, private_key=both)).get("limits")
    assert pem not in repr(login)


def private_pem(key, password: bytes | None = None) -> str:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock).decode()


def public_pem(key, kind=serialization.PublicFormat.SubjectPublicKeyInfo) -> str:
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def test_a_key_that_can_not_sign_is_a_sentence(server, tmp_path):
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    garbage = private_pem(own)
    cut = {
        "public key": public_pem(own),
        "a public key or a certificate": public_pem(own, serialization.PublicFormat.PKCS1),
        "or a certificate. Name": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "public key or": "ssh-rsa AAAAB3NzaC1yc2E me@here",
        "locked with a passphrase": private_pem(own, b"secret"),
        r"another kind \(ECPrivateKey\)": private_pem(ec.generate_private_key(ec.SECP256R1())),
        r"another kind \(Ed25519PrivateKey\)": private_pem(ed25519.Ed25519PrivateKey.generate()),
        r"another kind \(X25519PrivateKey\)": private_pem(x25519.X25519PrivateKey.generate()),
        "an RSA key of 1024 bits": private_pem(short),
        "no RSA private key in PEM form": garbage[: len(garbage) // 2],
        "no RSA private key": "no key",
        "no RSA private key in": "",
        "no RSA private": "-----BEGIN PRIVATE KEY-----\n\ufffd\n-----END PRIVATE KEY-----",
    }
    file = tmp_path / "key"
    by_key = {"GTM_SALESFORCE_CLIENT_SECRET": "", "GTM_SALESFORCE_USERNAME": "me@acme.example"}
    for told, pem in cut.items():
        file.write_text(pem)
        settings = settings_of(server, tmp_path, **by_key, GTM_SALESFORCE_PRIVATE_KEY_FILE=str(file))

        ((ok, sentence),) = examine(settings)

        assert not ok
        assert re.search(f"GTM_SALESFORCE_PRIVATE_KEY_FILE holds .*{told}", sentence), (told, sentence)
        assert len(pem) < 200 or pem[60:100] not in sentence


# -- time ------------------------------------------------------------------------------------------------------


def test_a_window_that_is_not_over_by_the_organisations_clock_is_waited_for(server, tmp_path, monkeypatch):
    waits, contact, window = [], TABLES["contact"], YOUNG.window(FIRST)
    monkeypatch.setattr(org.time, "sleep", waits.append)
    server.now = window.end - timedelta(minutes=2)

    with live(server, tmp_path) as source:
        list(source.changes(contact, window))

    assert waits == [121]


def test_a_clock_far_behind_is_refused(server, tmp_path):
    window = YOUNG.window(FIRST)
    server.now = window.end - timedelta(minutes=6)

    with live(server, tmp_path) as source, pytest.raises(SourceUnavailable, match="Salesforce's clock says"):
        list(source.changes(TABLES["contact"], window))


def test_records_are_known_from_the_boundary_that_was_last_passed(server, tmp_path, monkeypatch):
    day, window = CALENDAR.window("2026-09-10"), CALENDAR.window("2026-09-05")
    monkeypatch.setattr(org.clock, "now", lambda: day.start + timedelta(hours=3))

    with live(server, tmp_path) as source:
        assert source.known_at(window) == source.known_at(CALENDAR.window("2026-09-09")) == day.start


def test_spans_halve_without_a_gap_and_end():
    now = datetime(2026, 9, 1, tzinfo=UTC)
    for span in (Span(None, now), Span(now - timedelta(days=1), now), Span(None, None)):
        low, high = span.halves(now)
        assert (low.start, high.end, low.end) == (span.start, span.end, high.start)
        assert low.end < now
    assert Span(now - timedelta(seconds=50), now).halves(now) is None


# -- several at once -------------------------------------------------------------------------------------------


def test_queries_run_at_once_and_no_more_than_may(server, tmp_path, monkeypatch):
    under_way, most, lock, run = 0, 0, threading.Lock(), extraction.Extraction.run
    together = threading.Barrier(3)

    def counted(self, span):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if self.table.name in ("account", "account_history", "campaign"):
            together.wait(10)  # Breaks unless the three are under way at the same time.
        run(self, span)
        with lock:
            under_way -= 1

    monkeypatch.setattr(extraction.Extraction, "run", counted)
    plan = [Wanted(table, YOUNG.window(FIRST)) for table in OBJECTS]
    with live(server, tmp_path, parallel=3, plan=plan) as source:
        land(Lake(tmp_path / "lake"), source, FIRST)

    assert most == 3


def test_what_is_asked_for_out_of_turn_comes_first_and_disk_holds_only_so_much(server, tmp_path, monkeypatch):
    monkeypatch.setattr(org, "AHEAD", 2)
    plan = [Wanted(table, YOUNG.window(FIRST)) for table in OBJECTS]

    with live(server, tmp_path, parallel=1, plan=plan) as source:
        user_role = list(source.changes(TABLES["user_role"], YOUNG.window(FIRST)))
        again = list(source.changes(TABLES["user_role"], YOUNG.window(FIRST)))
        described = [e.object for e in asked(server, "describe")]

    assert described[0] == "UserRole"
    assert len(described) <= 5
    assert pl.concat(user_role).equals(pl.concat(again))
    assert len(described) == len(set(described))


def test_a_run_that_ends_early_leaves_no_pages_and_no_threads(server, tmp_path):
    server.faults.add(Fault.SLOW, match="Task", seconds=0.3, times=None)
    plan = [Wanted(table, YOUNG.window(FIRST)) for table in OBJECTS]

    with live(server, tmp_path, plan=plan) as source:
        list(source.changes(TABLES["account"], YOUNG.window(FIRST)))

    assert list((tmp_path / "salesforce" / "spool").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("salesforce-")]


# -- secrets ---------------------------------------------------------------------------------------------------


def test_no_secret_is_logged_told_or_kept(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    lake = Lake(tmp_path / "lake")
    tokens = []
    log_in = Session._log_in
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "_log_in", lambda self: tokens.append(log_in(self)) or tokens[-1])
        server.faults.random(3, 0.2)
        with live(server, tmp_path, say=told.append, warn=told.append) as source:
            land(lake, source, FIRST)
        server.faults.clear()
        server.faults.add(Fault.HTTP_ERROR, times=None)
        with live(server, tmp_path) as source, pytest.raises(SourceUnavailable) as failure:
            land(lake, source, FIRST)

    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    everything = (
        "\n".join([caplog.text, *told, str(failure.value), repr(failure.value.__cause__)]).encode() + written
    )
    assert len(tokens) > 1
    assert len(written) > 10_000
    for secret in (server.app.consumer_secret, *tokens):
        assert secret.encode() not in everything


# -- the doctor ------------------------------------------------------------------------------------------------


def settings_of(server: SalesforceServer, home: Path, **changes):
    from gtm_assets.settings import load_settings

    return load_settings(
        {
            "GTM_HOME": str(home),
            "GTM_SALESFORCE_SOURCE": "live",
            "SALESFORCE_INSTANCE_URL": server.url,
            "GTM_SALESFORCE_CLIENT_ID": server.app.consumer_key,
            "GTM_SALESFORCE_CLIENT_SECRET": server.app.consumer_secret,
            "GTM_RETRY_SECONDS": "0",
        }
        | changes
    )


def test_the_doctor_says_that_all_is_well(server, tmp_path):
    server.requests_used = 999

    assert list(examine(settings_of(server, tmp_path))) == [
        (True, f"Salesforce lets us in at {server.url}."),
        (
            True,
            "1,000 of 100,000 API requests of the last 24 hours are used; 79,000 are left until 80% "
            "(GTM_SALESFORCE_API_SHARE).",
        ),
        (True, "All 25 objects and their fields can be read."),
    ]


@pytest.mark.parametrize(
    ("limit", "refresh", "ok", "said"),
    [
        (
            100_000,
            "15m",
            True,
            "(15m), Salesforce is asked some 7,872 API requests a day; 80,000 may be used (80% of",
        ),
        (
            5_000,
            "15m",
            False,
            "4,000 may be used (80% of 5,000, GTM_SALESFORCE_API_SHARE), 250 of them for the daily",
        ),
        (5_000, "15m", False, "run. Take hourly, which asks some 1,968."),
        (1_000, "hourly", False, "Take daily, which asks some 82."),
    ],
)
def test_the_doctor_says_what_an_interval_asks_and_whether_that_fits_the_limit(
    server, tmp_path, limit, refresh, ok, said
):
    server.daily_requests = limit
    settings = settings_of(server, tmp_path, GTM_SALESFORCE_REFRESH=refresh)

    (found,) = [finding for finding in Salesforce().examine(settings) if "GTM_REFRESH" in finding[1]]

    assert found[0] is ok and said in found[1], found[1]


def test_a_refresh_asks_no_more_than_the_doctor_reckons_with(server, tmp_path):
    window = YOUNG.window(SECOND, YOUNG.window(SECOND).start + timedelta(hours=9))
    server.now, before = window.end, server.requests_used
    with live(server, tmp_path, lookback=timedelta(minutes=60)) as source:
        for table in OBJECTS:
            deleted = source.deletions(table, window) if table.deletes is Deletes.SNAPSHOT else {}
            Lake(tmp_path / "lake").land(table, window, source.changes(table, window), window.end, deleted)
            source.described(table)
        source.objects()

    assert 2 * len(OBJECTS) < server.requests_used - before <= REQUESTS_A_REFRESH


def test_the_doctor_names_what_is_hidden_and_what_is_used_up(server, tmp_path):
    server.requests_used = 79_990
    server.faults.add(Fault.HIDDEN, match="Contact/describe", object="Contact", field="Title", times=None)
    found = list(examine(settings_of(server, tmp_path)))
    server.requests_used = 0
    server.faults.add(Fault.HIDDEN, match="sobjects/Lead/", object="Lead", times=None)
    rights = dict(list(examine(settings_of(server, tmp_path)))[2:])

    assert found[1][0] is False
    assert found[-1][0] is False and "API requests of the last 24 hours are used" in found[-1][1]
    assert list(rights) == [False]
    sentences = [sentence for ok, sentence in examine(settings_of(server, tmp_path)) if not ok]
    assert any("salesforce.contact: Title can't be read" in sentence for sentence in sentences)
    assert any("the right to read Lead" in sentence for sentence in sentences)


def test_the_doctor_calls_nothing_wrong_in_an_organisation_without_our_custom_fields_and_its_optional_features(
    server, tmp_path
):
    features = [table for table in OBJECTS if table.feature]
    lacked = [(table.api_name, None) for table in features]
    lacked += [(table.api_name, c.api_name) for table in OBJECTS for c in table.columns if c.optional]
    for object_, field in lacked:
        server.hide(object_, field)
    try:
        found = list(examine(settings_of(server, tmp_path)))
    finally:
        for object_, field in lacked:
            server.show(object_, field)

    said = "\n".join(sentence for _, sentence in found)
    assert [sentence for ok, sentence in found if not ok] == []
    assert {table.name for table in features} >= {"campaign_influence", "forecasting_item", "forecasting_quota"}
    assert (
        "salesforce.campaign_influence stays empty: the organisation has no CampaignInfluence, which comes with "
        "Customizable Campaign Influence, or hides it from our user."
    ) in said
    assert (
        "salesforce.account: null, as the organisation does not have it or hides it: RecordTypeId (record" in said
    )
    assert (
        "Segment__c (a custom field of the synthetic organisation), CurrencyIsoCode (several currencies)." in said
    )
    assert "Audit_Phase__c (a custom field" in said and "ARR__c (a custom field" in said
    assert "All 25 objects" not in said


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "INVALID_TYPE"), (403, "FUNCTIONALITY_NOT_ENABLED"), (400, "FUNCTIONALITY_NOT_ENABLED")],
)
def test_the_doctor_takes_each_way_of_salesforce_to_say_that_a_feature_is_off(server, tmp_path, status, code):
    server.faults.add(Fault.REFUSED, match="ForecastingItem/describe", times=None, status=status, code=code)

    found = list(examine(settings_of(server, tmp_path)))

    assert [sentence for ok, sentence in found if not ok] == []
    assert "salesforce.forecasting_item stays empty" in found[-1][1]


def test_the_doctor_calls_a_proxys_page_one(server, tmp_path):
    server.faults.add(Fault.PROXY, match="describe", times=None)

    *_, (ok, sentence) = examine(settings_of(server, tmp_path))

    assert not ok
    assert 'HTTP 403 with a page that is not Salesforce\'s (text/html, "Access denied")' in sentence
    assert "a proxy or a firewall in between" in sentence and "the right to read" not in sentence


def test_the_doctor_says_what_is_wrong_with_the_login(server, tmp_path):
    wrong = settings_of(server, tmp_path, GTM_SALESFORCE_CLIENT_SECRET="no")
    missing = settings_of(
        server, tmp_path, GTM_SALESFORCE_CLIENT_SECRET="", GTM_SALESFORCE_CLIENT_SECRET_FILE=str(tmp_path / "none")
    )

    ((_, refused),) = examine(wrong)
    ((_, unread),) = examine(missing)

    assert "refuses the login" in refused
    assert f"the secret's file {tmp_path / 'none'} can't be read (FileNotFoundError)" in unread


def test_a_secret_may_lie_in_a_file(server, tmp_path):
    (tmp_path / "secret").write_text(f"{server.app.consumer_secret}\n")
    settings = settings_of(
        server,
        tmp_path,
        GTM_SALESFORCE_CLIENT_SECRET="",
        GTM_SALESFORCE_CLIENT_SECRET_FILE=str(tmp_path / "secret"),
    )

    assert next(examine(settings))[0]


def test_descriptions_are_read_from_what_the_organisation_says(server):
    answer = session(server).get("sobjects/Contact/describe")
    described = Description.read(TABLES["contact"], answer)

    assert described.cursor == "SystemModstamp"
    assert described.hidden == []
    assert json.dumps(dict(described.types)).count("address") == 0


# -- the run ---------------------------------------------------------------------------------------------------


def run_of(tables: Sequence[str] | None = None, ops: dict | None = None, **tags: str) -> dg.DagsterRun:
    keys = None if tables is None else frozenset(asset_key(TABLES[name]) for name in tables)
    return dg.DagsterRun("extract", asset_selection=keys, run_config={"ops": ops or {}}, tags=tags)


def test_a_run_wants_its_tables_for_its_partitions():
    days = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[1]}
    full = {"salesforce__user": {"config": {"full": True}}}

    one = wanted_by(run_of(["user", "lead"], full, **{"dagster/partition": DAYS[0]}), CALENDAR)
    range_ = wanted_by(run_of(["lead"], **days), CALENDAR)
    all_ = wanted_by(run_of(**days), CALENDAR)

    first, second = CALENDAR.window(DAYS[0]), CALENDAR.window(DAYS[1])
    assert one == [Wanted(TABLES["lead"], first), Wanted(TABLES["user"], first, full=True)]
    assert range_ == [Wanted(TABLES["lead"], first), Wanted(TABLES["lead"], second)]
    assert len(all_) == 50
    assert wanted_by(run_of(), CALENDAR) == []


def accounts(home: GtmHome) -> list[tuple]:
    with duckdb.connect(str(home.published), read_only=True) as connection:
        return connection.execute(
            "select account_id, account_name, segment from gtm_core.dim_account where source_system = 'salesforce'"
            " order by 1"
        ).fetchall()


def leads(home: GtmHome) -> list[tuple]:
    with duckdb.connect(str(home.published), read_only=True) as connection:
        return connection.execute("select lead_id, lead_status from gtm_core.dim_lead order by 1").fetchall()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "runs"),
    [
        pytest.param("in_process", 1, id="in_process"),
        pytest.param("in_process", 2, id="in_process_twice", marks=pytest.mark.nightly),
        pytest.param("multiprocess", 1, id="multiprocess", marks=pytest.mark.nightly),
    ],
)
def test_gtm_run_lands_builds_and_publishes_a_live_organisation_and_keeps_its_secrets(
    tmp_path, built_home, executor, runs
):
    with SalesforceServer(SYNTHETIC, Calendar(date(2026, 9, 9), None).window("2026-09-11").end) as server:
        live_settings = {
            "GTM_SALESFORCE_SOURCE": "live",
            "GTM_SALESFORCE_INSTANCE_URL": server.url,
            "GTM_SALESFORCE_CLIENT_ID": server.app.consumer_key,
            "GTM_SALESFORCE_CLIENT_SECRET": server.app.consumer_secret,
            "GTM_SALESFORCE_LOOKBACK_MINUTES": "5760",
            # Each step has a client of its own.
            "GTM_EXECUTOR": executor,
        }
        home = GtmHome(tmp_path / "gtm", tuple({**dict(built_home.settings), **live_settings}.items()))
        server.hide("Lead")
        server.faults.add(Fault.SESSION_EXPIRED, match="SELECT Id", times=3)
        ran = home.run()
        too_early = home.in_process("run", "--as-of", "2026-09-11")
        if runs == 2:
            server.show("Lead")
            again = home.run().check()
            assert "Can be read again: salesforce.lead. What could not be read before is landed." in again.output
            assert leads(home) == leads(built_home) != []
        tokens = list(server.sessions._ends)

    assert ran.code == 0, ran.output
    assert "salesforce.lead is gone" in ran.output
    assert accounts(home) == accounts(built_home) != []
    assert too_early.code == 1
    assert "nothing was known as of 2026-09-11" in too_early.output
    everything = ran.output.encode() + b"".join(p.read_bytes() for p in home.path.rglob("*") if p.is_file())
    for secret in (server.app.consumer_secret, *tokens):
        assert secret.encode() not in everything


@pytest.mark.nightly
def test_gtm_run_now_shows_what_changed_this_morning_and_the_evening_adds_only_what_came_since(tmp_path):
    day, (first, second) = Calendar(date(2026, 9, 9), None), ("2026-09-09", "2026-09-10")
    morning = day.window(second).start + timedelta(hours=14, seconds=31)
    noon, evening = morning + timedelta(hours=3), day.window(second).end + timedelta(minutes=5)
    minute, account = noon.replace(second=0), TABLES["account"]
    with SalesforceServer(SYNTHETIC, morning) as server:
        home = GtmHome(
            tmp_path / "gtm",
            (
                *{**SMALL, "GTM_START_DATE": first, "GTM_END_DATE": "open"}.items(),
                ("GTM_SALESFORCE_SOURCE", "live"),
                ("GTM_SALESFORCE_INSTANCE_URL", server.url),
                ("GTM_SALESFORCE_CLIENT_ID", server.app.consumer_key),
                ("GTM_SALESFORCE_CLIENT_SECRET", server.app.consumer_secret),
            ),
        )
        ran = home.run(now=morning).check()
        lake = Lake(home.path / "lake")
        one, other, gone = lake.read(account).filter(~pl.col("is_deleted")).collect()["id"].unique().sort()[:3]
        user = lake.read(TABLES["user"]).collect()["id"].sort()[-1]
        assert publication(home) == (day.window(first).end, first, None)

        server.now = noon - timedelta(minutes=10)
        server.edit("Account", one, Name="Changed before noon")
        server.delete("Account", gone)
        server.purge("User", user)
        server.now = noon
        server.edit("Account", other, Name="Changed in this minute")
        early = home.run("--now", now=noon).check()
        assert publication(home) == (minute, second, second)
        seen = names(home, "account", one, other, gone)
        assert seen.keys() == {one, other} and seen[one] == "Changed before noon"
        assert seen[other] != "Changed in this minute" and names(home, "user", user) == {}
        batches = {batch.batch_id for batch in lake.batches(account)}
        too_early = home.command("run", "--as-of", "2026-09-11", now=noon)

        server.now = evening - timedelta(hours=1)
        server.edit("Account", one, Name="Changed in the evening")
        server.now = evening
        late = home.run(now=evening).check()

    assert (
        "read up to 2026-09-11 04:49 UTC, the last partition boundary. Up to this minute: gtm run --now"
        in ran.output
    )
    assert f"read up to {minute:%Y-%m-%d %H:%M} UTC. Partition {second} is not whole: it ends" in early.output
    assert too_early.code == 1
    assert "the lake ends at the boundary of 2026-09-10: what is known as of 2026-09-11" in too_early.output
    assert publication(home) == (day.window(second).end, second, None)
    assert "read up to 2026-09-12 04:49 UTC, the last partition boundary." in late.output
    assert names(home, "account", one, other, gone) == {
        one: "Changed in the evening",
        other: "Changed in this minute",
    }
    versions = lake.read(account).filter(~pl.col("_batch_id").is_in(sorted(batches))).collect()
    assert {one, other} <= set(versions["id"]) and gone not in set(versions["id"])
    assert (versions["system_modstamp"] >= minute).all()


def names(home: GtmHome, entity: str, *ids: str) -> dict[str, str]:
    """The names that the published file has for records."""
    with duckdb.connect(str(home.published), read_only=True) as connection:
        query = f"select {entity}_id, {entity}_name from gtm_core.dim_{entity} where list_contains(?, {entity}_id)"
        return dict(connection.execute(query, [list(ids)]).fetchall())


def publication(home: GtmHome) -> tuple:
    """The models' now, and the last and the open partition, of the published file."""
    with duckdb.connect(str(home.published), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(
            "select as_of, last_partition, open_partition from gtm_meta.publication"
        ).fetchone()
