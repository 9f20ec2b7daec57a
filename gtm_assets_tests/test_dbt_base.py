"""Base models: the newest version of each record, whatever the order in which the versions came."""

import itertools

import duckdb
import pytest

from gtm_assets_tests.dbt_harness import Home, account, as_page, at, parsed, partition

BASE = "base_salesforce__account"


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "gtm")


def newest(home: Home, column: str = "industry") -> dict[int, object]:
    """The column's value in base, by the account's number."""
    return {int(id_[3:]): value for id_, value in home.rows(f"select id, {column} from gtm_staging.{BASE}")}


def test_the_greatest_cursor_wins_also_when_it_came_first(home):
    home.land("account", partition(3), account(1, at(3), industry="new"))
    home.build(BASE)
    home.land("account", partition(2), account(1, at(2), industry="old"))
    home.build(BASE)

    assert newest(home) == {1: "new"}


def test_of_equal_cursors_the_later_partition_wins_then_the_delete_mark_then_the_hash(home):
    tied = [account(2, at(2), industry=text) for text in ("a", "b", "c")]
    home.land("account", partition(2), account(1, at(2), industry="earlier"), *tied)
    home.land("account", partition(2), account(3, at(2), industry="deleted", is_deleted=True))
    home.land("account", partition(2), account(3, at(2), industry="kept"))
    home.land("account", partition(3), account(1, at(2), industry="later"))
    home.build(BASE)

    by_hash = home.rows(
        f"select industry from read_parquet('{home.lake.root}/salesforce/account/*/*.parquet')"
        " where id like '%2' order by _version_hash desc limit 1"
    )
    assert newest(home) == {1: "later", 2: by_hash[0][0], 3: "deleted"}


def test_a_late_tombstone_takes_the_record_out_of_staging_and_stays_in_base(home):
    home.land("account", partition(2), account(1, at(2)), account(2, at(2)))
    home.build(f"{BASE}+1")
    home.land("account", partition(5), account(1, at(2, 7), is_deleted=True))
    home.build(f"{BASE}+1")

    assert newest(home, "is_deleted") == {1: True, 2: False}
    assert home.rows("select account_id from gtm_staging.stg_salesforce__account") == [(f"001{2:015d}",)]


def test_the_order_of_arrival_decides_nothing(home):
    """Three partitions, the same version in two of them, equal cursors, also of after the window's end: one result
    for all six orders.

    Each order has a table of its own, so that the orders share their builds.
    """
    tables = ["account", "campaign", "contact", "lead", "opportunity", "product_2"]
    landings = {
        1: [record(1, at(1), "a"), record(2, at(1), "x")],
        2: [record(1, at(1), "b"), record(2, at(2), "y", is_deleted=True)],
        # Both were there before: a version counts where it came first.
        3: [record(1, at(1), "a"), record(2, at(1), "x")],
    }
    ahead = {
        1: [record(3, at(3), "p"), record(4, at(9), "t")],
        2: [record(3, at(3), "q"), record(4, at(9), "u")],
        3: [record(3, at(3), "p"), record(4, at(9), "t")],
    }
    orders = dict(zip(tables, itertools.permutations(landings), strict=True))
    for step in range(3):
        for table, order in orders.items():
            for found in (landings, ahead):
                home.land(table, partition(order[step]), *found[order[step]])
        home.build(*(f"base_salesforce__{table}" for table in tables))

    for table, order in orders.items():
        rows = home.rows(f"select id, name, is_deleted from gtm_staging.base_salesforce__{table} order by id")
        expected = [("1", "b", False), ("2", "y", True), ("3", "q", False), ("4", "u", False)]
        assert rows == expected, f"{table}: {order}"


def record(number, modified, name, is_deleted=False):
    return {"id": str(number), "name": name, "system_modstamp": modified, "is_deleted": is_deleted}


def test_a_model_that_was_not_built_catches_up_and_nothing_is_opened_twice(home):
    for day in (2, 3, 4):
        home.land("account", partition(day), account(day, at(day)))
        if day != 3:
            home.build(BASE)
    assert newest(home).keys() == {2, 3, 4}

    # What has been consumed is not opened again: these files are no Parquet any more.
    for batch in home.lake.batches():
        batch.path.write_bytes(b"torn")
    home.build(BASE)
    home.land("account", partition(5), account(5, at(5)))
    home.build(BASE)
    assert newest(home).keys() == {2, 3, 4, 5}


def test_a_batch_put_aside_and_put_back_is_read_again_after_a_full_refresh(home):
    home.land("account", partition(2), account(2, at(2)))
    landing = home.land("account", partition(3), account(3, at(3)))
    home.build(BASE)
    path = home.lake.batches()[1].path
    aside = path.rename(path.with_suffix(".unreadable"))
    home.build(BASE, full_refresh=True)
    assert home.consumed(BASE) == {("salesforce.account", "account-2026-01-02-0000")}

    aside.rename(path)
    home.build(BASE)

    assert newest(home).keys() == {2, 3}
    assert ("salesforce.account", landing.batch_id) in home.consumed(BASE)


def test_quarantine_temporary_and_unreadable_files_are_not_listed(home):
    home.land("account", partition(2), account(2, at(2)), account(3, at(2)) | {"id": None})
    folder = home.lake.batches()[0].path.parent
    (folder / ".account-2026-01-02-0001.tmp").write_bytes(b"")
    (folder / "account-2026-01-02-0002.unreadable").write_bytes(b"")
    assert list(home.lake.root.glob("quarantine/*/*/*/*.parquet"))

    home.build(BASE)

    assert home.rows("select source_name, table_name, partition_key, batch_id from gtm_meta.lake_batches") == [
        ("salesforce", "account", partition(2), "account-2026-01-02-0000")
    ]


def test_a_column_that_the_catalogue_gains_later_is_filled_from_the_batches_that_had_it(home):
    """Before it was in the catalogue, the column landed as an unknown one, as text."""
    narrow = parsed().deepcopy()
    del narrow.sources["source.gtm_dbt.salesforce.account"].columns["annual_revenue"]
    narrow.build_flat_graph()
    home.manifest = narrow
    home.land("account", partition(2), account(1, at(2), annual_revenue=12.5))
    path = home.lake.batches()[0].path
    duckdb.sql(
        f"copy (select * replace (cast(annual_revenue as varchar) as annual_revenue) from '{path}')"
        f" to '{path}' (format parquet)"
    )
    home.build(BASE)
    assert "annual_revenue" not in dict(next(iter(home.table(BASE))))

    home.manifest = None
    home.land("account", partition(3), account(2, at(3), annual_revenue=7))
    home.build(BASE)

    assert {k: float(v) for k, v in newest(home, "annual_revenue").items()} == {1: 12.5, 2: 7}
    full = home.twin("full")
    full.build(BASE)
    assert home.table(BASE) == full.table(BASE)


def test_a_column_that_no_file_has_is_null(home):
    landing = home.land("account", partition(2), account(1, at(2)))
    path = home.lake.batches()[0].path
    duckdb.sql(f"copy (select * exclude (segment_c) from '{path}') to '{path}' (format parquet)")
    home.build(BASE)

    assert landing.added == 1
    assert newest(home, "segment_c") == {1: None}


def test_as_of_an_instant_base_is_as_it_was_known_then_and_the_next_run_reads_everything(home):
    home.land("account", partition(2), account(1, at(2), industry="a"))
    home.land("account", partition(3), account(1, at(3), industry="b"), account(2, at(3)))
    # A late record of the partition, known much later.
    home.land("account", partition(3), account(1, at(3, 7), industry="c"), known_at=at(20))

    home.build(BASE, variables={"as_of": "2026-01-04 05:49:00+00"})
    assert newest(home) == {1: "a"}
    home.build(BASE, variables={"as_of": "2026-01-04"})  # its boundary: the end of partition 3
    assert newest(home) == {1: "b", 2: "Energy"}
    assert home.consumed(BASE) == set()

    home.build(BASE)
    assert newest(home) == {1: "c", 2: "Energy"}


def test_dbt_run_by_hand_reads_the_sources_and_their_freshness(home):
    home.land("account", partition(2), account(1, at(2)))
    home.build(BASE)

    shown = home.dbt("show", "--inline", "select id from {{ source('salesforce', 'account') }}")
    fresh = home.dbt("source", "freshness", "--select", "source:salesforce.account")

    assert shown.success, shown.exception
    assert [row[0] for row in shown.result.results[0].agate_table.rows] == [f"001{1:015d}"]
    # Old on any clock: the status says that the newest record was found.
    assert ("account", "error") in [(r.node.name, str(r.status)) for r in fresh.result.results]


def test_pages_of_the_harness_are_typed():
    assert as_page([{"id": "1", "n": None}, {"n": 2}]).rows() == [("1", None), (None, 2)]
