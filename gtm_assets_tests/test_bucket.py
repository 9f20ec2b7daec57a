"""The lake in a bucket: what holds in a folder holds there, and what an object store does to it is told."""

import inspect
import os
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime

import duckdb
import pytest

from gtm_assets import place
from gtm_assets.errors import BucketAway, BucketError, LakeError, MayPass
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.settings import SettingsError, load_settings
from gtm_assets_tests import test_compaction, test_lake, test_lake_snapshots
from gtm_assets_tests.dbt_harness import TABLES, Home, account
from gtm_assets_tests.gtm_process import GtmHome, differences, tables
from gtm_assets_tests.lake_builders import (
    CALENDAR,
    DAY,
    DEALS,
    NEXT,
    content,
    deal,
    land,
    leftovers,
    merged,
    page,
)
from gtm_assets_tests.object_store import CREDENTIALS, CUT, LOST, ObjectStore, needs_store, object_store
from gtm_assets_tests.postgres_server import needs_postgres
from gtm_assets_tests.postgres_server import running as postgres_server

pytestmark = needs_store


@pytest.fixture(scope="module")
def running():
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with object_store() as store:
            yield store


@pytest.fixture
def store(running, monkeypatch) -> ObjectStore:
    running.fault = lambda method, path: None
    running.requests.clear()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture
def lake(store, tmp_path) -> Lake:
    return store.lake(tmp_path / "gtm")


@pytest.fixture
def patient(store, monkeypatch) -> ObjectStore:
    """A store whose clients ask three times."""
    from gtm_assets.bucket import Bucket

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    Bucket.clear_instance_cache()
    yield store
    Bucket.clear_instance_cache()


# -- what holds in a folder --------------------------------------------------------------------------------------

ESSENTIAL = {
    test_lake: (
        "a_record_lies_in_the_lake_in_the_catalogues_types_with_when_it_was_known",
        "a_partition_landed_twice_adds_nothing",
        "a_repeat_adds_only_the_versions_not_seen_before_in_a_batch_of_their_own",
        "a_late_version_that_an_earlier_partition_landed_is_not_added_again",
        "what_a_full_extraction_stamps_with_its_windows_end_is_not_added_again_by_the_next_partition",
        "partitions_that_no_late_version_belongs_to_are_not_opened",
        "an_unknown_column_of_a_later_page_leaves_the_rows_before_it",
        "records_that_do_not_fit_wait_in_quarantine_whole_and_with_the_reason",
        "another_reject_of_a_later_landing_joins_the_first",
        "a_retry_lands_what_fits_the_mended_catalogue_in_the_partition_that_it_came_in",
        "a_retry_killed_after_its_batch_lands_nothing_twice",
        "a_late_record_of_a_partition_with_an_unreadable_file_names_that_partition",
        "a_damaged_file_of_the_partition_that_is_open_is_landed_again_up_to_now",
        "batches_are_named_by_table_partition_and_id_in_order",
        "versions_landed_before_a_column_changed_its_type_are_still_read",
    ),
    test_lake_snapshots: (
        "a_record_that_is_gone_is_marked_with_the_time_of_detection_and_kept",
        "a_snapshot_repeated_lands_nothing_more",
        "a_crash_before_the_batch_stands_leaves_nothing_and_the_next_lands_all",
    ),
    test_compaction: (
        "a_closed_months_batches_lie_in_one_file_and_nothing_else_changed",
        "landing_into_a_merged_partition_adds_what_is_new_and_joins_the_file_the_next_time",
        "an_id_is_never_given_again",
        "versions_of_batches_that_were_merged_since_they_were_listed_are_read_all_the_same",
        "a_torn_merged_file_is_named_and_keeps_no_other_partition_from_landing",
        "a_reader_beside_a_compaction_finds_each_batch_once",
    ),
}


AT_EACH_CHANGE = {
    "a_late_version_that_an_earlier_partition_landed_is_not_added_again",
    "records_that_do_not_fit_wait_in_quarantine_whole_and_with_the_reason",
    "a_retry_killed_after_its_batch_lands_nothing_twice",
    "batches_are_named_by_table_partition_and_id_in_order",
    "a_record_that_is_gone_is_marked_with_the_time_of_detection_and_kept",
    "a_closed_months_batches_lie_in_one_file_and_nothing_else_changed",
}


def proofs() -> list:
    """The tests of a lake that hold in a bucket too, most of them at night."""
    found = [(module, proof) for module, proofs in ESSENTIAL.items() for proof in proofs]
    return [
        pytest.param(*one, id=one[1], marks=[] if one[1] in AT_EACH_CHANGE else pytest.mark.nightly)
        for one in found
    ]


@pytest.mark.parametrize(("module", "proof"), proofs())
def test_what_holds_of_a_folder_holds_of_a_bucket(module, proof, lake, request):
    prove = getattr(module, f"test_{proof}")
    if module is test_compaction:
        test_compaction.filled(lake)
    given = {name: request.getfixturevalue(name) for name in inspect.signature(prove).parameters if name != "lake"}

    prove(lake, **given)


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[] if how == "cut off" else pytest.mark.nightly) for how in test_lake.TORN]
)
def test_a_torn_file_is_named_and_landing_again_puts_it_aside(lake, how):
    land(lake, page(deal(1)))
    path = lake.batches(DEALS)[0].path
    path.write_bytes(test_lake.TORN[how](path.read_bytes()))
    with pytest.raises(
        LakeError, match=rf"(?s){DAY}: the lake's file {path} can't be read .*land the partition again"
    ):
        lake.verify_all()
    path.fs.rm_file(path.path)
    test_lake.test_landing_the_partition_again_puts_an_unreadable_file_aside_and_lands_all(lake, how)


def test_marks_of_what_lies_ahead_that_were_half_made_are_made_anew(lake):
    ahead = deal(1, NEXT)
    land(lake, page(ahead), partition=DAY)
    marks = lake.root / "salesforce/deal/ahead"
    assert {mark.name for mark in place.found(marks, "*")} == {".made", DAY}
    for mark in place.found(marks, "*"):
        place.remove(mark)
    place.write(marks / "2026-01-02", "half")

    assert land(lake, page(ahead), partition="2026-01-07").added == 0


def test_a_table_that_is_gone_is_forgotten_and_remembered(lake):
    at = datetime(2026, 2, 1, tzinfo=UTC)
    lake.land_unreadable(DEALS, CALENDAR.window(DAY), "no right to it", at)
    assert lake.unreadable_reason(DEALS) == "no right to it"

    lake.forget(DEALS, at)
    assert lake.forgotten(DEALS) == at

    land(lake, page(deal(1)))
    assert (lake.forgotten(DEALS), lake.unreadable_partitions(DEALS)) == (None, [])


def test_a_fresh_state_folder_on_a_bucket_that_has_a_lake_begins_where_the_lake_does(store, tmp_path):
    url = store.new_bucket()
    land(store.lake(tmp_path / "one", url), page(deal(1)))

    settings = load_settings(store.settings(url, tmp_path / "two"))

    assert Calendar.of(settings).first.isoformat() == DAY


# -- who is killed, and what the store does ----------------------------------------------------------------------

PAGES = [page(deal(1), deal(2, lines="x")), page(deal(3), deal(4))]


def undisturbed(tmp_path):
    lake = Lake(tmp_path / "undisturbed")
    land(lake, page(deal(1)))
    land(lake, *PAGES, partition=NEXT)
    return content(lake), lake.quarantined(DEALS)["record"].to_list()


@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.nightly, id="each_step"), pytest.param(25, id="some_steps")]
)
def test_cut_off_at_any_request_the_next_landing_gives_the_same(store, tmp_path, stride):
    """As a kill: nothing that follows reaches the store. Of two strides the last request was done in one."""
    wanted, cut_off = undisturbed(tmp_path), 0

    for step, is_done in ((step // 2, bool(step % 2)) for step in range(0, 90, stride)):
        lake = store.lake(tmp_path / f"{is_done} {step}")
        land(lake, page(deal(1)))
        store.requests.clear()

        def dead(method, path, step=step, is_done=is_done):
            if len(store.requests) <= step:
                return None
            return LOST if is_done and len(store.requests) == step + 1 else 503

        store.fault = dead
        with suppress(LakeError):
            land(lake, *PAGES, partition=NEXT)
        was_cut_off = len(store.requests) > step
        store.fault = lambda method, path: None
        cut_off += was_cut_off

        land(lake, *PAGES, partition=NEXT)

        assert (content(lake), lake.quarantined(DEALS)["record"].to_list()) == wanted
        assert leftovers(lake) == []
        if not was_cut_off:
            break
    assert cut_off >= 36 // stride
    assert stride > 1 or not was_cut_off


def test_a_store_that_refuses_for_a_while_is_asked_again(patient, lake):
    left = 3

    def busy(method, path):
        nonlocal left
        left -= method == "PUT"
        return 503 if method == "PUT" and left >= 0 and left % 2 == 0 else None

    patient.fault = busy
    assert land(lake, page(deal(1), deal(2, lines="x"))).added == 1
    assert left < 0
    assert content(lake).total() == 1


def test_a_store_that_stays_away_is_told_with_bucket_key_and_what_to_do_and_may_pass(store, lake):
    land(lake, page(deal(1)))
    store.fault = lambda method, path: 503 if method == "PUT" else None

    with pytest.raises(BucketAway) as told:
        land(lake, page(deal(2)))
    assert isinstance(told.value, MayPass)
    key = f"{lake.root}/salesforce/deal/partition={DAY}/deal-{DAY}-0001.parquet"
    assert str(told.value).startswith(
        f"salesforce.deal {DAY}: {key}: the bucket at {store.url} does not answer now"
    )
    assert "Nothing is lost. Try again later; see that GTM_LAKE_ENDPOINT and the network are right" in str(
        told.value
    )

    store.fault = lambda method, path: 503
    for ask in (lake.batches, lambda: land(lake, page(deal(2)))):
        with pytest.raises(BucketAway, match=re.escape(str(lake.root))):
            ask()
    store.fault = lambda method, path: None
    assert content(lake).total() == 1


def test_an_answer_that_breaks_off_is_asked_for_again_and_then_told(store, lake):
    land(lake, page(deal(1)))
    cut = 0

    def once(method, path):
        nonlocal cut
        cut += method == "GET" and path.endswith(".parquet")
        return CUT if method == "GET" and path.endswith(".parquet") and cut == 1 else None

    store.fault = once
    lake.verify_all()
    assert cut == 2

    store.fault = lambda method, path: CUT if method == "GET" and path.endswith(".parquet") else None
    for ask in (lake.verify_all, lambda: lake.versions(lake.batches(), ["id"]), lambda: lake.read(DEALS)):
        with pytest.raises(BucketAway, match=rf"{lake.root}/.*does not answer now"):
            ask()


def test_an_answer_that_is_lost_after_the_file_was_put_lands_it_once(patient, lake):
    lost = []

    def answer(method, path):
        if method == "PUT" and path.endswith(".parquet") and not lost:
            lost.append(path)
            return LOST
        return None

    patient.fault = answer
    assert land(lake, page(deal(1))).added == 1
    assert lost
    assert content(lake).total() == 1
    assert len(lake.batches()) == 1


def test_a_key_that_somebody_deletes_is_named_and_its_partition_lands_again(lake):
    land(lake, page(deal(1)))
    (batch,) = lake.batches()
    place.remove(batch.path)

    with pytest.raises(LakeError, match=rf"{DAY}: the lake's file {batch.path} .*Somebody has removed it"):
        lake.verify(batch)
    with pytest.raises(LakeError, match="Somebody has removed it"):
        lake.versions([batch], ["id"])
    assert not lake.has_landed(DEALS, DAY)
    assert land(lake, page(deal(1))).added == 1


# -- two machines ------------------------------------------------------------------------------------------------


def test_of_two_machines_that_land_one_partition_at_once_the_later_is_refused_and_lands_what_is_new(
    store, tmp_path
):
    url = store.new_bucket()
    one, other = store.lake(tmp_path / "one", url), store.lake(tmp_path / "other", url)

    def meanwhile():
        yield page(deal(1), deal(2))
        land(other, page(deal(2), deal(3)))

    window = CALENDAR.window(DAY)
    with pytest.raises(
        BucketAway, match=rf"^salesforce\.deal {DAY}: Another machine has written {url}/.*run again"
    ):
        one.land(DEALS, window, meanwhile(), window.end)

    assert land(one, page(deal(1), deal(2))).added == 1
    assert content(one) == content(other)
    assert set(content(one).values()) == {1}
    assert len(content(one)) == 3
    assert leftovers(one) == []


def test_two_machines_that_land_two_partitions_at_once_lose_nothing(store, tmp_path):
    url = store.new_bucket()
    one, other = store.lake(tmp_path / "one", url), store.lake(tmp_path / "other", url)

    def meanwhile():
        yield page(deal(1))
        land(other, page(deal(2, NEXT)), partition=NEXT)

    window = CALENDAR.window(DAY)
    one.land(DEALS, window, meanwhile(), window.end)

    assert one.partitions(DEALS) == [DAY, NEXT]
    assert content(one).total() == 2


def test_of_two_machines_that_merge_at_once_one_is_refused_and_nothing_is_lost(store, tmp_path, monkeypatch):
    url = store.new_bucket()
    one, other = store.lake(tmp_path / "one", url), store.lake(tmp_path / "other", url)
    test_compaction.filled(one)
    before, put_new, merged = content(one), place.put_new, []

    def after_the_other(temporary, final):
        if not merged:
            merged.append(final)
            other.compact(DEALS)
        put_new(temporary, final)

    monkeypatch.setattr(place, "put_new", after_the_other)
    with suppress(BucketAway):
        one.compact(DEALS)
    one.remove_replaced(DEALS)

    assert merged
    assert content(one) == before


# -- settings, rights, and what is missing -----------------------------------------------------------------------


def test_a_bucket_that_is_not_there_is_named_by_whatever_asks_for_it(store, tmp_path):
    lake = store.lake(tmp_path, "s3://nobodys-bucket/gtm")
    for ask in (lake.batches, lambda: land(lake, page(deal(1))), lambda: lake.quarantined(DEALS)):
        with pytest.raises(
            BucketError, match=r"there is no bucket nobodys-bucket .*Make it, or mend GTM_LAKE_URL"
        ):
            ask()
    with duckdb.connect() as connection:
        place.let_read(connection, lake.root)
        with pytest.raises(Exception, match="there is no bucket nobodys-bucket"):
            connection.sql("from glob('s3://nobodys-bucket/gtm/*/*.parquet')").fetchall()


def test_without_credentials_it_says_which_to_set(store, tmp_path, monkeypatch):
    lake = store.lake(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    lake.root.fs.clear_instance_cache()
    lake = store.lake(tmp_path, str(lake.root))

    with pytest.raises(BucketError, match=r"there are no credentials for the bucket .*AWS_PROFILE"):
        lake.batches()
    lake.root.fs.clear_instance_cache()


def test_credentials_that_are_refused_are_told_and_not_shown(store, lake):
    store.fault = lambda method, path: 403
    with pytest.raises(BucketError, match=r"the credentials are refused .*s3:ListBucket") as told:
        land(lake, page(deal(1)))
    assert not isinstance(told.value, MayPass)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(told.value)


def test_doctor_tries_the_bucket(store, tmp_path):
    def doctor(url):
        return GtmHome(tmp_path / "gtm", (*store.settings(url, tmp_path / "gtm").items(),)).in_process("doctor")

    assert "The lake is empty yet" in doctor(store.new_bucket()).output
    refused = doctor("s3://nobodys-bucket/gtm")
    assert refused.code != 0
    assert "there is no bucket nobodys-bucket" in refused.output


def test_without_the_extra_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gtm_assets.bucket", None)
    with pytest.raises(LakeError, match=r"s3://acme/gtm needs what is not installed .*make setup-s3"):
        Lake.of(load_settings({"GTM_HOME": str(tmp_path), "GTM_LAKE_URL": "s3://acme/gtm"}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"GTM_LAKE_URL": "gs://acme/gtm"}, r"GTM_LAKE_URL='gs://acme/gtm': it is a folder, or a bucket"),
        (
            {"GTM_LAKE_URL": "s3://key:secret@acme/gtm"},
            r"GTM_LAKE_URL='s3://\*\*\*@acme/gtm': .*without credentials",
        ),
        ({"GTM_LAKE_URL": "s3://acme/a*b"}, "the prefix holds a character that patterns know"),
        (
            {"GTM_LAKE_URL": "s3://acme/gtm", "GTM_ENGINE": "spark"},
            "reads the lake's files itself, which it can't",
        ),
        ({"GTM_LAKE_ENDPOINT": "minio:9000"}, "GTM_LAKE_ENDPOINT='minio:9000': it is an address"),
    ],
)
def test_a_place_that_can_be_none_is_refused(given, told):
    with pytest.raises(SettingsError, match=told):
        load_settings(given)


def test_a_folder_may_be_named_in_place_of_the_state_folders(tmp_path):
    elsewhere = tmp_path / "else where"
    for given in (str(elsewhere), elsewhere.as_uri()):
        lake = Lake.of(load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_LAKE_URL": given}))
        assert lake.root == lake.table_workshop(DEALS).parent.parent == elsewhere
    assert Lake.of(load_settings({"GTM_HOME": str(tmp_path / "gtm")})).root == tmp_path / "gtm" / "lake"


# -- what is built ----------------------------------------------------------------------------------------------

BASE = "base_salesforce__account"


@pytest.mark.slow
def test_dbt_builds_from_a_bucket_and_follows_a_compaction(store, tmp_path, monkeypatch):
    home = Home(tmp_path / "gtm")
    settings = load_settings(store.settings(store.new_bucket(), home.path))
    home.lake = Lake.of(settings)
    monkeypatch.setenv("GTM_LAKE_URL", str(home.lake.root))
    monkeypatch.setenv("GTM_LAKE_FILESYSTEMS", repr(place.filesystems(settings)))
    for day, number in ((1, 1), (2, 2), (3, 1)):
        at = datetime(2026, 1, day, 12, tzinfo=UTC)
        home.land("account", f"2026-01-0{day}", account(number, at, industry=f"i{day}"))
    longer = replace(CALENDAR, last=date(2026, 3, 31)).window("2026-03-20")
    home.lake.land(TABLES["account"], longer, [], longer.end)

    home.build(BASE)
    assert home.rows(f"select industry from {BASE} order by id") == [("i3",), ("i2",)]

    assert home.lake.compact(TABLES["account"]).batches == 3
    assert home.dbt("run-operation", "follow_compaction").success
    home.lake.remove_replaced(TABLES["account"])
    listed = dict(home.rows("select batch_id, file_path from gtm_meta.lake_batches"))
    assert listed == {batch.batch_id: str(batch.path) for batch in home.lake.batches()}


@needs_postgres
@pytest.mark.slow
def test_postgresql_copies_the_batches_from_a_bucket(lake):
    from gtm_assets_tests.test_postgres_sql import copied, held

    land(lake, page(deal(1), deal(2)))
    with postgres_server() as address:
        assert copied(address, lake, [DEALS]) == {"salesforce.deal": (1, 2, 0)}
        held(address, lake)


@pytest.mark.nightly
def test_a_run_on_a_bucket_publishes_what_one_on_a_folder_does(store, built_home, tmp_path):
    url = store.new_bucket()
    home = GtmHome(tmp_path / "gtm", (*built_home.settings, *store.settings(url, tmp_path / "gtm").items()))
    said = home.run().check().output

    def core_or_mart(schema: str) -> bool:
        return schema in ("gtm_core", "gtm_mart")

    assert differences(tables(home.published, core_or_mart), tables(built_home.published, core_or_mart)) == []
    assert not list((home.path / "lake").rglob("*.parquet"))
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in said
    assert "unchanged" in home.run().check().output
    assert "There is nothing to merge" in home.command("lake", "compact").check().output
    assert "all readable" in home.command("doctor").check().output
    users = Lake(built_home.path / "lake").read(TABLES["user"]).collect().height
    shown = home.command("dbt", "show", "--inline", "select count(*) as n from {{ source('salesforce', 'user') }}")
    assert re.search(rf"\| +{users} \|", shown.check().output)


def test_a_person_is_erased_from_a_bucket_and_lands_no_more(store, tmp_path):
    from gtm_assets.lake.erased import EMAIL, Ledger
    from gtm_assets.privacy.search import Wanted, look_everywhere
    from gtm_assets_tests.test_erasure import JANE, PEOPLE, erase, person, rows
    from gtm_assets_tests.test_erasure import land as land_people

    plain = store.lake(tmp_path / "gtm")
    lake = Lake(plain.root, tmp_path / "gtm", Ledger(plain.root, tmp_path / "erasures"))
    land_people(lake, PEOPLE, person("p1", email=JANE), person("p2"), person("p3", email=JANE, amount="odd"))
    land_people(lake, PEOPLE, person("p1", "2026-01-02", email=JANE), partition="2026-01-02")
    merged(lake, PEOPLE)
    lake.remove_replaced(PEOPLE)
    count, hits = look_everywhere([tmp_path], lake.root, Wanted([JANE]), lambda path: False)
    assert count > 2 and {hit.where for hit in hits} == {"column email", "column record", "its bytes"}

    erase(lake, {EMAIL: {JANE}}, PEOPLE)
    assert [(row["id"], row["email"]) for row in rows(lake)] == [("p1", None)] * 2 + [("p2", "p2@x.example")]
    assert lake.ledger.unapplied() == set()
    assert land_people(lake, PEOPLE, person("p1", email=JANE)).added == 0
    assert look_everywhere([tmp_path], lake.root, Wanted([JANE]), lambda path: False)[1] == []
    # Another machine with the key knows it from the bucket alone.
    shutil.copytree(tmp_path / "erasures", tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "ledger")
    other = Lake(plain.root, tmp_path / "there", Ledger(plain.root, tmp_path / "other"))
    assert land_people(other, PEOPLE, person("p9", "2026-01-03", email=JANE), partition="2026-01-03").added == 1
    assert rows(other)[-1]["email"] is None
