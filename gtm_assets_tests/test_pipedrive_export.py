"""A Pipedrive export in the lake: the same records whatever the order, the splits and the repeats of its rows."""

import csv
import gzip
import io
import itertools
import re
import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtm_assets.errors import LakeError, SourceUnavailable
from gtm_assets.lake.store import Lake
from gtm_assets.runtime.retries import may_pass
from gtm_assets.sources.pipedrive import export as export_module
from gtm_assets.sources.pipedrive.export import (
    ExportError,
    ExportFolder,
    Extract,
    check_origin,
    claim_origin,
    extract,
)
from gtm_assets_tests.pipedrive_exports import (
    BY_NAME,
    CALENDAR,
    HEADERS,
    SMALL_EXPORT,
    exported,
    land,
    newest,
    write,
    write_export,
)
from gtm_assets_tests.properties import at_most

STAGE = "stage_id"
EXPORTED = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_export(tmp_path / "export")


# -- order, splits and repeats ---------------------------------------------------------------------------------

_TIMES = st.sampled_from(
    ["2024-04-09 21:32:09", "2024-04-09T21:32:09", "2025-01-01 00:00:00", "2031-05-05 05:05:05"]
)
_CHANGES = st.lists(
    st.tuples(
        st.integers(1, 3), _TIMES, st.sampled_from(["stage_id", "user_id"]), st.sampled_from(["1", "2", ""])
    ),
    max_size=12,
)
_ACTIVITIES = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.sampled_from(["meeting", "sc_2"]),
        st.just(7),
        st.integers(1, 2),
        st.sampled_from(["True", "False"]),
        _TIMES,
    ),
    max_size=12,
)


@settings(max_examples=at_most(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), name=st.sampled_from(["deal_changes", "activity"]))
def test_shuffled_split_or_repeated_an_export_gives_the_same_records(data, name):
    rows = data.draw(_CHANGES if name == "deal_changes" else _ACTIVITIES)
    repeats = data.draw(st.lists(st.sampled_from(rows), max_size=4)) if rows else []
    shuffled = data.draw(st.permutations(rows + repeats))
    # Rows of one activity come in one export: in another they would be the activity rescheduled.
    keys = {row: (row[0], row[3], row[1]) if name == "activity" else row for row in rows}
    day_of = {key: data.draw(st.integers(1, 4)) for key in sorted(set(keys.values()))}
    cumulative = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as place:
        whole, split = Lake(Path(place) / "whole"), Lake(Path(place) / "split")
        write(Path(place), name, rows)
        land(whole, Path(place), name)

        for day in range(1, 5):
            todays = [r for r in shuffled if day_of[keys[r]] == day or (cumulative and day_of[keys[r]] < day)]
            write(Path(place), name, todays, hours=day)
            land(split, Path(place), name, day)
            assert land(split, Path(place), name, day).added == 0

        assert newest(split, name) == newest(whole, name)


def test_an_activity_of_two_deals_is_two_and_an_exact_repeat_is_one(lake, folder):
    rows = SMALL_EXPORT["activity"]
    write(folder, "activity", [*rows, rows[0], (*rows[0][:4], "true", "2024-07-24 06:47:10")])

    land(lake, folder, "activity")

    assert [row["id"] for row in newest(lake, "activity")] == [
        "1-100-meeting-1",
        "1-101-meeting-1",
        "2-900-sc_2-1",
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_two_rows_of_one_activity_and_deal_are_both_kept_whatever_their_order(lake, folder, order):
    rows = [(1, "meeting", 7, 100, "True", f"2024-07-{day}T06:00:00") for day in (24, 25)]
    write(folder, "activity", rows[::order])

    land(lake, folder, "activity")

    found = {row["id"]: row["due_to"].day for row in newest(lake, "activity")}
    assert found == {"1-100-meeting-1": 24, "1-100-meeting-2": 25}


# -- newer exports ---------------------------------------------------------------------------------------------


def test_what_a_newer_export_has_otherwise_is_a_new_version_and_the_rest_is_not(lake, folder):
    land(lake, folder, "activity")
    (first, second, third) = SMALL_EXPORT["activity"]
    write(folder, "activity", [first, (*second[:4], "True", "2024-07-29T09:00:00"), third], hours=24)

    landing = land(lake, folder, "activity", day=2)

    assert (landing.received, landing.added, landing.partition) == (3, 1, "2026-01-02")
    changed = next(row for row in newest(lake, "activity") if row["id"] == "1-101-meeting-1")
    assert (changed["done"], changed["due_to"]) == (True, datetime(2024, 7, 29, 9, tzinfo=UTC))


def test_what_changes_and_changes_back_is_as_it_was(lake, folder):
    for day, name in enumerate(["Lead Generation", "Leads", "Lead Generation"], 1):
        write(folder, "stages", [(1, name)], hours=day)
        assert land(lake, folder, "stages", day).added == 1

    assert [row["stage_name"] for row in newest(lake, "stages")] == ["Lead Generation"]


def test_a_file_touched_but_not_changed_brings_nothing(lake, folder):
    land(lake, folder, "activity")
    exported(folder / "activity.csv", hours=24)

    assert land(lake, folder, "activity", day=2).added == 0


def test_of_two_exports_with_one_time_the_one_that_landed_last_counts(lake, folder):
    land(lake, folder, "stages")
    write(folder, "stages", [(1, "Leads"), (2, "Qualified Lead")])

    landing = land(lake, folder, "stages")

    assert (landing.added, land(lake, folder, "stages").added) == (1, 0)
    assert [row["stage_name"] for row in newest(lake, "stages")] == ["Leads", "Qualified Lead"]


def test_an_older_export_lands_behind_the_newer_one_and_once(lake, folder):
    write(folder, "stages", [(1, "Leads")], hours=24)
    land(lake, folder, "stages", day=2)
    write(folder, "stages", [(1, "Lead Generation")], hours=0)

    assert [land(lake, folder, "stages", day=3).added for _ in range(2)] == [1, 0]
    assert [row["stage_name"] for row in newest(lake, "stages")] == ["Leads"]


def test_a_change_is_landed_whatever_its_time(lake, folder):
    write(folder, "deal_changes", [(1, "2019-01-01 00:00:00", STAGE, "1"), (1, "2031-01-01 00:00:00", STAGE, "2")])

    added = [land(lake, folder, "deal_changes", day, full=day == 3).added for day in (1, 2, 3)]

    assert added == [2, 0, 0]


# -- what is gone ----------------------------------------------------------------------------------------------


def test_a_daily_extraction_deletes_nothing_and_a_full_one_what_is_gone(lake, folder):
    land(lake, folder, "activity")
    write(folder, "activity", SMALL_EXPORT["activity"][:2], hours=24)

    assert land(lake, folder, "activity", day=2).added == 0
    assert land(lake, folder, "activity", day=3, full=True).hard_deleted == 1
    assert [row["activity_id"] for row in newest(lake, "activity")] == [1, 1]

    write(folder, "activity", SMALL_EXPORT["activity"], hours=48)
    assert land(lake, folder, "activity", day=4).added == 1
    assert [row["activity_id"] for row in newest(lake, "activity")] == [1, 1, 2]


def test_a_change_of_a_deal_is_never_deleted(lake, folder):
    land(lake, folder, "deal_changes")
    write(folder, "deal_changes", SMALL_EXPORT["deal_changes"][:1], hours=24)

    assert land(lake, folder, "deal_changes", day=2, full=True).added == 0
    assert len(newest(lake, "deal_changes")) == 3


def test_a_full_extraction_that_lacks_too_much_is_refused(lake, folder):
    write(folder, "stages", [(n, f"Stage {n}") for n in range(40)])
    land(lake, folder, "stages")
    write(folder, "stages", [(n, f"Stage {n}") for n in range(20)], hours=24)

    with pytest.raises(LakeError, match=r"pipedrive\.stages 2026-01-02: the full extraction lacks 20 of 40"):
        land(lake, folder, "stages", day=2, full=True)
    assert len(newest(lake, "stages")) == 40


# -- what does not fit -----------------------------------------------------------------------------------------


def test_rows_that_cannot_be_typed_wait_in_quarantine_once_and_come_back_repaired(lake, folder):
    good = SMALL_EXPORT["activity"]
    bad = [
        (3, "meeting", 7, 100, "maybe", "2024-07-24T06:47:10"),
        (4, "meeting", "Ann", 100, "True", "2024-07-24T06:47:10"),
        (5, "meeting", 7, 100, "True", "24.07.2024"),
        ("", "meeting", 7, 100, "True", "2024-07-24T06:47:10"),
    ]
    write(folder, "activity", [*good, *bad])

    landing = land(lake, folder, "activity")

    assert (landing.received, landing.added, landing.quarantined) == (7, 3, 4)
    assert "pipedrive.activity 2026-01-01: due_to is not a timestamp in 1 of 7" in landing.describe_problems()
    reasons = sorted(lake.quarantined(BY_NAME["activity"])["reason"])
    assert [reason.split(" is ")[0] for reason in reasons] == ["assigned_to_user", "done", "due_to", "id"]

    # The next export has them still, in another order, and one is repaired.
    write(folder, "activity", [*bad[:0:-1], *good, (*bad[0][:4], "True", bad[0][5])], hours=24)
    again = land(lake, folder, "activity", day=2)
    assert (again.added, again.quarantined) == (1, 0)
    assert "3-100-meeting-1" in {row["id"] for row in newest(lake, "activity")}


def test_changes_that_cannot_be_typed_wait_in_quarantine(lake, folder):
    bad = [(1, "yesterday", STAGE, "1"), ("x", "2024-01-01 00:00:00", STAGE, "1"), (1, "", STAGE, "1")]
    write(folder, "deal_changes", [*SMALL_EXPORT["deal_changes"], *bad])

    landing = land(lake, folder, "deal_changes")

    assert (landing.added, landing.quarantined) == (3, 3)


def test_of_rows_with_one_id_the_one_changed_last_counts_and_it_is_told(tmp_path):
    rows = [(7, "Ann Lee", "a@x.example", "2024-03-01 00:00:00"), (7, "Zoe", "z@x.example", "2024-01-01 00:00:00")]
    for order in (rows, rows[::-1]):
        folder = write_export(tmp_path / "export", users=order)
        found = ExportFolder(folder).extract(BY_NAME["users"], CALENDAR.window("2026-01-01"))
        assert found.rows["name"].to_list() == ["Ann Lee"]
        assert len(found.notes) == 1 and "pipedrive.users: 1 ids come several times" in found.notes[0]


# -- the files -------------------------------------------------------------------------------------------------


def test_headers_and_file_names_match_in_any_case_and_extra_columns_land_as_text(lake, tmp_path):
    folder = write_export(tmp_path / "export")
    (folder / "stages.csv").unlink()
    (folder / "Stages.CSV").write_bytes(
        b"\xef\xbb\xbfSTAGE_ID,Stage_Name,Id,Colour\r\n1,Lead Generation,x,red\r\n"
    )
    exported(folder / "Stages.CSV", hours=1)

    landing = land(lake, folder, "stages")

    assert landing.unknown_columns == ("colour", "id_of_export")
    assert newest(lake, "stages") == [{"id": "1", "stage_id": 1, "stage_name": "Lead Generation"}]
    assert lake.read(BY_NAME["stages"]).collect()["colour"].to_list() == ["red"]


def test_the_small_export_lands_typed(lake, folder):
    for name in BY_NAME:
        assert land(lake, folder, name).quarantined == 0

    assert [row["active"] for row in newest(lake, "activity_types")] == [True, False]
    assert newest(lake, "fields")[0]["field_value_options"] == '[{"id": 1, "label": "Customer, Not\nReady"}]'
    assert newest(lake, "users")[0]["modified"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert len(newest(lake, "deal_changes")) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "activity.csv is not in {folder} .GTM_PIPEDRIVE_DIR.*Put the file there"),
        (b"", "activity.csv is empty, without even a header. Export it again"),
        (b"type,deal_id\nmeeting,1\n", "has no column activity_id, without which its rows can't be told apart"),
        (b"activity_id,Activity_ID,deal_id,type\n1,1,1,x\n", "has two columns 'Activity_ID'"),
        (b"activity_id,deal_id,type\n1,2,caf\xe9\n", "can't be read as CSV"),
        (b"activity_id,deal_id,type\n1,2,x,9,9\n", "can't be read as CSV"),
    ],
    ids=["missing", "empty", "no id", "twice", "not UTF-8", "ragged"],
)
def test_a_file_that_cannot_be_read_is_named_with_what_to_do(lake, folder, content, message):
    path = folder / "activity.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        exported(path, hours=1)

    with pytest.raises(ExportError, match=f"^pipedrive.activity: .*{message.format(folder=folder)}"):
        land(lake, folder, "activity")
    assert lake.batches() == []


def test_what_is_no_file_and_two_files_of_one_name_are_refused(lake, folder):
    path, table = folder / "users.csv", BY_NAME["users"]
    content = path.read_bytes()
    path.unlink()
    for make, says in (
        (path.mkdir, r"users\.csv in .* is a folder"),
        (lambda: path.symlink_to("gone.csv"), r"users\.csv in .* is no file .*a link to one that is gone"),
        (lambda: (folder / "Users.csv").write_bytes(content), r"has Users\.csv and users\.csv, and which"),
    ):
        make()
        for look in (lambda: land(lake, folder, "users"), lambda: ExportFolder(folder).fingerprint(table)):
            with pytest.raises(ExportError, match=f"^pipedrive.users: .*{says}.*, and run again$"):
                look()
        if path.is_dir():
            path.rmdir()
        elif path.is_symlink():
            path.unlink()
            path.write_bytes(content)


# -- what a file is --------------------------------------------------------------------------------------------


def read(name: str, content: bytes) -> Extract:
    return extract(BY_NAME[name], content, EXPORTED, "", f"{name}.csv")


def rows_of(found: Extract) -> list[tuple]:
    return sorted(found.rows.rows(), key=str)


@pytest.mark.parametrize("name", BY_NAME)
def test_rows_that_hold_nothing_are_no_records(folder, name):
    whole = (folder / f"{name}.csv").read_bytes()
    lines = whole.splitlines(keepends=True)
    blank = [b"\r\n", b"\n", b"  \n", b"\t\n", b",,,\r\n", b'"",""\n', b" , \xc2\xa0,\n", b",,,,,,,,,,\n"]
    # The value of a field of `fields` goes on in the next line.
    header, *rest = lines if name != "fields" else [lines[0], b"".join(lines[1:])]
    filled = b"".join([*blank, header, *(b"".join([*blank, row]) for row in rest), *blank])

    assert rows_of(read(name, filled)) == rows_of(read(name, whole))


@pytest.mark.parametrize("name", BY_NAME)
def test_a_header_that_comes_again_is_no_record_and_is_told(folder, name):
    whole = (folder / f"{name}.csv").read_bytes()
    header = ",".join(f" {column}" for column in HEADERS[name]).encode()

    found = read(name, b"".join([whole, b"\xef\xbb\xbf", whole, header, b",\n"]))

    assert rows_of(found) == rows_of(read(name, whole))
    assert f"{name}.csv has 2 rows that are its header again" in found.notes[0]


def test_quotes_after_a_space_are_quotes():
    assert rows_of(read("stages", b'stage_id, stage_name\n1, "Lead, new"\n')) == rows_of(
        read("stages", b'stage_id,stage_name\n1,"Lead, new"\n')
    )


@pytest.mark.parametrize(("yes", "no"), [("Yes", "No"), ("y", "n"), ("1", "0"), ("TRUE", "FALSE"), ("t", "f")])
def test_flags_are_read_in_every_english_spelling(yes, no):
    found = read("activity_types", f"id,name,active,type\n1,Call,{yes},call\n2,Lunch,{no},lunch\n".encode())

    assert found.rows["active"].to_list() == ["true", "false"]


def test_minutes_without_seconds_are_read(lake, folder):
    write(folder, "activity", [(1, "meeting", 7, 100, "True", "2026-01-05 10:30")])

    assert land(lake, folder, "activity").quarantined == 0
    assert newest(lake, "activity")[0]["due_to"] == datetime(2026, 1, 5, 10, 30, tzinfo=UTC)


CHANGES = (
    b"deal_id,change_time,changed_field_key,new_value\r\n"
    b"100,2024-04-09 21:32:09,stage_id,1\r\n"
    b'101,2024-04-09 21:32:09,lost_reason,"Too dear,\nthey ""said"""\r\n'
    b"100,2024-05-01 08:00:00,lost_reason,Caf\xc3\xa9 closed\r\n"
)


def test_a_file_cut_anywhere_brings_no_record_that_the_whole_does_not_have():
    whole = rows_of(read("deal_changes", CHANGES))
    pieces = set()
    for end in range(1, len(CHANGES)):
        try:
            piece = rows_of(read("deal_changes", CHANGES[:end]))
        except ExportError as error:
            assert str(error).startswith("pipedrive.deal_changes: deal_changes.csv ")
            assert "Put the whole file there" in str(error) or "put the whole file there" in str(error) or end < 48
        else:
            assert set(piece) <= set(whole)
            pieces.add(len(piece))
    assert pieces == {0, 1, 2, 3}


def test_a_change_whose_row_was_cut_has_its_value_once_the_file_is_whole(lake, folder):
    path = write(folder, "deal_changes", [(100, "2024-05-01 08:00:00", "lost_reason", "Price")])
    content = path.read_bytes()
    for cut in (b",Price\r\n", b"Price\r\n", b"ice\r\n"):
        path.write_bytes(content.removesuffix(cut))
        exported(path, hours=1)
        with pytest.raises(
            ExportError, match=r"deal_changes\.csv (can't be read as CSV: line 2 has 3|has no newline)"
        ):
            land(lake, folder, "deal_changes")
    path.write_bytes(content)
    exported(path, hours=2)
    land(lake, folder, "deal_changes", day=2)

    assert [row["new_value"] for row in newest(lake, "deal_changes")] == ["Price"]


def test_a_row_cut_short_in_the_middle_is_named_with_its_line(folder):
    lines = (folder / "activity.csv").read_bytes().splitlines(keepends=True)
    content = b"".join([lines[0], b"\r\n", lines[1], b"2,call,7\r\n", lines[2]])

    with pytest.raises(
        ExportError, match=r"line 4 has 3 values \(2, call, 7\), and the header 6 .*Complete the row"
    ):
        read("activity", content)


def test_a_state_without_a_newline_at_its_end_is_read_and_told(folder):
    whole = (folder / "stages.csv").read_bytes()
    found = read("stages", whole.rstrip())

    assert rows_of(found) == rows_of(read("stages", whole))
    assert "stages.csv has no newline at its end. If it was cut, so is its last row." in found.notes[0]


@pytest.mark.parametrize("name", ["activity", "deal_changes", "fields"])
def test_separators_and_encodings_are_read_and_told(name):
    rows = [HEADERS[name], *SMALL_EXPORT[name], ("9", *['1; 2,\t"ü" | ЖX'] * (len(HEADERS[name]) - 1))]
    expected = rows_of(read(name, texts(rows, ",").encode()))
    words = {",": "", ";": "separated by semicolons", "\t": "separated by tabs", "|": "separated by pipes"}
    for separator, encoding, says in itertools.product(
        words, ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"], ["", "sep={}\r\n", '"SEP={}"\n']
    ):
        mark = b"\xfe\xff" if encoding == "utf-16-be" else b""

        found = read(name, mark + (says.format(separator) + texts(rows, separator)).encode(encoding))

        assert rows_of(found) == expected
        assert words[separator] in found.read_as and ("UTF-16" in found.read_as) == encoding.startswith("utf-16")
        assert bool(found.read_as) == ((separator, encoding) != (",", "utf-8"))


def texts(rows: Iterable[Sequence[object]], separator: str) -> str:
    content = io.StringIO()
    csv.writer(content, delimiter=separator).writerows(rows)
    return content.getvalue()


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return content.getvalue()


USERS = b"id,name,email,modified\n"
NOT_CSV = {
    "a workbook": (
        workbook(),
        r"is an Excel workbook \(\.xlsx\), whatever its name\. Open it and save ",
    ),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1", r"is an Excel workbook of the old kind"),
    "gzip": (gzip.compress(USERS), r"is compressed by gzip, whatever its name\. Unpack it"),
    "HTML": (b"\n<!DOCTYPE html><html>Sign in</html>", r"is a page of HTML or XML, such as a login page"),
    "JSON": (b'[{"id": 1}]', "is JSON"),
    "UTF-16 without a mark": (USERS.decode().encode("utf-16-le"), "looks like UTF-16 without a mark"),
    "Windows-1252": (
        USERS + "7,Zoë,z@x.example,\n".encode("cp1252"),
        r"byte 0xeb in line 2 .*Windows-1252",
    ),
    "half a character": (USERS + "7,Zoë".encode()[:-1], r"ends within a character \(line 2\)"),
    "other headers": (
        b"Kennung;Name\n7;Ann\n",
        r"has no column id, .*; its first row \(line 1\) is Kennung, Name\. Remove what .* English names",
    ),
    "a title above the headers": (
        b"Users of 2026,,,\n" + USERS,
        r"has no column id, .* first row \(line 1\) is Users of 2026\. Remove what stands above the headers",
    ),
    "HTML with a mark": (b"\xef\xbb\xbf<html>", "is a page of HTML or XML"),
    "full of NUL": (USERS + b"\0" * 99, "is damaged, or no CSV at all: it is full of NUL bytes"),
    "a nameless column": (b"id,,name\n7,x,Ann\n", r"has no header for its column 2 \(line 1\)"),
    "blank": (b" \n,,\n", "is empty, without even a header"),
    "an open quote": (USERS + b'7,"Ann\nLee,a@x.example,\n', r"in quotes that begins in line 2 does not end"),
    "a lone quote": (USERS + b'7,"Ann "Lee"",a@x.example,\n', r"line 2 has a quote within a text in quotes"),
    "a German date": (
        USERS + b"7,Ann,a@x.example,03.04.2026 06:30\n",
        r"has '03\.04\.2026 06:30' for modified in line 2, which is a date in another order, .* Write dates as y",
    ),
    "an American date": (USERS + b"7,Ann,a@x.example,\n8,Bo,,4/13/26\n", r"'4/13/26' for modified in line 3"),
    "a day's number": (USERS + b"7,Ann,a@x.example,45385.5\n", "a spreadsheet's number of a day"),
    "a date in words": (USERS + b"7,Ann,a@x.example,3 Apr 2026\n", "a date in words"),
}


@pytest.mark.parametrize("case", NOT_CSV)
def test_what_can_not_be_read_without_a_doubt_is_refused_with_what_it_is(case):
    content, message = NOT_CSV[case]

    with pytest.raises(ExportError, match=f"^pipedrive.users: users.csv .*{message}.*, and run again$"):
        read("users", content)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"1,meeting,7,1.000,True,", "has '1.000' for deal_id in line 3, which is a number with a separator"),
        (b'1,meeting,7,"12,345",True,', "has '12,345' for deal_id in line 3, which is a number with a separator"),
        (
            b'1,meeting,"7,5",100,True,',
            "has '7,5' for assigned_to_user in line 3, which is a number with a deci",
        ),
        (b"1,meeting,7,1 000,True,", "has '1 000' for deal_id in line 3, which is a number with a separator"),
        ("1,meeting,7,1’000,True,".encode(), "has '1’000' for deal_id in line 3, which is a number with a sep"),
        (b"1,meeting,7,100,Wahr,", "has 'Wahr' for done in line 3, which is neither Yes nor No"),
    ],
)
def test_numbers_and_words_of_another_language_are_refused(row, message):
    content = b"activity_id,type,assigned_to_user,deal_id,done,due_to\n\n" + row + b"\n"

    with pytest.raises(ExportError, match=f"pipedrive.activity: activity.csv {re.escape(message)}"):
        read("activity", content)


def test_a_file_that_is_being_written_is_waited_for(lake, folder, monkeypatch):
    path, waits = folder / "deal_changes.csv", []
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])

    def wait(seconds: float) -> None:
        waits.append(seconds)
        path.write_bytes(whole)
        exported(path, hours=1 if len(waits) > 1 else 10_000_000)

    monkeypatch.setattr(time, "sleep", wait)
    landing = land(lake, folder, "deal_changes")

    # The first look finds no newline, the second a file that has moved.
    assert waits == [1, 1]
    assert (landing.added, landing.quarantined) == (3, 0)


def test_a_file_that_is_written_for_too_long_is_told_and_tried_again_later(lake, folder, monkeypatch):
    path = folder / "deal_changes.csv"

    def wait(_: float) -> None:
        with path.open("ab") as file:
            file.write(b"100,2024-05-01 08:00:00,lost_reason,Price\r\n")

    wait(0)
    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(export_module, "_LOOK_SECONDS", 30)
    monkeypatch.setattr(export_module, "_PATIENCE_SECONDS", 0.1)
    with pytest.raises(
        SourceUnavailable, match=r"deal_changes\.csv is still being written: .*Run again when"
    ) as e:
        land(lake, folder, "deal_changes")
    assert may_pass(e.value) and lake.batches() == []


def test_a_file_that_has_no_newline_and_does_not_move_is_read(lake, folder):
    path = folder / "stages.csv"
    path.write_bytes(path.read_bytes().rstrip())
    exported(path, hours=1)

    assert land(lake, folder, "stages").added == 2


def test_a_folder_that_is_not_there_is_named(lake, tmp_path):
    with pytest.raises(ExportError, match=f"the folder {tmp_path}/none is not there. Set GTM_PIPEDRIVE_DIR"):
        land(lake, tmp_path / "none", "users")


def test_made_up_deals_and_real_ones_are_not_landed_in_one_lake(lake):
    claim_origin(lake, "synthetic")
    claim_origin(lake, "synthetic")

    with pytest.raises(ExportError, match=r"holds the deals of the synthetic export.*Set GTM_HOME"):
        claim_origin(lake, "export")
    check_origin(Lake(lake.root / "other"), "export")


def test_a_mark_that_a_full_disk_cut_short_is_written_anew(lake):
    claim_origin(lake, "synthetic")
    (mark,) = (lake.root / "pipedrive").iterdir()
    mark.write_text("")

    claim_origin(lake, "export")

    with pytest.raises(ExportError, match=r"holds the deals of an export"):
        check_origin(lake, "synthetic")
