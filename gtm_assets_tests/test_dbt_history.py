"""SCD type 2: the histories equal an oracle written in plain Python, for thousands of records in one build."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from hypothesis import strategies as st

from gtm_assets.catalog.raw_table import RawTable
from gtm_assets.lake.coerce import coerce
from gtm_assets.lake.hashes import version_hash
from gtm_assets_tests.change_logs import Record, examples
from gtm_assets_tests.dbt_harness import (
    CREATED,
    TABLES,
    Home,
    account,
    as_page,
    at,
    contact,
    parsed,
    partition,
    user,
    with_ancestors,
)

HISTORIES = 1000
DAYS = range(2, 9)
TRACKED = {
    "account": {
        "account_name": "name",
        "industry": "industry",
        "account_type": "type",
        "segment": "segment_c",
        "owner_user_id": "owner_id",
        "billing_country": "billing_country",
        "annual_revenue_band": "annual_revenue",
    },
    "contact": {
        "account_id": "account_id",
        "title": "title",
        "department": "department",
        "owner_user_id": "owner_id",
    },
    "user": {
        "division": "division",
        "audit_phase_c": "audit_phase_c",
        "user_role_id": "user_role_id",
        "manager_user_id": "manager_id",
        "is_active": "is_active",
    },
}
"""Columns whose change begins a version, with the raw columns that they come from."""
CARRIED = {
    "account": {
        "parent_account_id": "parent_id",
        "record_type_id": "record_type_id",
        "rating": "rating",
        "account_source": "account_source",
        "website": "website",
        "number_of_employees": "number_of_employees",
        "annual_revenue": "annual_revenue",
        "billing_city": "billing_city",
        "billing_state": "billing_state",
        "currency_iso_code": "currency_iso_code",
        "created_at": "created_date",
    },
    "contact": {
        "reports_to_contact_id": "reports_to_id",
        "contact_name": "name",
        "email": "email",
        "lead_source": "lead_source",
        "mailing_country": "mailing_country",
        "created_at": "created_date",
    },
    "user": {
        "user_name": "name",
        "email": "email",
        "title": "title",
        "department": "department",
        "created_at": "created_date",
    },
}
"""Columns that have the value that they had last within the version."""
MAKE = {"account": account, "contact": contact, "user": user}
VALUES = {
    "annual_revenue": (5, 999_999, 1_000_000, 49_999_999, 250_000_000, 1_000_000_000, None),
    "number_of_employees": (1, 2, None),
    "is_active": (True, False, None),
}
BANDS = {
    1_000_000: "Under 1M",
    10_000_000: "1M to 10M",
    50_000_000: "10M to 50M",
    250_000_000: "50M to 250M",
    1_000_000_000: "250M to 1B",
}


def histories(table: str) -> st.SearchStrategy[tuple[list[Record], list[tuple[int, ...]]]]:
    """Versions of one record, and the days whose partitions find each: its own, later ones, several.

    Two tracked columns change and one that is carried. The time of creation may not be known.
    """

    def vary(columns: dict[str, str]) -> st.SearchStrategy[Record]:
        raw = st.sampled_from([name for name in columns.values() if name != "created_date"])
        return raw.flatmap(
            lambda name: st.lists(
                st.sampled_from(VALUES.get(name, ("a", "b", None))).map(lambda value: {name: value}),
                min_size=6,
                max_size=6,
            )
        )

    moments = st.lists(
        st.tuples(
            st.integers(DAYS[0], DAYS[-1] - 2),
            st.sampled_from([2, 4]),
            st.sampled_from([(0,), (0,), (0, 1), (1,), (2, 0), (2,)]),
            st.sampled_from([False, False, False, None, True]),
        ),
        min_size=1,
        max_size=6,
    )
    created = st.sampled_from([CREATED, None, at(1), at(4)])

    def put_together(drawn) -> tuple[list[Record], list[tuple[int, ...]]]:
        moments, one, other, carried, created_date = drawn
        made, found = [], []
        for number, (day, hours, later, deleted) in enumerate(moments):
            changes = one[number] | other[number] | carried[number]
            mark = {TABLES[table].deletes.value: deleted}
            made.append(MAKE[table](0, at(day, hours), created_date=created_date, **changes | mark))
            found.append(tuple(day + days for days in later))
        return made, found

    return st.tuples(moments, vary(TRACKED[table]), vary(TRACKED[table]), vary(CARRIED[table]), created).map(
        put_together
    )


def oracle(table: str, versions: list[Record]) -> list[Record]:
    """The history of one record, from its versions, each with its hash and the first partition that found it."""
    deleted, id_ = TABLES[table].deletes.value, versions[0]["id"]

    def newness(version: Record):
        return (
            version["system_modstamp"],
            version["_partition_key"],
            bool(version[deleted]),
            version["_version_hash"],
        )

    by_time = groupby(sorted(versions, key=newness), key=lambda version: version["system_modstamp"])
    history: list[Record] = []
    before, created = None, None
    for moment, at_one_time in by_time:
        *_, version = at_one_time
        values = {name: version[column] for name, column in TRACKED[table].items()}
        if "annual_revenue_band" in values:
            values["annual_revenue_band"] = band(values["annual_revenue_band"])
        if version["created_date"]:
            created = min(created or version["created_date"], version["created_date"])
        state = values | {"is_deleted": bool(version[deleted])}
        if state != before:
            history.append(state | {"valid_from": moment})
        history[-1] |= {name: version[column] for name, column in CARRIED[table].items()}
        before = state
    if created:
        history[0]["valid_from"] = min(created, history[0]["valid_from"])
    for row, after in zip(history, [*history[1:], None], strict=True):
        begins = (row["valid_from"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        row |= {
            "_scd_id": md5(f"{id_}|{begins}"),
            f"{table}_id": id_,
            f"{table}_key": md5(f"salesforce|{id_}"),
            "valid_to": after["valid_from"] if after else None,
            "is_current": after is None,
            "source_system": "salesforce",
        }
        if table == "account":
            row |= {"account_key": row["_scd_id"], "is_first": row is history[0]}
        if table == "user":
            row["update_date"] = row["valid_from"]
    return history


def band(amount: int | None) -> str | None:
    if amount is None:
        return None
    return next((name for limit, name in BANDS.items() if amount < limit), "1B and more")


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def first_sightings(raw: RawTable, log: dict[int, list[Record]]) -> dict[str, list[Record]]:
    """Each version once, with its hash and the first partition that found it, by record."""
    versions: dict[str, dict[str, Record]] = defaultdict(dict)
    for day, records in sorted(log.items()):
        hashes = version_hash(coerce(raw, as_page(records)).frame)
        for record, hash_ in zip(records, hashes, strict=True):
            complete = (
                dict.fromkeys(raw.types) | record | {"_version_hash": hash_, "_partition_key": partition(day)}
            )
            versions[record["id"]].setdefault(hash_, complete)
    return {id_: list(found.values()) for id_, found in versions.items()}


@pytest.mark.parametrize(
    "table",
    [
        "account",
        pytest.param("contact", marks=pytest.mark.nightly),
        pytest.param("user", marks=pytest.mark.nightly),
    ],
)
def test_histories_equal_the_oracle_in_any_order_of_arrival(tmp_path, table):
    model, order = f"dim_{table}_scd2", random.Random(table)
    log: dict[int, list[Record]] = {day: [] for day in DAYS}
    for case, (made, found) in enumerate(examples(histories(table), HISTORIES, table)):
        for version, days in zip(made, found, strict=True):
            for day in days:
                log[day].append(version | {"id": MAKE[table](case, CREATED)["id"]})
    home = Home(tmp_path / "gtm")
    # Each day once and some again, in three builds.
    days = [*DAYS, *order.sample(DAYS, 3)]
    order.shuffle(days)
    for landed in (days[:3], days[3:7], days[7:]):
        for day in landed:
            home.land(table, partition(day), *log[day])
        home.build(*with_ancestors(model))

    columns = list(parsed().nodes[f"model.gtm_dbt.{model}"].columns)
    built: dict[str, list[Record]] = defaultdict(list)
    for row in home.rows(f"select {', '.join(columns)} from gtm_core.{model} order by {table}_id, valid_from"):
        built[row[columns.index(f"{table}_id")]].append(dict(zip(columns, row, strict=True)))
    built.pop("unknown", None)
    versions = first_sightings(TABLES[table], log)
    expected = {id_: oracle(table, found) for id_, found in versions.items()}

    assert built.keys() == expected.keys()
    wrong = [id_ for id_ in expected if built[id_] != expected[id_]]
    assert not wrong, story(min(wrong, key=lambda id_: len(versions[id_])), versions, built, expected)
    assert sum(map(len, expected.values())) > 1.8 * HISTORIES


def story(id_: str, versions, built, expected) -> str:
    """The shortest history that came out wrong, readable."""
    plain = MAKE["account"](0, CREATED) | {"id": id_}
    lines = [f"the history of {id_} is wrong. Its versions:"]
    for version in versions[id_]:
        told = {k: v for k, v in version.items() if v is not None and (k, v) not in plain.items()}
        lines.append(f"  {told}")
    same = [
        column
        for column in (*built[id_], *expected[id_])[0]
        if [row[column] for row in built[id_]] == [row[column] for row in expected[id_]]
    ]
    for name, rows in (("built", built[id_]), ("expected", expected[id_])):
        lines += [f"{name}:", *(f"  { {k: v for k, v in row.items() if k not in same} }" for row in rows)]
    return "\n".join(lines)


def test_the_key_of_a_version_stays_when_an_earlier_one_arrives_late(tmp_path):
    home = Home(tmp_path / "gtm")
    models = with_ancestors("dim_account_scd2")
    home.land("account", partition(5), account(1, at(5), industry="b", created_date=at(2)))
    home.land("account", partition(6), account(1, at(6), industry="a", created_date=at(2)))
    home.build(*models)
    keys = home.rows("select valid_from, _scd_id from gtm_core.dim_account_scd2 order by 1")
    home.land("account", partition(3), account(1, at(3), industry="a", created_date=at(2)))
    home.build(*models)

    after = home.rows("select valid_from, _scd_id from gtm_core.dim_account_scd2 order by 1")
    assert [row[0] for row in after[1:]] == [at(2), at(5), at(6)]
    assert after[1] == keys[1] and after[3] == keys[2]
