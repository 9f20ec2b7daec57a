"""SCD type 2: the histories equal an oracle written in plain Python, for thousands of records in one build."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import groupby

import polars as pl
import pytest

from gtm_assets.sources.raw_table import RawTable
from gtm_assets_tests.dbt_harness import CREATED, TABLES, Home, account, at, contact, partition, user

RECORDS = 1500
DAYS = range(2, 9)
ACCOUNT = {
    "account_name": "name",
    "industry": "industry",
    "account_type": "type",
    "segment": "segment_c",
    "owner_user_id": "owner_id",
    "billing_country": "billing_country",
    "annual_revenue_band": "annual_revenue",
}
CONTACT = {"account_id": "account_id", "title": "title", "department": "department", "owner_user_id": "owner_id"}
USER = {
    "division": "division",
    "audit_phase_c": "audit_phase_c",
    "user_role_id": "user_role_id",
    "manager_user_id": "manager_id",
    "is_active": "is_active",
}
BANDS = {None: None, 5: "Under 1M", 6: "Under 1M", 1_000_000: "1M to 10M"}
CHOICES = {"annual_revenue": list(BANDS), "is_active": [True, False, None]}


def change_log(rng: random.Random, make, tracked: dict[str, str], delete_mark: str) -> dict[int, list[dict]]:
    """Random versions by the partition in which they are found: ties, repeats, deletes, late ones, A → B → A."""
    log: dict[int, list[dict]] = {day: [] for day in DAYS}
    for number in range(RECORDS):
        created = rng.choice([CREATED, None, at(1), at(4)])
        for _ in range(rng.randint(1, 6)):
            day = rng.choice(DAYS)
            # Few distinct instants, so that many versions have an equal time; some found days later.
            found = min(day + rng.choice([0, 0, 0, 2]), DAYS[-1])
            version = make(number, at(day, rng.choice([2, 4])), created_date=created)
            for column in tracked.values():
                if rng.random() < 0.25:
                    version[column] = rng.choice(CHOICES.get(column, ["a", "b", None]))
            version[delete_mark] = rng.random() < 0.2
            # Not tracked: carried with its last value.
            version["email" if "email" in TABLES["user"].types and make is user else "created_by_id"] = rng.choice(
                "xy"
            )
            log[found].append(version)
            if rng.random() < 0.1:
                log[min(found + 1, DAYS[-1])].append(version)
    return log


def oracle(versions: list[dict], table: RawTable, tracked: dict[str, str]) -> list[dict]:
    """The history of one record. ``versions`` are those of the lake, each with its first partition."""
    deleted = table.deletes.value

    def newness(version):
        return (version["system_modstamp"], version["_partition"], version[deleted], version["_version_hash"])

    at_one_time = [
        list(group)[-1] for _, group in groupby(sorted(versions, key=newness), key=lambda v: newness(v)[0])
    ]
    history: list[dict] = []
    before = None
    for version in at_one_time:
        values = {name: version[column] for name, column in tracked.items()}
        if "annual_revenue_band" in values:
            amount = values["annual_revenue_band"]
            values["annual_revenue_band"] = BANDS[None if amount is None else int(amount)]
        state = (values, version[deleted])
        if state != before:
            history.append({**values, "is_deleted": version[deleted], "valid_from": version["system_modstamp"]})
        history[-1]["last"] = version
        before = state
    created = min((v["created_date"] for v in versions if v["created_date"]), default=None)
    if created:
        history[0]["valid_from"] = min(created, history[0]["valid_from"])
    for row, after in zip(history, [*history[1:], None], strict=True):
        row["valid_to"] = after["valid_from"] if after else None
        row["is_current"] = after is None
    return history


def lake_versions(home: Home, table: RawTable) -> dict[str, list[dict]]:
    """Each version once, with the first partition that it is in, by record."""
    versions: dict[str, dict[str, dict]] = {}
    for batch in home.lake.batches(table):
        for row in pl.read_parquet(batch.path, hive_partitioning=False).iter_rows(named=True):
            known = versions.setdefault(row["id"], {})
            known.setdefault(row["_version_hash"], row | {"_partition": batch.partition})
    return {id_: list(found.values()) for id_, found in versions.items()}


@pytest.mark.parametrize(
    ("table", "make", "tracked"),
    [("account", account, ACCOUNT), ("contact", contact, CONTACT), ("user", user, USER)],
    ids=["account", "contact", "user"],
)
def test_histories_equal_the_oracle_in_any_order_of_arrival(tmp_path, table, make, tracked):
    raw_table, model, id_ = TABLES[table], f"dim_{table}_scd2", f"{table}_id"
    rng = random.Random(table)
    log = change_log(rng, make, tracked, raw_table.deletes.value)
    home = Home(tmp_path / "gtm")
    days = list(DAYS)
    rng.shuffle(days)
    for landed in (days[:3], days[3:]):
        for day in landed:
            home.land(table, partition(day), *log[day])
        home.build(f"int_{table}_versions", model)

    names = [id_, *tracked, "is_deleted", "valid_from", "valid_to", "is_current"]
    found = home.rows(
        f"select {', '.join(names)} from gtm_core.{model} where {id_} <> 'unknown'"
        f" order by {id_}, valid_from, valid_to"
    )
    expected = []
    for record, versions in sorted(lake_versions(home, raw_table).items()):
        expected += [(record, *(row[n] for n in names[1:])) for row in oracle(versions, raw_table, tracked)]
    assert len(expected) > 2 * RECORDS
    assert found == expected

    keys = home.rows(f"select count(*), count(distinct _scd_id) from gtm_core.{model}")[0]
    assert keys[0] == keys[1]


def test_the_key_of_a_version_stays_when_an_earlier_one_arrives_late(tmp_path):
    home = Home(tmp_path / "gtm")
    models = ["int_account_versions", "dim_account_scd2"]
    home.land("account", partition(5), account(1, at(5), industry="b", created_date=at(2)))
    home.land("account", partition(6), account(1, at(6), industry="a", created_date=at(2)))
    home.build(*models)
    keys = home.rows("select valid_from, _scd_id from gtm_core.dim_account_scd2 order by 1")
    home.land("account", partition(3), account(1, at(3), industry="a", created_date=at(2)))
    home.build(*models)

    after = home.rows("select valid_from, _scd_id from gtm_core.dim_account_scd2 order by 1")
    assert [row[0] for row in after[1:]] == [at(2), at(5), at(6)]
    assert after[1] == keys[1] and after[3] == keys[2]


def test_untracked_columns_carry_the_value_that_they_had_last_within_the_version(tmp_path):
    home = Home(tmp_path / "gtm")
    home.land("account", partition(2), account(1, at(2), rating="Cold"), account(1, at(2, 7), rating="Hot"))
    home.land("account", partition(3), account(1, at(3), rating=None, industry="new"))
    home.build("int_account_versions", "dim_account_scd2")

    rows = home.rows(
        "select rating, valid_from, valid_to from gtm_core.dim_account_scd2 where account_id like '001%'"
    )
    assert sorted(rows, key=lambda row: row[1]) == [("Hot", CREATED, at(3)), (None, at(3), None)]
    assert at(3) - at(2) == timedelta(days=1)
