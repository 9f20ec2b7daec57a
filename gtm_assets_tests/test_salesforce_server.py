"""The local Salesforce, by its protocol: raw HTTP, and two clients that nobody here wrote."""

import csv
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from pathlib import Path

import jwt
import polars as pl
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceExpiredSession, SalesforceMalformedRequest

from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.sources.salesforce.catalog import OBJECTS
from gtm_assets.sources.salesforce.synthetic import SyntheticOrg
from gtm_assets_tests.salesforce_server import TRANSIENT, ConnectedApp, Fault, SalesforceServer, loopback_session
from gtm_assets_tests.salesforce_server.oauth import JWT_BEARER
from gtm_assets_tests.salesforce_server.objects import CURRENCIES, snapshot_at
from gtm_assets_tests.salesforce_server.render import java_double

NOW = datetime(2026, 9, 12, 4, 49, tzinfo=UTC)
BASE = "/services/data/v59.0"
TABLES = {table.api_name: table for table in OBJECTS}
JSFORCE = "jsforce@3.10.16"


@pytest.fixture(scope="module")
def org():
    return SyntheticOrg(seed=1, scale=0.001)


@pytest.fixture
def server(org):
    with SalesforceServer(org, NOW) as server:
        yield server


class Http:
    """A client as bare as can be: no retries, a login when asked."""

    def __init__(self, server):
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        assert self.login()

    def login(self):
        """True where it went well."""
        app = self.server.app
        url, form = f"{self.server.url}/services/oauth2/token", {"grant_type": "client_credentials"}
        try:
            reply = self.session.post(url, form, auth=(app.consumer_key, app.consumer_secret), timeout=30)
            self.session.headers["Authorization"] = f"Bearer {reply.json()['access_token']}"
        except (requests.RequestException, KeyError):
            return False
        return True

    def call(self, method, path, **options):
        path = path if path.startswith("/services") else f"{BASE}/{path}"
        return self.session.request(method, self.server.url + path, timeout=30, **options)

    def get(self, path, **params):
        return self.call("GET", path, params=params)

    def ok(self, path, **params):
        reply = self.get(path, **params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def error(self, path, **params):
        """Status, code and message of the one error."""
        reply = self.get(path, **params)
        (error,) = reply.json()
        return reply.status_code, error["errorCode"], error["message"]

    def records(self, soql, path="query"):
        """All pages of a query."""
        page = self.ok(path, q=soql)
        records = page["records"]
        while not page["done"]:
            page = self.ok(page["nextRecordsUrl"])
            records += page["records"]
        assert len(records) == page["totalSize"]
        return records

    def values(self, soql, path="query"):
        """The first field of every record."""
        return [list(record.values())[1] for record in self.records(soql, path)]

    def job(self, soql, operation="query", **options):
        """The id of a new Bulk job."""
        reply = self.call("POST", "jobs/query", json={"operation": operation, "query": soql} | options)
        assert reply.status_code == 200, reply.text
        return reply.json()["id"]

    def finish(self, job):
        """The job's last state."""
        for _ in range(10):
            status = self.ok(f"jobs/query/{job}")
            if status["state"] in ("JobComplete", "Failed", "Aborted"):
                return status
        raise AssertionError("the job does not end")

    def download(self, job, **params):
        """The pages of a finished job as texts."""
        pages, locator = [], None
        while locator != "null":
            reply = self.get(f"jobs/query/{job}/results", **params, **({"locator": locator} if locator else {}))
            assert reply.status_code == 200, reply.text
            pages.append(reply)
            locator = reply.headers["Sforce-Locator"]
        return pages

    def bulk(self, soql, operation="query", **options):
        """All records by Bulk, as dicts of texts."""
        job = self.job(soql, operation, **options)
        assert self.finish(job)["state"] == "JobComplete"
        return [record for page in self.download(job) for record in csv.DictReader(io.StringIO(text(page)))]


@pytest.fixture
def http(server):
    return Http(server)


def text(page):
    """A page of CSV. Its header names no encoding, and requests would guess wrongly."""
    return page.content.decode()


def fields_of(http, object_):
    return [field["name"] for field in http.ok(f"sobjects/{object_}/describe")["fields"]]


def everything(http, object_):
    return f"SELECT {', '.join(fields_of(http, object_))} FROM {object_}"


# Logging in


def token(server, form, **options):
    return requests.post(f"{server.url}/services/oauth2/token", form, timeout=30, **options)


def refusal(reply):
    assert reply.status_code == 400
    return reply.json()["error"]


def test_client_credentials_log_in_by_basic_and_by_form(server):
    app, grant = server.app, {"grant_type": "client_credentials"}
    by_basic = token(server, grant, auth=(app.consumer_key, app.consumer_secret))
    by_form = token(server, grant | {"client_id": app.consumer_key, "client_secret": app.consumer_secret})
    for reply in (by_basic, by_form):
        body = reply.json()
        assert reply.status_code == 200
        assert body["instance_url"] == server.url
        assert body["token_type"] == "Bearer"
        assert re.fullmatch(r"https://login\.salesforce\.com/id/00D\w{15}/005\w{15}", body["id"])
        limits = requests.get(
            f"{server.url}{BASE}/limits", headers={"Authorization": f"Bearer {body['access_token']}"}, timeout=30
        )
        assert limits.status_code == 200
    assert by_basic.json()["access_token"] != by_form.json()["access_token"]


def test_wrong_credentials_are_refused(server):
    app, grant = server.app, {"grant_type": "client_credentials"}
    assert refusal(token(server, grant, auth=(app.consumer_key, "wrong"))) == "invalid_client"
    assert refusal(token(server, grant, auth=("nobody", app.consumer_secret))) == "invalid_client_id"
    assert refusal(token(server, grant)) == "invalid_client_id"
    password = {"grant_type": "password", "username": app.username, "password": "x"}
    assert refusal(token(server, password)) == "unsupported_grant_type"


@pytest.fixture(scope="module")
def keys():
    """Two private keys, PEM: the app's and another."""
    made = []
    for _ in range(2):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        made.append(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode()
        )
    return made


@pytest.fixture
def jwt_server(org, keys):
    private = serialization.load_pem_private_key(keys[0].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with SalesforceServer(org, NOW, app=ConnectedApp(public_key=public.decode())) as server:
        yield server


def test_jwt_bearer_checks_signature_and_claims(jwt_server, keys):
    app = jwt_server.app

    def ask(key=keys[0], algorithm="RS256", **changes):
        claims = {
            "iss": app.consumer_key,
            "sub": app.username,
            "aud": "https://login.salesforce.com",
            "exp": int(time.time()) + 180,
        }
        assertion = jwt.encode(claims | changes, key, algorithm=algorithm)
        return token(jwt_server, {"grant_type": JWT_BEARER, "assertion": assertion})

    good = ask()
    assert good.status_code == 200
    limits = requests.get(
        f"{jwt_server.url}{BASE}/limits",
        headers={"Authorization": f"Bearer {good.json()['access_token']}"},
        timeout=30,
    )
    assert limits.status_code == 200
    assert ask(aud="https://test.salesforce.com").status_code == 200
    assert refusal(ask(key=keys[1])) == "invalid_grant"
    assert refusal(ask(key="", algorithm="none")) == "invalid_grant"
    assert refusal(ask(exp=int(time.time()) - 1)) == "invalid_grant"
    assert refusal(ask(exp=int(time.time()) + 3600)) == "invalid_grant"
    assert refusal(ask(aud="https://example.com")) == "invalid_grant"
    assert refusal(ask(sub="somebody@else.example")) == "invalid_grant"
    assert refusal(ask(iss="another-app")) == "invalid_client_id"
    assert refusal(token(jwt_server, {"grant_type": JWT_BEARER, "assertion": "x"})) == "invalid_grant"


def test_jwt_bearer_needs_a_key_at_the_server(server, keys):
    assertion = jwt.encode(
        {"iss": server.app.consumer_key, "sub": server.app.username}, keys[0], algorithm="RS256"
    )
    assert refusal(token(server, {"grant_type": JWT_BEARER, "assertion": assertion})) == "invalid_grant"


def test_a_request_needs_a_token_that_lives(server, http):
    expired = (401, "INVALID_SESSION_ID", "Session expired or invalid")
    assert http.get("limits").status_code == 200
    server.expire_sessions()
    assert http.error("limits") == expired
    http.login()
    assert http.get("limits").status_code == 200
    del http.session.headers["Authorization"]
    assert http.error("limits") == expired


def test_a_token_dies_of_age(org):
    with SalesforceServer(org, NOW, token_lifetime=timedelta(seconds=0)) as server:
        assert Http(server).error("limits")[:2] == (401, "INVALID_SESSION_ID")


# What there is


def test_versions_need_no_login_and_resources_do(server):
    versions = requests.get(f"{server.url}/services/data", timeout=30).json()
    assert {"label", "url", "version"} == set(versions[0])
    assert "59.0" in [version["version"] for version in versions]
    assert requests.get(f"{server.url}{BASE}", timeout=30).status_code == 401
    http = Http(server)
    assert http.ok(f"{BASE}/")["query"] == f"{BASE}/query"


def test_every_object_of_the_catalogue_is_listed_and_described(http):
    listed = {entry["name"]: entry for entry in http.ok("sobjects")["sobjects"]}
    assert set(listed) == {*TABLES, "CurrencyType"}
    for name, table in TABLES.items():
        described = http.ok(listed[name]["urls"]["describe"])
        assert described["keyPrefix"] == listed[name]["keyPrefix"] == table.key_prefix
        fields = {field["name"] for field in described["fields"]}
        missing = {column.api_name for column in table.columns if column.api_name} - fields
        assert missing == set(), name
        assert ("IsDeleted" in fields) == listed[name]["undeletable"] | name.endswith("History"), name
        assert "" not in fields


def test_describe_gives_the_api_types(http):
    types = {field["name"]: field["type"] for field in http.ok("sobjects/Opportunity/describe")["fields"]}
    assert types["Id"] == "id"
    assert types["OwnerId"] == "reference"
    assert types["Amount"] == "currency"
    assert types["Probability"] == "percent"
    assert types["CloseDate"] == "date"
    assert types["SystemModstamp"] == "datetime"
    assert types["IsWon"] == "boolean"
    assert types["FiscalYear"] == "int"
    assert types["StageName"] == "picklist"
    assert types["Description"] == "textarea"
    history = {
        field["name"]: field["type"] for field in http.ok("sobjects/OpportunityFieldHistory/describe")["fields"]
    }
    assert history["OldValue"] == history["NewValue"] == "anyType"
    who = next(field for field in http.ok("sobjects/Task/describe")["fields"] if field["name"] == "WhoId")
    assert who["referenceTo"] == ["Contact", "Lead"]
    assert who["relationshipName"] == "Who"


def test_the_orgs_fields_change_with_its_time(server, http):
    server.now = datetime(2026, 9, 10, tzinfo=UTC)
    assert "Competitor__c" not in fields_of(http, "Opportunity")
    assert "Legacy_Score__c" in fields_of(http, "Lead")
    server.now = datetime(2026, 9, 25, tzinfo=UTC)
    assert "Competitor__c" in fields_of(http, "Opportunity")
    assert "Legacy_Score__c" not in fields_of(http, "Lead")


def test_what_is_not_there_is_not_found(http):
    for path in (
        "sobjects/Nothing/describe",
        "nothing",
        "/services/data/v99.0/limits",
        "jobs/query/750000000000000",
    ):
        assert http.error(path) == (404, "NOT_FOUND", "The requested resource does not exist"), path
    reply = http.call("POST", "sobjects", json={})
    assert (reply.status_code, reply.json()[0]["errorCode"]) == (405, "METHOD_NOT_ALLOWED")


def test_paths_take_a_slash_at_their_end(http):
    for path in ("limits/", "sobjects/", "sobjects/Account/describe/"):
        assert http.get(path).status_code == 200, path
    assert http.get("query/", q="SELECT COUNT() FROM Account").status_code == 200


def test_requests_are_counted_and_end_at_the_limit(server, http):
    server.daily_requests = 3
    first = http.get("limits")
    assert first.headers["Sforce-Limit-Info"] == "api-usage=1/3"
    assert first.json()["DailyApiRequests"] == {"Max": 3, "Remaining": 2}
    assert http.get("limits").headers["Sforce-Limit-Info"] == "api-usage=2/3"
    assert http.get("limits").headers["Sforce-Limit-Info"] == "api-usage=3/3"
    assert http.error("limits") == (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def test_a_url_may_not_be_too_long(http):
    fields = ", ".join(["Name"] * 4000)
    assert http.get("query", q=f"SELECT {fields} FROM Account").status_code == 414


# Records


def typed(records, object_, frame):
    """Records as the API gave them (JSON or CSV), as a frame with the snapshot's columns and types.

    In CSV null is nothing between quotes.
    """
    names = {column.name: column.api_name for column in TABLES[object_].columns}
    columns = {}
    for column in frame.columns:
        name = names.get(column, column.removesuffix("_c").title() + "__c")
        kind = TABLES[object_].types.get(column, ColumnType.STRING)
        columns[column] = pl.Series(column, [_typed(record[name], kind) for record in records], kind.polars)
    return pl.DataFrame(columns).sort("id")


def _typed(value, kind):
    if value is None or value == "":
        return None
    return {
        ColumnType.STRING: lambda v: v,
        ColumnType.BOOLEAN: lambda v: {"true": True, "false": False}[v] if isinstance(v, str) else v,
        ColumnType.INTEGER: int,
        ColumnType.DOUBLE: float,
        ColumnType.CURRENCY: lambda v: Decimal(str(float(v))).quantize(Decimal("0.01")),
        ColumnType.DATE: lambda v: datetime.strptime(v, "%Y-%m-%d").date(),
        ColumnType.TIMESTAMP: datetime.fromisoformat,
    }[kind](value)


@pytest.mark.parametrize("object_", sorted(TABLES))
def test_rest_and_bulk_show_the_org_as_it_stands(server, http, org, object_):
    frame = snapshot_at(org, TABLES[object_], NOW)
    frame = frame.drop("_fivetran_deleted", strict=False)
    soql = everything(http, object_)
    by_rest = typed(http.records(soql, "queryAll"), object_, frame)
    assert by_rest.equals(frame)
    server.not_in_bulk.clear()
    by_bulk = typed(http.bulk(soql, "queryAll"), object_, frame)
    assert by_bulk.equals(frame)


def test_records_have_the_forms_of_json(http, org):
    soql = "SELECT Name, CloseDate, Id, SystemModstamp, Amount, IsWon, NextStep FROM Opportunity LIMIT 1"
    (record,) = http.records(soql)
    row = snapshot_at(org, TABLES["Opportunity"], NOW).filter(pl.col("id") == record["Id"]).row(0, named=True)
    assert list(record) == [
        "attributes",
        "Name",
        "CloseDate",
        "Id",
        "SystemModstamp",
        "Amount",
        "IsWon",
        "NextStep",
    ]
    assert record["attributes"] == {"type": "Opportunity", "url": f"{BASE}/sobjects/Opportunity/{row['id']}"}
    assert record["SystemModstamp"] == row["system_modstamp"].strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    assert record["CloseDate"] == row["close_date"].isoformat()
    assert record["Amount"] == float(row["amount"])
    assert isinstance(record["Amount"], float)
    assert record["IsWon"] is row["is_won"]
    assert record["NextStep"] == row["next_step"]


def test_the_records_address_does_not_need_the_id(http):
    (record,) = http.records("SELECT Name FROM Account LIMIT 1")
    assert re.fullmatch(rf"{BASE}/sobjects/Account/001\w{{15}}", record["attributes"]["url"])
    assert set(record) == {"attributes", "Name"}


def test_the_orgs_time_moves_when_told(server, http):
    soql = "SELECT MAX(SystemModstamp) latest FROM Task"
    (before,) = http.records(soql)
    server.now += timedelta(days=3)
    (after,) = http.records(soql)
    assert before["latest"] < "2026-09-12T04:49" < after["latest"] < "2026-09-15T04:49"
    assert parsedate_to_datetime(http.get("limits").headers["Date"]) == server.now


# Deleted and archived


def test_sums_of_several_currencies_are_in_the_orgs_own(org):
    (own,) = (code for code, rate in CURRENCIES.items() if rate == 1)
    with SalesforceServer(org, NOW) as server:
        http = Http(server)
        deals = http.ok("query", q="SELECT Id, Amount FROM Opportunity WHERE Amount > 0 LIMIT 2")["records"]
        ids = "', '".join(deal["Id"] for deal in deals)
        total = f"SELECT SUM(Amount), COUNT(Id) FROM Opportunity WHERE Id IN ('{ids}')"
        alike = http.ok("query", q=total)
        server.edit("Opportunity", deals[0]["Id"], CurrencyIsoCode="EUR")
        mixed = http.ok("query", q=total)["records"][0]
        corporate = http.ok("query", q="SELECT IsoCode FROM CurrencyType WHERE IsCorporate = true")["records"]

    amounts = [deal["Amount"] for deal in deals]
    assert alike["totalSize"] == 1
    assert alike["records"] == [
        {"attributes": {"type": "AggregateResult"}, "expr0": pytest.approx(sum(amounts)), "expr1": 2}
    ]
    assert mixed["expr0"] == pytest.approx(amounts[0] / CURRENCIES["EUR"] + amounts[1], abs=0.01)
    assert [record["IsoCode"] for record in corporate] == [own]


def deleted_ids(org, object_, at=NOW):
    return set(snapshot_at(org, TABLES[object_], at).filter("is_deleted")["id"])


def test_only_query_all_shows_the_recycle_bin(http, org):
    for object_ in ("Account", "Lead", "Task"):
        gone = deleted_ids(org, object_)
        assert gone, object_
        shown = set(http.values(f"SELECT Id FROM {object_}"))
        everything_ = set(http.values(f"SELECT Id FROM {object_}", "queryAll"))
        assert everything_ == set(snapshot_at(org, TABLES[object_], NOW)["id"])
        assert not shown & gone
        bulk = {record["Id"] for record in http.bulk(f"SELECT Id FROM {object_}")}
        assert bulk == shown
        assert {record["Id"] for record in http.bulk(f"SELECT Id FROM {object_}", "queryAll")} == everything_
        assert set(http.values(f"SELECT Id FROM {object_} WHERE IsDeleted = true", "queryAll")) == gone
        assert http.values(f"SELECT Id FROM {object_} WHERE IsDeleted = true") == []


def test_only_query_all_shows_archived_activities(http, org):
    tasks = snapshot_at(org, TABLES["Task"], NOW)
    archived = set(tasks.filter(pl.col("is_archived") & ~pl.col("is_deleted"))["id"])
    assert archived
    assert not archived & set(http.values("SELECT Id FROM Task"))
    assert archived <= set(http.values("SELECT Id FROM Task", "queryAll"))


def test_deleted_lists_what_was_deleted_in_the_span(server, http, org):
    start, end = NOW - timedelta(days=13), NOW + timedelta(days=1)
    frame = snapshot_at(org, TABLES["Contact"], NOW).filter("is_deleted")
    made_up = set(frame.filter(pl.col("system_modstamp") >= start)["id"])
    assert made_up
    at_the_start, within, at_the_end = http.values("SELECT Id FROM Contact LIMIT 3")
    for at, id_ in ((start, at_the_start), (NOW, within), (end, at_the_end)):
        server.now = at
        server.delete("Contact", id_)
    listed = http.ok("sobjects/Contact/deleted/", start=start.isoformat(), end=end.isoformat())
    deleted = {entry["id"]: entry["deletedDate"] for entry in listed["deletedRecords"]}
    assert made_up | {at_the_start, within} <= set(deleted)
    assert at_the_end not in deleted
    assert deleted[within] == "2026-09-12T04:49:00.000+0000"
    for id_ in made_up:
        stamp = frame.filter(pl.col("id") == id_)["system_modstamp"][0]
        assert deleted[id_] == stamp.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    for value in deleted.values():
        assert start <= datetime.fromisoformat(value) < end
    assert listed["latestDateCovered"] == "2026-09-13T04:49:00.000+0000"
    assert listed["earliestDateAvailable"] == "2026-08-29T04:49:00.000+0000"


def test_deleted_reaches_fifteen_days_back(http):
    def ask(days):
        span = {"start": (NOW - timedelta(days=days)).isoformat(), "end": NOW.isoformat()}
        return http.get("sobjects/Account/deleted/", **span)

    assert ask(15).status_code == 200
    too_far = ask(15.01)
    assert (too_far.status_code, too_far.json()[0]["errorCode"]) == (400, "INVALID_REPLICATION_DATE")
    assert ask(0).json()[0]["errorCode"] == "INVALID_REPLICATION_DATE"
    no_dates = http.get("sobjects/Account/deleted/")
    assert no_dates.json()[0]["errorCode"] == "INVALID_REPLICATION_DATE"
    span = {"start": (NOW - timedelta(days=1)).isoformat(), "end": NOW.isoformat()}
    assert http.ok("sobjects/User/deleted/", **span)["deletedRecords"] == []
    periods = http.get("sobjects/Period/deleted/", **span)
    assert periods.json()[0]["errorCode"] == "INVALID_TYPE_FOR_OPERATION"


def test_purged_records_are_in_deleted_and_nowhere_else(server, http):
    one, two, *_ = http.values("SELECT Id FROM Account")
    user = http.values("SELECT Id FROM User")[0]
    server.purge("Account", one)
    server.delete("Account", two)
    server.purge("User", user)
    later = NOW + timedelta(hours=1)
    server.now = later
    both = set(http.values("SELECT Id FROM Account", "queryAll"))
    assert one not in both
    assert two in both
    assert two not in http.values("SELECT Id FROM Account")
    assert user not in http.values("SELECT Id FROM User", "queryAll")
    span = {"start": NOW.isoformat(), "end": later.isoformat()}
    listed = http.ok("sobjects/Account/deleted/", **span)["deletedRecords"]
    assert {one, two} <= {entry["id"] for entry in listed}
    with pytest.raises(ValueError, match="no IsDeleted"):
        server.delete("User", http.values("SELECT Id FROM User")[0])


def test_an_edit_moves_the_cursor_unless_it_is_a_formulas(server, http):
    one, two, *_ = http.values("SELECT Id FROM Account")
    stamps = f"SELECT Id, Name, SystemModstamp FROM Account WHERE Id IN ('{one}', '{two}')"
    before = {record["Id"]: record for record in http.records(stamps)}
    server.now += timedelta(hours=1)
    server.edit("Account", one, Name="NA")
    server.edit("Account", two, touch=False, Name="Formula")
    after = {record["Id"]: record for record in http.records(stamps)}
    assert after[one]["Name"] == "NA"
    assert after[one]["SystemModstamp"] == "2026-09-12T05:49:00.000+0000"
    assert after[two]["Name"] == "Formula"
    assert after[two]["SystemModstamp"] == before[two]["SystemModstamp"]
    server.now -= timedelta(hours=1)
    assert {record["Id"]: record for record in http.records(stamps)} == before
    with pytest.raises(ValueError, match="no record"):
        server.edit("Account", "001000000000000AAA", Name="x")
    with pytest.raises(ValueError, match="no columns"):
        server.edit("Account", one, Nothing__c="x")


# Queries


def test_pages_hold_2000_records_and_a_locator_stays(server, http, org):
    soql = "SELECT Id FROM OpportunityFieldHistory"
    total = snapshot_at(org, TABLES["OpportunityFieldHistory"], NOW).height
    first = http.ok("query", q=soql)
    assert (first["totalSize"], first["done"], len(first["records"])) == (total, False, 2000)
    assert re.fullmatch(rf"{BASE}/query/01g\w{{15}}-2000", first["nextRecordsUrl"])
    server.now += timedelta(days=10)
    pages, url = [first], first["nextRecordsUrl"]
    while url:
        assert http.ok(url) == http.ok(url)
        pages.append(http.ok(url))
        url = pages[-1].get("nextRecordsUrl")
    assert [len(page["records"]) for page in pages] == [2000] * (total // 2000) + [total % 2000]
    assert [page["done"] for page in pages] == [False] * (len(pages) - 1) + [True]
    ids = [record["Id"] for page in pages for record in page["records"]]
    assert len(set(ids)) == total
    bad = first["nextRecordsUrl"].replace("-2000", "-999999")
    assert http.error(bad) == (400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    assert http.error("query/01g000000000000AAA-2000")[1] == "INVALID_QUERY_LOCATOR"


def test_a_client_may_ask_for_smaller_pages(http):
    def size(wish):
        options = {"Sforce-Query-Options": f"batchSize={wish}"}
        page = http.call("GET", "queryAll", params={"q": "SELECT Id FROM ContactHistory"}, headers=options).json()
        return len(page["records"])

    assert size(500) == 500
    assert size(10) == 200


def test_replies_are_packed_where_the_client_takes_it(http):
    packed = http.get("sobjects/Account/describe")
    assert packed.headers["Content-Encoding"] == "gzip"
    plain = http.call("GET", "sobjects/Account/describe", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.json() == packed.json()
    job = http.job("SELECT Id FROM Account")
    http.finish(job)
    results = http.get(f"jobs/query/{job}/results")
    assert results.headers["Content-Encoding"] == "gzip"
    plain = http.call("GET", f"jobs/query/{job}/results", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == results.content


SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
CONDITIONS = [
    ("SystemModstamp >= 2026-09-01T00:00:00Z", lambda r: r["system_modstamp"] >= SEPTEMBER),
    ("SystemModstamp < 2026-09-01T00:00:00.000+0000", lambda r: r["system_modstamp"] < SEPTEMBER),
    ("CreatedDate > 2026-08-31T19:00:00-05:00", lambda r: r["created_date"] > SEPTEMBER),
    ("CloseDate = 2026-09-30", lambda r: str(r["close_date"]) == "2026-09-30"),
    ("CloseDate <= 2025-01-15", lambda r: str(r["close_date"]) <= "2025-01-15"),
    ("IsWon = true", lambda r: r["is_won"]),
    ("IsWon != TRUE AND isclosed = true", lambda r: not r["is_won"] and r["is_closed"]),
    ("NextStep = null", lambda r: r["next_step"] is None),
    ("NextStep != null", lambda r: r["next_step"] is not None),
    ("LossReason__c != 'Price'", lambda r: r["loss_reason_c"] != "Price"),
    ("LossReason__c = 'pRICE'", lambda r: r["loss_reason_c"] == "Price"),
    ("Amount >= 10000 AND Amount < 20000.5", lambda r: r["amount"] is not None and 10000 <= r["amount"] < 20000.5),
    ("Probability = 1e2", lambda r: r["probability"] == 100),
    (
        "StageName IN ('Closed Won', 'Prospecting') AND (IsWon = true OR Amount > 5e4)",
        lambda r: r["stage_name"] in ("Closed Won", "Prospecting")
        and (r["is_won"] or (r["amount"] is not None and r["amount"] > 50_000)),
    ),
    ("StageName NOT IN ('Closed Won')", lambda r: r["stage_name"] != "Closed Won"),
    ("NOT (IsWon = true OR IsClosed = false)", lambda r: r["is_closed"] and not r["is_won"]),
    ("Name LIKE '%Renewal'", lambda r: r["name"].endswith("Renewal")),
    ("Name LIKE '_a%' and Name like '% – %'", lambda r: r["name"][1].lower() == "a" and " – " in r["name"]),
    ("ContactId = null OR (Type = 'Existing Business' AND FiscalYear = 2026)",
     lambda r: r["contact_id"] is None or (r["type"] == "Existing Business" and r["fiscal_year"] == 2026)),
]  # fmt: skip


@pytest.mark.parametrize(("where", "holds"), CONDITIONS, ids=[where for where, _ in CONDITIONS])
def test_where_finds_what_it_says(http, org, where, holds):
    records = snapshot_at(org, TABLES["Opportunity"], NOW).to_dicts()
    expected = {record["id"] for record in records if holds(record)}
    assert 0 < len(expected) < len(records)
    assert set(http.values(f"SELECT Id FROM Opportunity WHERE {where}", "queryAll")) == expected
    assert {r["Id"] for r in http.bulk(f"select Id from Opportunity where {where}", "queryAll")} == expected


def test_ids_are_found_by_15_characters_and_by_18_in_their_case(http):
    one = http.values("SELECT Id FROM Account")[0]
    assert http.values(f"SELECT Id FROM Account WHERE Id = '{one}'") == [one]
    assert http.values(f"SELECT Id FROM Account WHERE Id IN ('{one[:15]}')") == [one]
    assert http.values(f"SELECT Id FROM Account WHERE Id = '{one[:15].swapcase()}'") == []
    assert http.error("query", q="SELECT Id FROM Account WHERE Id = 'short'")[1] == "INVALID_QUERY_FILTER_OPERATOR"


def test_order_limit_and_offset(http, org):
    column = snapshot_at(org, TABLES["Opportunity"], NOW).filter(~pl.col("is_deleted"))[
        "total_opportunity_quantity"
    ]
    nulls = [None] * column.null_count()
    rising = sorted(column.drop_nulls())
    assert nulls
    assert rising
    soql = "SELECT TotalOpportunityQuantity FROM Opportunity ORDER BY TotalOpportunityQuantity"
    assert http.values(soql) == nulls + rising
    assert http.values(f"{soql} DESC") == nulls + rising[::-1]
    assert http.values(f"{soql} DESC NULLS LAST") == rising[::-1] + nulls
    assert http.values(f"{soql} ASC NULLS LAST LIMIT 7 OFFSET 5") == rising[5:12]
    two = http.records("SELECT StageName, Id FROM Opportunity ORDER BY StageName DESC, Id")
    keys = [(record["StageName"], record["Id"]) for record in two]
    assert keys == sorted(sorted(keys, key=lambda k: k[1]), key=lambda k: k[0], reverse=True)
    assert http.ok("query", q="SELECT Id FROM Opportunity LIMIT 3")["totalSize"] == 3


def test_aggregates(http, org):
    frame = snapshot_at(org, TABLES["Opportunity"], NOW).filter(~pl.col("is_deleted"))
    count = http.ok("query", q="SELECT COUNT() FROM Opportunity")
    assert count == {"totalSize": frame.height, "done": True, "records": []}
    soql = (
        "SELECT COUNT(Id), SUM(Amount) total, MIN(CloseDate), MAX(SystemModstamp), COUNT(NextStep), AVG(Amount), "
        "COUNT_DISTINCT(StageName) FROM Opportunity"
    )
    (record,) = http.records(soql)
    assert record == {
        "attributes": {"type": "AggregateResult"},
        "expr0": frame.height,
        "total": float(frame["amount"].sum()),
        "expr2": frame["close_date"].min().isoformat(),
        "expr3": frame["system_modstamp"].max().strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "expr4": frame["next_step"].count(),
        "expr5": pytest.approx(float(frame["amount"].cast(pl.Float64).mean())),
        "expr6": frame["stage_name"].n_unique(),
    }
    (nothing,) = http.records("SELECT COUNT(Id), SUM(Amount), MAX(Amount) FROM Opportunity WHERE Name = 'nobody'")
    assert (nothing["expr0"], nothing["expr1"], nothing["expr2"]) == (0, None, None)
    assert http.records("SELECT SUM(NumberOfEmployees) FROM Account")[0]["expr0"] > 0


MALFORMED = [
    ("SELECT Id FORM Account", "unexpected token: 'FORM'", 11),
    ("SELECT Id, FROM Account", "unexpected token: 'FROM'", 12),
    ("SELECT Id FROM Account WHERE", "unexpected token: '<EOF>'", 29),
    ("SELECT Id FROM Account WHERE Name", "unexpected token: '<EOF>'", 34),
    ("SELECT Id FROM Account WHERE Name = Acme", "unexpected token: 'Acme'", 37),
    ("SELECT Id FROM Account WHERE Name = 'Acme", "unexpected token: '''", 37),
    (
        "SELECT Id FROM Account WHERE CreatedDate > 2026-99-01T00:00:00Z",
        "unexpected token: '2026-99-01T00:00:00Z'",
        44,
    ),
    # A + that was not encoded comes in as a space.
    ("SELECT Id FROM Account WHERE CreatedDate > 2026-09-01T00:00:00 00:00", "unexpected token: 'T00'", 54),
    ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "unexpected token: 'OR'", 56),
    ("SELECT Id FROM Account LIMIT ten", "unexpected token: 'ten'", 30),
    ("SELECT COUNT(), Id FROM Account", "unexpected token: 'FROM'", 20),
    ("SELECT Name, COUNT(Id) FROM Account", "Field must be grouped or aggregated: Name", 8),
    ("UPDATE Account", "unexpected token: 'UPDATE'", 1),
]


@pytest.mark.parametrize(("soql", "message", "column"), MALFORMED, ids=[soql for soql, *_ in MALFORMED])
def test_a_malformed_query_is_told_where(http, soql, message, column):
    status, code, text = http.error("query", q=soql)
    assert (status, code) == (400, "MALFORMED_QUERY")
    assert message in text
    assert f"ERROR at Row:1:Column:{column}\n" in text


def test_the_message_shows_the_place(http):
    _, code, text = http.error("query", q="SELECT Id, Nothing__c\nFROM Account")
    assert code == "INVALID_FIELD"
    assert text.splitlines()[:5] == [
        "",
        "SELECT Id, Nothing__c",
        "           ^",
        "ERROR at Row:1:Column:12",
        "No such column 'Nothing__c' on entity 'Account'. If you are attempting to use a custom field, be sure to "
        "append the '__c' after the custom field name. Please reference your WSDL or the describe call for the "
        "appropriate names.",
    ]


REFUSED = [
    ("SELECT Id FROM Nothing", "INVALID_TYPE", "sObject type 'Nothing' is not supported."),
    ("SELECT IsDeleted FROM User", "INVALID_FIELD", "No such column 'IsDeleted' on entity 'User'"),
    ("SELECT _fivetran_deleted FROM User", "INVALID_FIELD", "No such column '_fivetran_deleted'"),
    ("SELECT Id FROM Account WHERE Nothing = 1", "INVALID_FIELD", "No such column 'Nothing'"),
    ("SELECT Id FROM Account ORDER BY Nothing", "INVALID_FIELD", "No such column 'Nothing'"),
    ("SELECT Id, Name, id FROM Account", "INVALID_FIELD", "duplicate field selected: Id"),
    (
        "SELECT Id FROM Account WHERE CreatedDate > '2026-09-01'",
        "INVALID_FIELD",
        "criterion for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes",
    ),
    ("SELECT Id FROM Account WHERE CreatedDate > 2026-09-01", "INVALID_FIELD", "must be of type dateTime"),
    ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD", "of type string and should be enclosed in quotes"),
    ("SELECT Id FROM Account WHERE IsDeleted = 'true'", "INVALID_FIELD", "must be of type boolean"),
    ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD", "can not be filtered"),
    ("SELECT SUM(Name) FROM Account", "INVALID_FIELD", "does not support aggregate operator SUM"),
    ("SELECT Id FROM Account LIMIT 5 OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "SOQL offset allowed is 2000"),
]  # fmt: skip


@pytest.mark.parametrize(("soql", "code", "message"), REFUSED, ids=[soql for soql, *_ in REFUSED])
def test_a_query_that_does_not_fit_the_org_is_refused(http, soql, code, message):
    status, found, text = http.error("query", q=soql)
    assert (status, found) == (400, code)
    assert message in text


@pytest.mark.parametrize(
    "soql",
    [
        "SELECT Owner.Name FROM Account",
        "SELECT Id, (SELECT Id FROM Contacts) FROM Account",
        "SELECT StageName, COUNT(Id) FROM Opportunity GROUP BY StageName",
        "SELECT Id FROM Account WHERE CreatedDate = LAST_N_DAYS:3",
        "SELECT FIELDS(ALL) FROM Account LIMIT 200",
        "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact)",
        "SELECT Id FROM Account FOR UPDATE",
    ],
)
def test_what_the_server_does_not_know_is_not_taken_for_salesforces_answer(http, soql):
    assert http.error("query", q=soql)[:2] == (501, "NOT_IN_THIS_SERVER")


# Rights


def test_a_hidden_field_and_a_hidden_object_vanish(server, http):
    server.hide("Account", "AnnualRevenue")
    server.hide("Lead")
    assert "AnnualRevenue" not in fields_of(http, "Account")
    assert http.error("query", q="SELECT AnnualRevenue FROM Account")[1] == "INVALID_FIELD"
    assert http.error("query", q="SELECT Id FROM Account WHERE AnnualRevenue > 5")[1] == "INVALID_FIELD"
    assert http.error("query", q="SELECT Id FROM Lead")[1] == "INVALID_TYPE"
    assert http.error("sobjects/Lead/describe")[0] == 404
    assert "Lead" not in [entry["name"] for entry in http.ok("sobjects")["sobjects"]]
    for soql, code in (
        ("SELECT AnnualRevenue FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Lead", "INVALID_TYPE"),
    ):
        reply = http.call("POST", "jobs/query", json={"operation": "query", "query": soql})
        assert (reply.status_code, reply.json()[0]["errorCode"]) == (400, code)
    server.show("Account", "AnnualRevenue")
    server.show("Lead")
    assert "AnnualRevenue" in fields_of(http, "Account")
    assert http.values("SELECT Id FROM Lead")
    with pytest.raises(ValueError, match="Account has no field Nothing"):
        server.hide("Account", "Nothing")


# Bulk


def test_a_job_goes_through_its_states(server, http, org):
    soql = "SELECT Id FROM Contact"
    made = http.call("POST", "jobs/query", json={"operation": "queryAll", "query": soql}).json()
    assert re.fullmatch(r"750\w{15}", made["id"])
    assert made | {"createdById": "", "id": ""} == {
        "id": "",
        "operation": "queryAll",
        "object": "Contact",
        "createdById": "",
        "createdDate": "2026-09-12T04:49:00.000+0000",
        "systemModstamp": "2026-09-12T04:49:00.000+0000",
        "state": "UploadComplete",
        "concurrencyMode": "Parallel",
        "contentType": "CSV",
        "apiVersion": 59.0,
        "lineEnding": "LF",
        "columnDelimiter": "COMMA",
    }
    path = f"jobs/query/{made['id']}"
    early = http.get(f"{path}/results")
    assert (early.status_code, early.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")
    assert http.ok(path)["state"] == "InProgress"
    done = http.ok(path)
    assert (done["state"], done["jobType"], done["retries"]) == ("JobComplete", "V2Query", 0)
    assert done["numberRecordsProcessed"] == snapshot_at(org, TABLES["Contact"], NOW).height
    assert [job["id"] for job in http.ok("jobs/query")["records"]] == [made["id"]]
    limits = http.ok("limits")["DailyBulkV2QueryJobs"]
    assert limits == {"Max": 10_000, "Remaining": 9_999}


def test_results_come_in_pages_each_with_the_header(http, org):
    total = snapshot_at(org, TABLES["Contact"], NOW).height
    job = http.job("SELECT Name, Id FROM Contact", "queryAll")
    http.finish(job)
    pages = http.download(job, maxRecords=100)
    assert len(pages) == -(-total // 100)
    for page in pages:
        assert page.headers["Content-Type"] == "text/csv"
        lines = text(page).splitlines()
        assert lines[0] == '"Name","Id"'
        assert len(lines) - 1 == int(page.headers["Sforce-NumberOfRecords"])
    ids = [row["Id"] for page in pages for row in csv.DictReader(io.StringIO(text(page)))]
    assert len(ids) == len(set(ids)) == total
    locator = pages[0].headers["Sforce-Locator"]
    assert locator == "MTAw"
    again = [http.get(f"jobs/query/{job}/results", maxRecords=100, locator=locator).content for _ in range(2)]
    assert again == [pages[1].content] * 2
    for bad in ("x", "null", "OTk5OTk5"):
        assert http.get(f"jobs/query/{job}/results", locator=bad).status_code == 400, bad


def test_a_job_that_finds_nothing_has_a_header_only(http):
    job = http.job("SELECT Id, Name FROM Account WHERE Name = 'nobody'")
    assert http.finish(job)["numberRecordsProcessed"] == 0
    (page,) = http.download(job)
    assert (text(page), page.headers["Sforce-NumberOfRecords"]) == ('"Id","Name"\n', "0")


def test_a_job_holds_what_the_org_held_when_it_was_made(server, http):
    soql = "SELECT Id FROM Task"
    job = http.job(soql)
    before = {r["Id"] for r in http.bulk(soql)}
    server.now += timedelta(days=5)
    http.finish(job)
    held = {r["Id"] for page in http.download(job) for r in csv.DictReader(io.StringIO(text(page)))}
    assert held == before
    assert {r["Id"] for r in http.bulk(soql)} - held


def test_results_are_written_as_salesforce_writes_csv(server, http):
    one, two, three, *_ = http.values("SELECT Id FROM Account ORDER BY Id")
    server.edit("Account", one, Name='say "hi", she\nsaid', AnnualRevenue=Decimal("16147805824397.00"), Phone=None)
    server.edit("Account", two, Name="NA", AnnualRevenue=Decimal("0.00"), NumberOfEmployees=5)
    server.edit("Account", three, Name="null", AnnualRevenue=Decimal("1234.50"), LastActivityDate=None)
    soql = (
        "SELECT Id, Name, AnnualRevenue, IsDeleted, NumberOfEmployees, SystemModstamp, LastActivityDate FROM "
        f"Account WHERE Id IN ('{one}', '{two}', '{three}') ORDER BY Id"
    )
    job = http.job(soql)
    http.finish(job)
    (page,) = http.download(job)
    stamp = "2026-09-12T04:49:00.000Z"
    lines = text(page).split("\n")
    assert (
        lines[0]
        == '"Id","Name","AnnualRevenue","IsDeleted","NumberOfEmployees","SystemModstamp","LastActivityDate"'
    )
    assert lines[1] == f'"{one}","say ""hi"", she'
    assert lines[2].startswith('said","1.6147805824397E13","false",')
    assert lines[3].startswith(f'"{two}","NA","0.0","false","5","{stamp}",')
    assert lines[4].startswith(f'"{three}","null","1234.5","false",')
    assert lines[4].endswith(f'"{stamp}",""')
    assert lines[5:] == [""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (100.0, "100.0"),
        (1234.56, "1234.56"),
        (9_999_999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (16147805824397.0, "1.6147805824397E13"),
        (-12345678.25, "-1.234567825E7"),
        (0.001, "0.001"),
        (0.0005, "5.0E-4"),
    ],
)
def test_doubles_are_written_as_java_does(value, text):
    assert java_double(value) == text


def test_delimiters_line_ends_and_the_zone_of_datetimes_can_be_chosen(org):
    with SalesforceServer(org, NOW, bulk_datetime_zone="+0000") as server:
        http = Http(server)
        job = http.job("SELECT Id, CreatedDate FROM Account LIMIT 2", columnDelimiter="PIPE", lineEnding="CRLF")
        assert http.finish(job)["columnDelimiter"] == "PIPE"
        (page,) = http.download(job)
    header, first, second, end = page.content.decode().split("\r\n")
    assert header == '"Id"|"CreatedDate"'
    for line in (first, second):
        assert re.fullmatch(r'"001\w{15}"\|"[\d-]{10}T[\d:]{8}\.000\+0000"', line)
    assert end == ""


def test_jobs_are_aborted_and_deleted(http):
    job = http.job("SELECT Id FROM Account")
    path = f"jobs/query/{job}"
    assert http.call("DELETE", path).status_code == 400
    aborted = http.call("PATCH", path, json={"state": "Aborted"})
    assert (aborted.status_code, aborted.json()["state"]) == (200, "Aborted")
    assert http.ok(path)["state"] == "Aborted"
    assert http.get(f"{path}/results").json()[0]["errorCode"] == "INVALIDJOBSTATE"
    gone = http.call("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert http.get(path).status_code == 404
    finished = http.job("SELECT Id FROM Account")
    http.finish(finished)
    late = http.call("PATCH", f"jobs/query/{finished}", json={"state": "Aborted"})
    assert (late.status_code, late.json()[0]["errorCode"]) == (400, "INVALIDJOBSTATE")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"operation": "query", "query": "SELECT Id FROM ForecastingItem"}, "INVALIDENTITY"),
        ({"operation": "query", "query": "SELECT COUNT(Id) FROM Account"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT COUNT() FROM Account"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT Id FROM Account LIMIT 1 OFFSET 1"}, "API_ERROR"),
        ({"operation": "query", "query": "SELECT Id FORM Account"}, "MALFORMED_QUERY"),
        ({"operation": "query", "query": "SELECT Nothing FROM Account"}, "INVALID_FIELD"),
        ({"operation": "insert", "query": "SELECT Id FROM Account"}, "INVALIDOPERATION"),
        ({"operation": "query"}, "INVALIDQUERY"),
        ({"operation": "query", "query": "SELECT Id FROM Account", "lineEnding": "CR"}, "INVALIDJOB"),
    ],
)
def test_what_bulk_does_not_do_is_refused_at_creation(server, http, body, code):
    reply = http.call("POST", "jobs/query", json=body)
    assert (reply.status_code, reply.json()[0]["errorCode"]) == (400, code)
    if code == "INVALIDENTITY":
        assert "is not supported by the Bulk API" in reply.json()[0]["message"]
    assert http.ok("jobs/query")["records"] == []


def test_a_body_sent_in_chunks_is_read(http):
    body = json.dumps({"operation": "query", "query": "SELECT Id FROM Account"}).encode()
    pieces = (body[i : i + 7] for i in range(0, len(body), 7))
    headers = {"Content-Type": "application/json"}
    assert http.call("POST", "jobs/query", data=pieces, headers=headers).json()["object"] == "Account"
    broken = http.call("POST", "jobs/query", data=b"{", headers=headers)
    assert (broken.status_code, broken.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")


# Faults


@pytest.fixture
def pages(server, http):
    """A finished job whose results take several pages, and a function that gets the second."""
    server.bulk_page_rows = 100
    job = http.job("SELECT Id, Name FROM Contact")
    http.finish(job)
    path = f"jobs/query/{job}/results"
    first = http.get(path)
    locator = first.headers["Sforce-Locator"]
    whole = http.get(path, locator=locator)
    assert int(whole.headers["Sforce-NumberOfRecords"]) == 100
    return whole, lambda: http.get(path, locator=locator)


SECOND = r"results.*locator="


def test_a_session_expires_in_the_middle_of_a_download(server, http, pages):
    whole, second = pages
    server.faults.add(Fault.SESSION_EXPIRED, match=SECOND)
    expired = second()
    assert (expired.status_code, expired.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
    assert second().status_code == 401
    http.login()
    assert second().content == whole.content


@pytest.mark.parametrize("status", [500, 502, 503, 429, 420, 406])
def test_http_errors_pass(server, http, pages, status):
    whole, second = pages
    server.faults.add(Fault.HTTP_ERROR, match=SECOND, status=status, retry_after=3)
    broken = second()
    assert (broken.status_code, broken.headers["Retry-After"]) == (status, "3")
    if status == 406:
        assert broken.content == b""
    assert second().content == whole.content


@pytest.mark.parametrize("kind", [Fault.RESET, Fault.RESET_IN_BODY, Fault.CLOSED_IN_BODY])
def test_connections_break(server, http, pages, kind):
    whole, second = pages
    server.faults.add(kind, match=SECOND)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        second()
    assert second().content == whole.content
    server.faults.add(kind, match="limits")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        http.get("limits")
    assert http.get("limits").status_code == 200


@pytest.mark.parametrize("kind", [Fault.RESET_IN_BODY, Fault.CLOSED_IN_BODY])
def test_part_of_the_body_comes_before_the_break(server, http, pages, kind):
    _, second = pages
    server.faults.add(kind, match=SECOND)
    http.session.headers["Accept-Encoding"] = "identity"
    reply = requests.get(
        f"{server.url}{BASE}/{server.log[-1].path.removeprefix(BASE + '/')}",
        params={"locator": "MTAw"},
        headers=dict(http.session.headers),
        stream=True,
        timeout=30,
    )
    assert reply.status_code == 200
    received = b""
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        for piece in reply.iter_content(64):
            received += piece
    assert received.startswith(b'"Id","Name"\n')
    assert second().status_code == 200


def test_a_truncated_body_looks_whole(server, http, pages):
    whole, second = pages
    server.faults.add(Fault.TRUNCATED, match=SECOND)
    cut = second()
    assert cut.status_code == 200
    assert cut.headers["Sforce-NumberOfRecords"] == "100"
    assert cut.content == whole.content[: len(whole.content) // 2]
    assert second().content == whole.content
    server.faults.add(Fault.TRUNCATED, match="/query ")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        http.get("query", q="SELECT Id FROM Account").json()


def test_a_page_is_short_of_records(server, http, pages):
    whole, second = pages
    server.faults.add(Fault.SHORT_PAGE, match=SECOND, records=3)
    short = second()
    assert short.headers["Sforce-NumberOfRecords"] == "100"
    assert short.headers["Sforce-Locator"] == whole.headers["Sforce-Locator"]
    assert text(short).splitlines() == text(whole).splitlines()[:-3]
    server.faults.add(Fault.SHORT_PAGE, match="query/01g")
    soql = "SELECT Id FROM OpportunityFieldHistory"
    first = http.ok("query", q=soql)
    assert len(http.ok(first["nextRecordsUrl"])["records"]) == 1999
    assert len(http.ok(first["nextRecordsUrl"])["records"]) == 2000


def test_html_may_come_with_200(server, http):
    server.faults.add(Fault.NOT_JSON, match="describe")
    reply = http.get("sobjects/Account/describe")
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        reply.json()
    assert fields_of(http, "Account")


def test_a_job_fails_or_is_aborted(server, http):
    server.faults.add(Fault.FAILED_JOB, match="FROM Account", message="InternalServerError : no")
    failed = http.finish(http.job("SELECT Id FROM Account"))
    assert (failed["state"], failed["errorMessage"]) == ("Failed", "InternalServerError : no")
    assert failed["numberRecordsProcessed"] == 0
    server.faults.add(Fault.ABORTED_JOB, match="GET .*jobs/query/750")
    assert http.finish(http.job("SELECT Id FROM Account"))["state"] == "Aborted"
    server.faults.add(Fault.QUERY_TIMEOUT, match="POST .*jobs/query")
    late = http.finish(http.job("SELECT Id FROM Account"))
    assert late["state"] == "Failed"
    assert "QUERY_TIMEOUT" in late["errorMessage"]
    assert http.finish(http.job("SELECT Id FROM Account"))["state"] == "JobComplete"


def test_a_query_takes_too_long(server, http):
    server.faults.add(Fault.QUERY_TIMEOUT, match="FROM Task")
    assert http.ok("query", q="SELECT Id FROM Account")["totalSize"]
    timeout = (400, "QUERY_TIMEOUT", "Your query request was running for too long.")
    assert http.error("query", q="SELECT Id FROM Task") == timeout
    assert http.ok("query", q="SELECT Id FROM Task")["totalSize"]


def test_the_limit_is_reached_for_one_request(server, http):
    server.faults.add(Fault.LIMIT_REACHED, match="describe")
    limit = (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    assert http.error("sobjects/Account/describe") == limit
    assert http.get("sobjects/Account/describe").status_code == 200


def test_a_right_is_missing_for_one_request(server, http):
    server.faults.add(Fault.HIDDEN, match="describe", object="Account", field="Name")
    assert "Name" not in fields_of(http, "Account")
    assert "Name" in fields_of(http, "Account")
    server.faults.add(Fault.HIDDEN, match="/query ", times=2, object="Account")
    assert http.error("query", q="SELECT Id FROM Account")[1] == "INVALID_TYPE"
    assert http.values("SELECT Id FROM Lead")
    assert http.values("SELECT Id FROM Account")
    with pytest.raises(ValueError, match="needs the object"):
        server.faults.add(Fault.HIDDEN)


def test_the_servers_clock_runs_ahead(server, http):
    server.faults.add(Fault.CLOCK_SKEW, match="/query ", ahead=timedelta(days=4))
    reply = http.get("query", q="SELECT MAX(SystemModstamp) latest FROM Task")
    assert parsedate_to_datetime(reply.headers["Date"]) == NOW + timedelta(days=4)
    assert reply.json()["records"][0]["latest"] > NOW.isoformat()
    again = http.get("query", q="SELECT MAX(SystemModstamp) latest FROM Task")
    assert parsedate_to_datetime(again.headers["Date"]) == NOW
    assert again.json()["records"][0]["latest"] < NOW.isoformat()


def test_a_reply_is_slow(server, http):
    server.faults.add(Fault.SLOW, match="limits", seconds=0.4)
    with pytest.raises(requests.Timeout):
        http.session.get(f"{server.url}{BASE}/limits", timeout=0.1)
    assert http.get("limits").status_code == 200


def test_faults_come_after_so_many_and_so_often(server, http):
    server.faults.add(Fault.HTTP_ERROR, match="limits", after=2, times=2)
    assert [http.get("limits").status_code for _ in range(6)] == [200, 200, 503, 503, 200, 200]
    assert server.faults.pending == []
    server.faults.add(Fault.HTTP_ERROR, match=lambda request: request.object == "Lead", times=None)
    assert [http.get(f"sobjects/{name}/describe").status_code for name in ("Lead", "Account", "Lead")] == [
        503,
        200,
        503,
    ]
    server.faults.clear()
    assert http.get("sobjects/Lead/describe").status_code == 200
    server.faults.add(Fault.HTTP_ERROR, match="oauth2/token")
    login = token(server, {"grant_type": "client_credentials"})
    assert login.status_code == 503


def test_random_faults_are_the_same_for_a_seed(org):
    def run(seed, objects, count=120):
        with SalesforceServer(org, NOW) as server:
            http = Http(server)
            kinds = [kind for kind in TRANSIENT if kind is not Fault.SESSION_EXPIRED]
            server.faults.random(seed=seed, probability=0.3, kinds=kinds)

            def ask(object_):
                session = requests.Session()
                session.headers.update(http.session.headers)
                for _ in range(count):
                    try:
                        session.get(
                            f"{server.url}{BASE}/query", params={"q": f"SELECT Id FROM {object_}"}, timeout=30
                        )
                    except requests.RequestException:
                        session.close()

            threads = [threading.Thread(target=ask, args=(object_,)) for object_ in objects]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return {o: [e.fault for e in server.log if e.object == o] for o in objects}

    together = run(7, ["Account", "Lead"])
    assert run(7, ["Lead"])["Lead"] == together["Lead"]
    assert run(8, ["Lead"])["Lead"] != together["Lead"]
    for faults in together.values():
        share = sum(fault is not None for fault in faults) / len(faults)
        assert 0.18 < share < 0.36
        runs = [len(list(group)) for broken, group in itertools.groupby(f is not None for f in faults) if broken]
        assert max(runs) <= 2
    seen = Counter(fault for faults in together.values() for fault in faults if fault)
    assert set(seen) == {kind.name for kind in TRANSIENT} - {"SESSION_EXPIRED"}


def test_a_patient_client_gets_through_random_faults(server, http):
    """Whoever asks again until the page is whole gets what there is."""
    soql = "SELECT Id FROM OpportunityFieldHistory"
    expected = http.values(soql)
    server.faults.random(seed=5, probability=0.5)
    found, path, params = [], "query", {"q": soql}
    for _ in range(100):
        try:
            reply = http.get(path, **params)
            if reply.status_code == 401:
                while not http.login():
                    pass
                continue
            page = reply.json()
        except requests.RequestException:
            continue
        if reply.status_code != 200 or len(page["records"]) < min(2000, len(expected) - len(found)):
            continue
        found += [record["Id"] for record in page["records"]]
        if page["done"]:
            break
        path, params = page["nextRecordsUrl"], {}
    assert found == expected
    assert sum(entry.fault is not None for entry in server.log) > 3


def test_the_log_says_what_was_asked(server, http):
    http.get("query", q="SELECT Id FROM Account")
    job = http.job("SELECT Id FROM Lead")
    server.faults.add(Fault.RESET, match=job)
    with pytest.raises(requests.ConnectionError):
        http.get(f"jobs/query/{job}")
    login, query, made, reset = server.log
    assert (login.endpoint, login.method, login.status) == ("token", "POST", 200)
    assert (query.endpoint, query.path, query.params, query.object, query.soql, query.status) == (
        "query",
        f"{BASE}/query",
        {"q": "SELECT Id FROM Account"},
        "Account",
        "SELECT Id FROM Account",
        200,
    )
    assert (made.endpoint, made.object, made.soql) == ("job_create", "Lead", "SELECT Id FROM Lead")
    assert (reset.endpoint, reset.object, reset.status, reset.fault) == ("job_status", "Lead", None, "RESET")


def test_the_servers_own_faults_come_out(org):
    with pytest.raises(ExceptionGroup) as broke, SalesforceServer(org, NOW) as server:
        http = Http(server)
        server.objects.org = None
        assert http.error("query", q="SELECT Id FROM Account")[0] == 500
    assert isinstance(broke.value.exceptions[0], AttributeError)


# Clients that nobody here wrote


def foreign(server):
    return Salesforce(
        consumer_key=server.app.consumer_key,
        consumer_secret=server.app.consumer_secret,
        domain="local.my",
        session=loopback_session(server.url),
    )


def test_simple_salesforce_reads_the_org(server, org):
    client = foreign(server)
    assert len(client.describe()["sobjects"]) == len(TABLES) + 1
    assert client.Account.describe()["name"] == "Account"
    assert client.limits()["DailyApiRequests"]["Max"] == 100_000
    assert client.api_usage["api-usage"].total == 100_000
    frame = snapshot_at(org, TABLES["OpportunityFieldHistory"], NOW)
    shown = frame.filter(~pl.col("is_deleted"))
    soql = "SELECT Id, NewValue FROM OpportunityFieldHistory"
    by_rest = {r["Id"]: r["NewValue"] for r in client.query_all_iter(soql)}
    assert by_rest == dict(shown.select("id", "new_value").rows())
    by_rest_all = {r["Id"] for r in client.query_all_iter("SELECT Id FROM Task", include_deleted=True)}
    assert by_rest_all == set(snapshot_at(org, TABLES["Task"], NOW)["id"])
    pages = list(client.bulk2.OpportunityFieldHistory.query(soql, max_records=5000, wait=0.01))
    assert len(pages) == -(-shown.height // 5000)
    by_bulk = {r["Id"]: r["NewValue"] or None for page in pages for r in csv.DictReader(io.StringIO(page))}
    assert by_bulk == by_rest
    start = NOW - timedelta(days=14)
    gone = {entry["id"] for entry in client.Task.deleted(start, NOW)["deletedRecords"]}
    recent = snapshot_at(org, TABLES["Task"], NOW).filter(
        pl.col("is_deleted") & (pl.col("system_modstamp") >= start)
    )
    assert gone == set(recent["id"])


def test_simple_salesforce_logs_in_by_jwt(jwt_server, keys):
    client = Salesforce(
        username=jwt_server.app.username,
        consumer_key=jwt_server.app.consumer_key,
        privatekey=keys[0],
        session=loopback_session(jwt_server.url),
    )
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] > 0


def test_simple_salesforce_understands_the_errors(server):
    client = foreign(server)
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        client.query("SELECT Id FORM Account")
    server.expire_sessions()
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] > 0
    server.expire_sessions()
    with pytest.raises(SalesforceExpiredSession):
        list(client.bulk2.Account.query("SELECT Id FROM Account"))


@pytest.fixture(scope="module")
def jsforce(tmp_path_factory):
    """A folder in which Node finds jsforce."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("jsforce needs node and npm")
    folder = tmp_path_factory.mktemp("jsforce")
    command = [
        "npm",
        "install",
        "--no-package-lock",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        JSFORCE,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"npm can't install {JSFORCE}: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return folder


JSFORCE_SCRIPT = """
const jsforce = require('jsforce');
(async () => {
  const [url, clientId, clientSecret, start, end] = process.argv.slice(2);
  const conn = new jsforce.Connection({
    instanceUrl: url, oauth2: { clientId, clientSecret, loginUrl: url }, version: '59.0',
  });
  await conn.authorize({ grant_type: 'client_credentials' });
  const out = {};
  out.objects = (await conn.describeGlobal()).sobjects.map((o) => o.name);
  out.fields = (await conn.sobject('Opportunity').describe()).fields.map((f) => f.name);
  out.usage = conn.limitInfo.apiUsage;
  const options = { autoFetch: true, maxFetch: 100000 };
  const history = 'SELECT Id, NewValue FROM OpportunityFieldHistory';
  out.rest = (await conn.query(history, options)).records.map((r) => [r.Id, r.NewValue]);
  out.found = (await conn.sobject('Opportunity')
    .find({ IsWon: true, CloseDate: { $gte: jsforce.Date.toDateLiteral('2026-01-01') } }, ['Id'])
    .limit(10000)).map((r) => r.Id);
  out.all = (await conn.query('SELECT Id FROM Task', { ...options, scanAll: true })).records.map((r) => r.Id);
  conn.bulk2.pollInterval = 20;
  const stream = await conn.bulk2.query(history, { pollInterval: 20, pollTimeout: 20000 });
  out.bulk = (await stream.toArray()).map((r) => [r.Id, r.NewValue || null]);
  out.deleted = (await conn.sobject('Task').deleted(start, end)).deletedRecords.map((r) => r.id);
  try { await conn.query('SELECT Nothing FROM Account'); } catch (e) { out.error = e.errorCode; }
  process.stdout.write(JSON.stringify(out));
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.nightly
def test_jsforce_reads_the_org(server, org, jsforce):
    # jsforce mixes the pages of a result up: it reads the next while the one before still flows.
    (jsforce / "read.js").write_text(JSFORCE_SCRIPT)
    start = NOW - timedelta(days=14)
    span = start.isoformat(), NOW.isoformat()
    done = subprocess.run(
        ["node", "read.js", server.url, server.app.consumer_key, server.app.consumer_secret, *span],
        cwd=jsforce,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert set(out["objects"]) == {*TABLES, "CurrencyType"}
    assert "Competitor__c" in out["fields"]
    assert out["usage"]["limit"] == 100_000
    history = snapshot_at(org, TABLES["OpportunityFieldHistory"], NOW).filter(~pl.col("is_deleted"))
    expected = dict(history.select("id", "new_value").rows())
    assert len(out["rest"]) == len(expected)
    assert dict(out["rest"]) == expected
    assert len(out["bulk"]) == len(expected)
    assert dict(out["bulk"]) == expected
    deals = snapshot_at(org, TABLES["Opportunity"], NOW)
    won = deals.filter(~pl.col("is_deleted") & pl.col("is_won") & (pl.col("close_date") >= pl.date(2026, 1, 1)))
    assert set(out["found"]) == set(won["id"])
    assert won.height
    tasks = snapshot_at(org, TABLES["Task"], NOW)
    assert set(out["all"]) == set(tasks["id"])
    gone = tasks.filter(pl.col("is_deleted") & (pl.col("system_modstamp") >= start))
    assert set(out["deleted"]) == set(gone["id"])
    assert out["error"] == "INVALID_FIELD"


# As a process


@pytest.mark.slow
def test_it_runs_as_a_process():
    command = [sys.executable, "-m", "gtm_assets_tests.salesforce_server", "--scale", "0.001"]
    process = subprocess.Popen(
        [*command, "--at", "2026-09-12T04:49:00Z"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    try:
        said = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
        grant = {"grant_type": "client_credentials"}
        reply = requests.post(
            f"{said['url']}/services/oauth2/token",
            grant,
            auth=(said["consumer_key"], said["consumer_secret"]),
            timeout=30,
        )
        headers = {"Authorization": f"Bearer {reply.json()['access_token']}"}
        query = {"q": "SELECT MAX(SystemModstamp) latest FROM Task"}
        found = requests.get(f"{said['url']}{BASE}/query", query, headers=headers, timeout=60).json()
        assert "2026-09-11" <= found["records"][0]["latest"] < "2026-09-12T04:49"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_it_listens_on_the_loopback_only(server):
    assert server.url.startswith("http://127.0.0.1:")
    assert server._http.server_address[0] == "127.0.0.1"
