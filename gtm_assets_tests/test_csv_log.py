"""The server's CSV log, read in parts that end anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtm_assets.serving.csv_log import Record, part_of

TEXTS = st.text(alphabet=st.sampled_from('ab,"\n\r ;é'), max_size=12)


def line(number: int, statement: str, login: str = "ana", message: str = "AUDIT: x") -> bytes:
    """A line as the server writes it."""
    return ",".join(
        [
            "2026-11-29 18:22:57.638 UTC",
            quoted(login),
            quoted("sales"),
            f'77,"127.0.0.1:5",6b0c.3cdd,{number},"SELECT",2026-11-29 18:22:57 UTC,3/0,0,LOG,00000',
            quoted(message),
            f',,,,,{quoted(statement)},,,"psql","client backend",,-256\n',
        ]
    ).encode()


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def read(data: bytes, cuts: list[int]) -> list[Record]:
    """The records of a file that is read whenever it has reached one of these sizes, and then whole."""
    records, position = [], 0
    for cut in [*sorted(cuts), len(data)]:
        part = part_of(data[position : max(cut, position)], is_last=False)
        assert part.damaged == 0
        records += part.records
        position += part.size
    assert position == len(data)
    return records


@given(st.lists(TEXTS, max_size=6), st.lists(st.integers(min_value=0, max_value=1500), max_size=5))
def test_wherever_a_file_ends_while_it_is_written_each_record_is_read_once(statements, cuts):
    data = b"".join(line(number, statement) for number, statement in enumerate(statements))

    found = read(data, [min(cut, len(data)) for cut in cuts])

    assert [(one.line, one.statement) for one in found] == [*enumerate(statements)]


def test_a_file_may_end_at_any_byte_while_it_is_written():
    statements = ['one\n"two"\n', "\n\n", 'say ""', "é\n'"]
    data = b"".join(line(number, statement) for number, statement in enumerate(statements))
    for cut in range(len(data)):
        assert [(one.line, one.statement) for one in read(data, [cut])] == [*enumerate(statements)]


@pytest.mark.parametrize("cut_off", [40, 60, 75, 100, 150, 180])
def test_a_record_that_was_cut_off_is_counted_and_those_behind_it_are_read(cut_off):
    cut = line(2, 'select "x"\nfrom y')[:-cut_off]
    data = line(1, "one") + cut + b"\n" + line(3, 'with "quotes"\n') + line(4, "four")

    found = part_of(data, is_last=True)

    assert ([one.line for one in found.records], found.damaged) == ([1, 3, 4], 1)


def test_a_statement_that_looks_like_a_record_is_none():
    forged = line(9, "select 1", login="boss").decode()
    data = line(1, f"select 1\n{forged}") + line(2, "torn\n")[:40] + b"\n" + line(3, "three")

    found = part_of(data, is_last=True)

    assert {one.login for one in found.records} == {"ana"}
    assert [one.line for one in found.records] == [1, 3]


def test_a_statement_longer_than_a_field_of_csv_is_by_default_is_read():
    statement = "select '" + "x" * 300_000 + "'"
    assert [one.statement for one in part_of(line(1, statement), is_last=False).records] == [statement]
