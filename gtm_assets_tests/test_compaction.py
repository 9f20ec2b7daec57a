"""Compaction: what the lake holds stays, whoever reads, lands or is killed meanwhile."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from gtm_assets import place
from gtm_assets.automation.compaction import compacted_lake_asset
from gtm_assets.catalog.raw_table import ColumnType
from gtm_assets.checks import raw as raw_checks
from gtm_assets.errors import LakeError
from gtm_assets.lake.store import Lake
from gtm_assets.lake.summary import summarize
from gtm_assets.partitions import Calendar
from gtm_assets.settings import SettingsError, load_settings
from gtm_assets_tests.dbt_harness import TABLES, Home, account, as_page, with_ancestors
from gtm_assets_tests.lake_builders import DEALS, land_in_a_process, page, wait_for, with_type

CALENDAR = Calendar(date(2026, 1, 1), date(2026, 4, 30))
PROCESSES = multiprocessing.get_context("forkserver")
MERGED = "month=2026-01/deal-2026-01-{:04d}.parquet"


def deal(number: int, day: str, **changes: str | None) -> dict[str, str | None]:
    at = CALENDAR.window(day).end - timedelta(hours=1)
    record = {"id": f"006{number:015d}", "name": f"Deal {number}", "amount": f"{number}.25"}
    return record | {"system_modstamp": f"{at:%Y-%m-%dT%H:%M:%S.000Z}", "is_deleted": "false"} | changes


def land(lake: Lake, day: str, *records: dict[str, str | None], table=DEALS):
    window = CALENDAR.window(day)
    return lake.land(table, window, [page(*records)] if records else [], window.end)


def filled(lake: Lake) -> Lake:
    """Batches of three months; of January several of a day, one without records, one with another column."""
    land(lake, "2026-01-01", deal(1, "2026-01-01"), deal(2, "2026-01-01"))
    land(lake, "2026-01-05", deal(3, "2026-01-05"), deal(4, "2026-01-05", amount="no"))
    land(lake, "2026-01-05", deal(1, "2026-01-05", my_field_c="x"))
    land(lake, "2026-01-06")
    land(lake, "2026-01-31", deal(2, "2026-01-31"), deal(5, "2026-01-31"))
    land(lake, "2026-02-03", deal(6, "2026-02-03"))
    land(lake, "2026-02-04", deal(6, "2026-02-04"))
    land(lake, "2026-03-10", deal(7, "2026-03-10"))
    return lake


@pytest.fixture
def lake(tmp_path) -> Lake:
    return filled(Lake(tmp_path / "lake"))


def state(lake: Lake) -> tuple:
    """All that the lake holds: versions with the loader's columns, batches, those without records among them."""
    frame = lake.read(DEALS).collect()
    rows = frame.select(sorted(frame.columns)).sort("_version_hash", "_batch_id").rows()
    return rows, [(b.table, b.partition, b.batch_id) for b in lake.batches()], lake.partitions(DEALS)


def files(lake: Lake) -> list[str]:
    """Files of the table, without its lock."""
    there = place.found(lake.root / "salesforce/deal", "*/*")
    return sorted(f"{path.parent.name}/{path.name}" for path in there if path.name != ".made")


# -- what stays ------------------------------------------------------------------------------------------------


def test_a_closed_months_batches_lie_in_one_file_and_nothing_else_changed(lake):
    before, later = state(lake), [f for f in files(lake) if "2026-01" not in f]

    done = lake.compact(DEALS)
    between = state(lake)
    removed = lake.remove_replaced(DEALS)

    assert (done.batches, done.files_before, done.files_after, removed) == (5, 5, 1, 5)
    assert before == between == state(lake)
    assert files(lake) == [MERGED.format(0).replace(".parquet", ".batches.json"), MERGED.format(0), *later]


def test_when_the_first_records_were_seen_stays_whatever_partition_they_lie_in(lake):
    late = CALENDAR.window("2026-01-02")
    seen = datetime(2026, 1, 1, 12, tzinfo=UTC)
    lake.land(DEALS, late, [page(deal(9, "2026-01-02"))], seen)

    assert lake.known_since() == seen
    assert lake.compact(DEALS).files_after == 1
    lake.remove_replaced(DEALS)
    assert lake.known_since() == seen


def test_a_month_is_merged_when_all_its_days_are_older_than_those_kept(lake):
    """The newest partition is that of 10 March: January lies 38 days before it."""
    assert lake.compact(DEALS, 38).files_after == 0
    assert lake.compact(DEALS, 37).files_after == 1
    assert {batch.partition[:7] for batch in lake.batches() if "month=" in str(batch.path)} == {"2026-01"}


@pytest.mark.parametrize("days", [30, 0, -1])
def test_the_days_that_checks_read_are_never_merged(lake, days):
    before = files(lake)
    with pytest.raises(ValueError, match="31"):
        lake.compact(DEALS, days)
    with pytest.raises(SettingsError, match="GTM_COMPACTION_DAYS"):
        load_settings({"GTM_COMPACTION_DAYS": str(days)})
    assert files(lake) == before


def test_where_there_is_nothing_to_merge_nothing_is_written(lake):
    lake.compact(DEALS)
    lake.remove_replaced(DEALS)
    before = {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()}

    done = lake.compact(DEALS)

    assert (done.batches, done.files_before, done.files_after, lake.remove_replaced(DEALS)) == (0, 0, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()} == before
    assert Lake(lake.root / "elsewhere").compact(DEALS).files_after == 0


def test_a_merged_file_has_the_catalogues_types_and_few_row_groups(lake):
    lake.compact(DEALS)

    merged = pq.ParquetFile(lake.root / "salesforce/deal" / MERGED.format(0))
    single = pq.read_schema(next((lake.root / "salesforce/deal/partition=2026-01-06").glob("*.parquet")))
    assert merged.num_row_groups == 1
    assert {f.name: f.type for f in merged.schema_arrow if f.name != "my_field_c"} == {
        f.name: f.type for f in single
    }


def test_files_whose_columns_have_other_types_are_merged_apart(tmp_path):
    """The amount landed as text until the catalogue was mended: what it held then stays as it was."""
    lake, as_text = Lake(tmp_path), with_type(DEALS, "amount", ColumnType.STRING)
    for day, table in (("02", as_text), ("03", as_text), ("04", DEALS), ("05", DEALS), ("06", as_text)):
        land(lake, f"2026-01-{day}", deal(int(day), f"2026-01-{day}", amount="1.5"), table=table)
    land(lake, "2026-03-10")
    before = state(lake)

    assert lake.compact(DEALS).files_after == 2
    assert lake.remove_replaced(DEALS) == 5
    assert state(lake) == before
    assert lake.compact(DEALS).files_after == 0
    amounts = {
        path.name: pq.read_schema(path).field("amount").type for path in lake.root.rglob("month=*/*.parquet")
    }
    assert sorted(map(str, amounts.values())) == ["decimal128(24, 6)", "string"]


def test_batches_of_two_sources_tables_of_one_name_are_told_apart(tmp_path):
    for source in ("salesforce", "pipedrive"):
        shutil.copytree(filled(Lake(tmp_path / "first")).root / "salesforce", tmp_path / "lake" / source)
        shutil.rmtree(tmp_path / "first")
    lake = Lake(tmp_path / "lake")
    count = len(lake.batches())

    lake.compact(DEALS)
    lake.remove_replaced(DEALS)

    assert len(lake.batches()) == count == 16
    assert {b.table for b in lake.batches() if "month=" not in str(b.path) and b.partition < "2026-02"} == {
        "pipedrive.deal"
    }


# -- landing into what was merged --------------------------------------------------------------------------------


def compacted(lake: Lake) -> Lake:
    lake.compact(DEALS)
    lake.remove_replaced(DEALS)
    return lake


def test_landing_into_a_merged_partition_adds_what_is_new_and_joins_the_file_the_next_time(lake):
    compacted(lake)
    before = state(lake)
    again = land(lake, "2026-01-05", deal(3, "2026-01-05"), deal(1, "2026-01-05", my_field_c="x"))
    empty = land(lake, "2026-01-06")
    late = land(lake, "2026-03-10", deal(3, "2026-01-05"))
    assert (again.added, empty.batch_id, late.added) == (0, None, 0)
    assert state(lake) == before

    found = land(lake, "2026-01-05", deal(8, "2026-01-05"))
    on_empty = land(lake, "2026-01-06", deal(9, "2026-01-06"))
    assert (found.batch_id, on_empty.batch_id) == ("deal-2026-01-05-0002", "deal-2026-01-06-0001")
    assert lake.has_landed(DEALS, "2026-01-06") and not lake.has_landed(DEALS, "2026-01-07")
    before = state(lake)

    done = lake.compact(DEALS)
    assert (done.batches, done.files_before, done.files_after) == (7, 3, 1)
    assert state(lake) == before
    assert lake.remove_replaced(DEALS) == 3
    assert state(lake) == before
    assert [f for f in files(lake) if "2026-01" in f] == [
        MERGED.format(1).replace(".parquet", ".batches.json"),
        MERGED.format(1),
    ]


def test_an_id_is_never_given_again(lake):
    """Of a batch put aside before the month was merged, of one without records, of a merged file put aside."""
    first = next((lake.root / "salesforce/deal/partition=2026-01-05").glob("*-0001.parquet"))
    first.write_bytes(b"torn")
    assert land(lake, "2026-01-05", deal(1, "2026-01-05", my_field_c="x")).batch_id == "deal-2026-01-05-0002"
    compacted(lake)
    assert land(lake, "2026-01-05", deal(8, "2026-01-05")).batch_id == "deal-2026-01-05-0003"
    lake.compact(DEALS)
    lake.remove_replaced(DEALS)

    merged = lake.root / "salesforce/deal" / MERGED.format(1)
    merged.rename(merged.with_suffix(".unreadable"))
    lake.compact(DEALS)

    assert land(lake, "2026-01-06").batch_id == "deal-2026-01-06-0001"
    assert land(lake, "2026-01-05", deal(8, "2026-01-05")).batch_id == "deal-2026-01-05-0004"


def test_a_record_in_quarantine_comes_back_into_a_merged_partition(lake):
    compacted(lake)
    assert raw_checks.quarantine(lake, DEALS, 0.05).figures["partitions_blocked"] == ["2026-01-05"]
    mended = with_type(DEALS, "amount", ColumnType.STRING)

    (landing,) = lake.retry(mended, CALENDAR.window, datetime(2026, 3, 11, tzinfo=UTC))

    assert (landing.partition, landing.batch_id, landing.added) == ("2026-01-05", "deal-2026-01-05-0002", 1)


def test_a_full_extraction_finds_in_a_merged_lake_what_it_finds_in_single_files(tmp_path):
    """Of two versions of one instant the later partition's is the newest: the record is as it was."""
    window = CALENDAR.window("2026-03-11")
    tied = deal(5, "2026-01-31")
    records = [deal(1, "2026-01-05", my_field_c="x"), tied, deal(7, "2026-03-10")]
    earlier = [tied | {"name": name} for name in "uvwxyz"]
    found = []
    for name in ("single", "merged"):
        lake = filled(Lake(tmp_path / name))
        land(lake, "2026-01-30", *earlier)
        if name == "merged":
            compacted(lake)
        landing = lake.land_snapshot(DEALS, window, [page(*records)], window.end, limit=0.9)
        found.append((landing.added, landing.hard_deleted, state(lake)))

    assert found[0] == found[1]
    assert found[0][:2] == (3, 3)


def test_as_an_asset_it_says_what_it_merged(lake, tmp_path):
    asset = compacted_lake_asset(load_settings({"GTM_HOME": str(tmp_path)}), [DEALS, TABLES["account"]], {})

    first, again = (
        {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
        for result in (dg.materialize([asset]), dg.materialize([asset]))
        for event in result.get_asset_materialization_events()
    )

    assert (first["batches_merged"], first["files_before"], first["files_after"]) == (5, 5, 1)
    expected = {"table": "salesforce.deal", "batches": 5, "files_before": 5, "files_after": 1}
    assert [row.data for row in first["tables"].records] == [expected]
    assert (again["batches_merged"], again["tables"].records) == (0, [])
    assert MERGED.format(0) in files(lake)


def test_the_checks_see_in_a_merged_partition_its_own_records(lake):
    def seen() -> tuple:
        window = CALENDAR.window("2026-02-03")
        landing = lake.land(DEALS, window, [], window.end)
        summary = summarize(lake, [landing], "2026-01-01")
        return summary.recent_counts, summary.columns_with_values, raw_checks.quarantine(lake, DEALS, 0.05)

    before = seen()
    compacted(lake)
    assert seen() == before
    assert before[0] == {"2026-01-06": 0, "2026-01-31": 2, "2026-02-03": 1}


def test_a_landing_and_a_compaction_at_once_wait_for_each_other(lake, tmp_path):
    records = [page({"lines": "3", "is_won": "true", **deal(10 + n, "2026-01-05")}) for n in range(20)]
    begun, go = tmp_path / "begun", tmp_path / "go"
    landing = PROCESSES.Process(
        target=land_in_a_process, args=(lake.root, CALENDAR.window("2026-01-05"), records, begun, go, 0.02)
    )
    landing.start()
    go.touch()
    wait_for(begun)
    done = lake.compact(DEALS)
    landing.join()

    # The batch of the landing was waited for and is merged.
    assert landing.exitcode == 0
    assert (done.batches, len(lake.read(DEALS).collect())) == (6, 29)
    assert all("month=" in str(b.path) for b in lake.batches() if b.partition < "2026-02")


# -- who is killed -----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Not an error that anything handles."""


STEPS = (
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "write_text"),
    (pq.ParquetWriter, "write_table"),
)


@pytest.fixture
def killing(monkeypatch):
    """A function that runs another one which dies before its n-th step on the disk; says whether it died."""

    def kill(work, step: int) -> bool:
        count = 0

        def mortal(original):
            def step_or_die(*args, **kwargs):
                nonlocal count
                count += 1
                # The dead clear up nothing: all that follows fails too.
                if count > step:
                    raise Killed
                return original(*args, **kwargs)

            return step_or_die

        with monkeypatch.context() as patch:
            for owner, method in STEPS:
                patch.setattr(owner, method, mortal(getattr(owner, method)))
            with suppress(Killed):
                work()
        return count > step

    return kill


def compact_and_remove(lake: Lake) -> None:
    lake.compact(DEALS)
    lake.remove_replaced(DEALS)


def test_a_compaction_killed_at_any_step_loses_and_doubles_nothing(tmp_path, killing):
    """Into what was merged before, a late batch came: so the files replaced are of both kinds."""
    origin = compacted(filled(Lake(tmp_path / "origin")))
    land(origin, "2026-01-05", deal(8, "2026-01-05"))
    land(origin, "2026-01-06", deal(9, "2026-01-06"))
    expected = state(origin)
    merged = shutil.copytree(origin.root, tmp_path / "merged")
    compact_and_remove(Lake(merged))
    at_last = files(Lake(merged))

    died, step = True, 0
    while died:
        lake = Lake(shutil.copytree(origin.root, tmp_path / f"step-{step}"))
        died = killing(lambda lake=lake: compact_and_remove(lake), step)
        assert state(lake) == expected, step

        twin = Lake(shutil.copytree(lake.root, tmp_path / f"twin-{step}"))
        found = land(twin, "2026-01-05", deal(8, "2026-01-05"), deal(3, "2026-01-05"), deal(11, "2026-01-05"))
        assert (found.added, found.batch_id) == (1, "deal-2026-01-05-0003")

        compact_and_remove(lake)
        assert state(lake) == expected, step
        kinds = [Path(f).suffix for f in files(lake) if "2026-01" in f]
        assert kinds == [".json", ".parquet"] and len(files(lake)) == len(at_last)
        step += 1
    assert step > 10


def test_a_reader_beside_a_compaction_finds_each_batch_once(lake, monkeypatch):
    """The reader has listed the single files, or a list that is replaced, when the compaction goes on."""
    compacted(lake)
    land(lake, "2026-01-05", deal(8, "2026-01-05"))
    before = [(b.partition, b.batch_id) for b in lake.batches()]
    original, compacts = Path.read_text, iter([True])

    def read_text(path, *args, **kwargs):
        if path.suffix == ".json" and next(compacts, False):
            compact_and_remove(lake)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert [(b.partition, b.batch_id) for b in lake.batches()] == before


def test_versions_of_batches_that_were_merged_since_they_were_listed_are_read_all_the_same(lake):
    listed = lake.batches(DEALS)
    before = lake.versions(listed, ["id", "amount"]).sort("_partition_key", "id")

    compact_and_remove(lake)

    assert not all(batch.path.exists() for batch in listed)
    assert lake.versions(listed, ["id", "amount"]).sort("_partition_key", "id").equals(before)


# -- what is broken ----------------------------------------------------------------------------------------------


def test_a_torn_file_is_not_merged_away(lake):
    path = next((lake.root / "salesforce/deal/partition=2026-01-05").glob("*-0000.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    before = files(lake)
    with pytest.raises(LakeError, match=r"salesforce\.deal 2026-01-05: .*gtm run --from 2026-01-05"):
        lake.compact(DEALS)
    assert files(lake) == before


def test_a_torn_merged_file_is_named_and_keeps_no_other_partition_from_landing(lake):
    compacted(lake)
    path = lake.root / "salesforce/deal" / MERGED.format(0)
    path.write_bytes(path.read_bytes()[:-20])

    for reading in (
        lambda: lake.read(DEALS),
        lake.verify_all,
        lambda: land(lake, "2026-01-05", deal(9, "2026-01-05")),
    ):
        with pytest.raises(LakeError, match=r"deal-2026-01-0000\.parquet can't be read .*batches of 2026-01"):
            reading()
    assert path.exists()
    assert land(lake, "2026-03-10", deal(9, "2026-03-10")).added == 1


@pytest.mark.parametrize("content", [None, "no json\n", "[]\n", "{}\n"])
def test_a_list_that_is_missing_or_unreadable_is_named(lake, content):
    compacted(lake)
    path = lake.root / "salesforce/deal" / MERGED.format(0).replace(".parquet", ".batches.json")
    path.unlink()
    if content:
        path.write_text(content)
    with pytest.raises(LakeError, match=r"salesforce\.deal: the list of .*deal-2026-01-0000.*backup"):
        lake.batches()


# -- dbt ---------------------------------------------------------------------------------------------------------

ACCOUNT = TABLES["account"]
MODELS = ["base_salesforce__account", "int_account_versions", "dim_account_scd2"]


@pytest.fixture
def home(tmp_path) -> Home:
    """Accounts of three months; late, repeated and tied versions in January."""
    home = Home(tmp_path / "gtm")

    def put(day: str, *records: dict, known: str | None = None) -> None:
        window = CALENDAR.window(day)
        known_at = CALENDAR.window(known).end if known else window.end
        home.lake.land(ACCOUNT, window, [as_page(records)] if records else [], known_at)

    def at(day: int) -> datetime:
        return datetime(2026, 1, day, 12, tzinfo=UTC)

    put("2026-01-08", account(1, at(3), industry="a"), account(2, at(8)))
    put("2026-01-05")
    put("2026-01-06", account(1, at(3), industry="b"), account(3, at(6)))
    put("2026-01-04", account(1, at(3), industry="a"), account(3, at(4)))
    put("2026-01-06", account(3, at(6), industry="late"), known="2026-01-20")
    put("2026-02-03", account(2, at(31), is_deleted=True))
    put("2026-03-10", account(4, at(31)))
    home.build(*with_ancestors(MODELS[-1]))
    return home


def everything(home: Home) -> list:
    return [(home.table(model, ignoring=()), home.consumed(model)) for model in MODELS]


def follow(home: Home) -> None:
    result = home.dbt("run-operation", "follow_compaction")
    assert result.success, result.exception


def paths(home: Home) -> dict[str, str]:
    return dict(home.rows("select batch_id, file_path from gtm_meta.lake_batches"))


def test_dbt_reads_nothing_again_and_builds_the_same_from_merged_files(home):
    before, batches = everything(home), paths(home).keys()
    instant = "2026-01-10 05:49:00+00"
    as_of = home.twin("as-of-before")
    as_of.build(*with_ancestors(MODELS[-1]), variables={"as_of": instant})

    home.lake.compact(ACCOUNT)
    # A killed compaction leaves both; so does one under way.
    beside = home.twin("beside")
    beside.build(*with_ancestors(MODELS[-1]))
    assert everything(beside) == before
    follow(home)
    home.lake.remove_replaced(ACCOUNT)
    assert len(list(home.lake.root.rglob("*.parquet"))) == 3
    assert all(Path(path).exists() for path in paths(home).values())
    assert paths(home).keys() == batches

    # Nothing is opened: the merged file is no Parquet meanwhile.
    (merged,) = home.lake.root.rglob("month=*/*.parquet")
    content = merged.read_bytes()
    merged.write_bytes(b"torn")
    home.build(*with_ancestors(MODELS[-1]))
    assert everything(home) == before
    merged.write_bytes(content)

    home.build(*with_ancestors(MODELS[-1]), full_refresh=True)
    assert everything(home) == before
    after = home.twin("as-of-after")
    after.build(*with_ancestors(MODELS[-1]), variables={"as_of": instant})
    assert everything(after) == everything(as_of)
    assert after.table(MODELS[0]) != home.table(MODELS[0])
    shown = home.dbt("show", "--inline", "select count(*) as n from {{ source('salesforce', 'account') }}")
    assert shown.result.results[0].agate_table.rows[0][0] == len(home.lake.read(ACCOUNT).collect())


def test_the_list_that_follows_a_compaction_gains_no_batch_that_was_not_built(home):
    before = paths(home)
    window = CALENDAR.window("2026-03-11")
    home.lake.land(ACCOUNT, window, [], window.end)
    home.lake.compact(ACCOUNT)
    follow(home)
    assert paths(home).keys() == before.keys()
    assert {id_ for id_, path in paths(home).items() if path != before[id_]} == {
        b.batch_id for b in home.lake.batches() if "month=" in str(b.path)
    }
    assert Home(home.path.with_name("new")).dbt("run-operation", "follow_compaction").success


def test_a_batch_that_was_merged_before_it_was_built_is_built(home):
    window = CALENDAR.window("2026-01-03")
    late = account(1, datetime(2026, 1, 3, 12, tzinfo=UTC), industry="b")
    home.lake.land(ACCOUNT, window, [as_page([late])], window.end)
    home.lake.compact(ACCOUNT)
    home.lake.remove_replaced(ACCOUNT)
    home.build(*with_ancestors(MODELS[-1]))

    full = home.twin("full")
    full.build(*with_ancestors(MODELS[-1]))
    assert everything(home) == everything(full)
    assert "account-2026-01-03-0000" in {batch for _, batch in home.consumed(MODELS[0])}


@pytest.mark.slow
def test_the_command_merges_removes_and_says_when_there_is_nothing(home):
    def gtm(*arguments: str) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GTM_", "DBT_"))}
        environment |= {"GTM_HOME": str(home.path), "GTM_START_DATE": "2026-01-01", "GTM_END_DATE": "2026-04-30"}
        command = [str(Path(sys.executable).with_name("gtm")), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    before = everything(home)
    said = gtm("lake", "compact")

    assert "salesforce.account: 5 batches in 5 files are in 1 now." in said
    assert "5 files were removed." in said
    assert all(Path(path).exists() for path in paths(home).values())
    home.build(*with_ancestors(MODELS[-1]))
    assert everything(home) == before
    assert "There is nothing to merge" in gtm("lake", "compact", "account")
