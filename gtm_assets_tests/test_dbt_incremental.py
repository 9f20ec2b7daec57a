"""Incremental equals full refresh, after any sequence of landings and of models built alone or together."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from gtm_assets_tests.dbt_harness import CREATED, Home, account, at, contact, empty_tables, partition, task, user

TABLES = {"account": account, "user": user, "contact": contact, "task": task}
MODELS = [
    *(f"base_salesforce__{table}" for table in TABLES),
    "int_account_versions",
    "dim_account_scd2",
    "fct_task",
]
ALONE = ["base_salesforce__task", "base_salesforce__user", "int_account_versions", "dim_account_scd2", "fct_task"]
DAYS = range(2, 10)


def id_of(make, number: int | None) -> str | None:
    return None if number is None else make(number, CREATED)["id"]


def random_record(rng: random.Random, table: str, day: int) -> dict:
    """A version of one of few records, with few distinct instants, so that ties and references abound."""
    modified = at(max(1, day - rng.choice([0, 0, 0, 1, 4])), rng.choice([1, 2]))
    deleted = rng.random() < 0.15
    if table == "account":
        changes = {"industry": rng.choice(["a", "b", None]), "is_deleted": deleted}
        return account(rng.randrange(6), modified, created_date=rng.choice([CREATED, at(4)]), **changes)
    if table == "user":
        return user(rng.randrange(4), modified, division=rng.choice("ab"), _fivetran_deleted=deleted)
    if table == "contact":
        return contact(rng.randrange(4), modified, title=rng.choice("ab"), is_deleted=deleted)
    closed = rng.random() < 0.5
    return task(
        rng.randrange(25),
        modified,
        owner_id=id_of(user, rng.choice([0, 1, 2, 3, 9, None])),
        account_id=id_of(account, rng.choice([0, 1, 2, 3, 4, 5, 9, None])),
        who_id=id_of(contact, rng.choice([0, 1, 2, 3, 9, None])),
        is_closed=closed,
        completed_date_time=rng.choice([at(rng.choice(DAYS)), None]) if closed else None,
        is_deleted=deleted,
    )


@pytest.mark.parametrize("seed", range(2))
def test_incremental_equals_full_refresh_after_random_landings_and_builds(tmp_path, seed):
    rng = random.Random(seed)
    home = Home(tmp_path / "gtm")
    empty_tables(home, *TABLES)
    home.build(*MODELS, "stg_salesforce__task", "stg_salesforce__user", "stg_salesforce__contact")
    landed = []
    for _step in range(5):
        for table in ("task", *rng.choices(list(TABLES), k=2)):
            if landed and rng.random() < 0.2:
                table, day, records = rng.choice(landed)
            else:
                day = rng.choice(DAYS)
                records = [random_record(rng, table, day) for _ in range(rng.randint(1, 12))]
                landed.append((table, day, records))
            home.land(table, partition(day), *records)
        home.build(*rng.choice([MODELS, rng.sample(ALONE, 1), rng.sample(ALONE, 2)]))
    home.build(*MODELS)

    full = home.twin("full")
    full.build(*MODELS, "stg_salesforce__task", "stg_salesforce__user", "stg_salesforce__contact")
    for model in MODELS:
        assert home.table(model) == full.table(model), f"{model}, seed {seed}"
    assert full.rows("select count(*) from gtm_core.fct_task")[0][0] > 5


def test_a_task_follows_its_owner_account_and_contact_when_they_come_change_and_go(tmp_path):
    home = Home(tmp_path / "gtm")
    empty_tables(home, *TABLES)
    references = {"owner_id": id_of(user, 1), "account_id": id_of(account, 1), "who_id": id_of(contact, 1)}
    home.land("task", partition(2), task(1, at(2), **references))
    home.land("task", partition(2), task(2, at(2), **references, is_closed=True, completed_date_time=at(4)))
    home.build("+fct_task")
    seen = [keys(home)]

    home.land("user", partition(3), user(1, at(3)))
    home.land("contact", partition(3), contact(1, at(3)))
    home.land("account", partition(3), account(1, at(3)))
    home.build("+fct_task")
    seen.append(keys(home))

    home.land("account", partition(5), account(1, at(5), industry="new"))
    home.build("+fct_task")
    seen.append(keys(home))
    home.land("user", partition(6), user(1, at(6), _fivetran_deleted=True))
    home.build("+fct_task")
    seen.append(keys(home))

    first, second = home.rows(
        "select account_key from gtm_core.dim_account_scd2 where account_id <> 'unknown' order by valid_from"
    )
    user_key, contact_key = seen[1][1][0], seen[1][1][2]
    assert seen[0] == {1: ("unknown",) * 3, 2: ("unknown",) * 3}
    assert seen[1] == {1: (user_key, first[0], contact_key), 2: (user_key, first[0], contact_key)}
    # The open task is with the account as it is now, the completed one with the account as it was then.
    assert seen[2] == {1: (user_key, second[0], contact_key), 2: (user_key, first[0], contact_key)}
    assert seen[3] == {1: ("unknown", second[0], contact_key), 2: ("unknown", first[0], contact_key)}
    assert "unknown" not in seen[1][1]


def test_a_late_batch_that_makes_an_older_version_the_newest_reaches_the_fact(tmp_path):
    """Of two versions with one cursor the later partition's wins, until it turns out to have come first."""
    home = Home(tmp_path / "gtm")
    empty_tables(home, *TABLES)
    # Late: known partitions hold it back from being landed twice, so each lands before the earlier ones.
    for day, subject in ((5, "first"), (4, "second"), (3, "first")):
        home.land("task", partition(day), task(1, at(2), subject=subject, priority=subject))
        home.build("+fct_task")

    assert home.rows("select subject from gtm_staging.stg_salesforce__task") == [("second",)]
    assert home.rows("select priority from gtm_core.fct_task") == [("second",)]


def test_a_deleted_task_leaves_the_fact_and_comes_back(tmp_path):
    home = Home(tmp_path / "gtm")
    empty_tables(home, *TABLES)
    home.land("task", partition(2), task(1, at(2)), task(2, at(2)))
    home.build("+fct_task")
    home.land("task", partition(3), task(1, at(3), is_deleted=True))
    home.build("+fct_task")
    assert set(keys(home)) == {2}

    home.land("task", partition(4), task(1, at(3) + timedelta(days=1)))
    home.build("+fct_task")
    assert set(keys(home)) == {1, 2}


def keys(home: Home) -> dict[int, tuple[str, str, str]]:
    rows = home.rows("select task_id, owner_user_key, account_key, contact_key from gtm_core.fct_task")
    return {int(id_[3:]): (owner, account_, contact_) for id_, owner, account_, contact_ in rows}
