"""The published file is opened by earlier releases of DuckDB, as BI tools carry them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

pytestmark = pytest.mark.slow

UV = Path(sys.executable).with_name("uv")
CONTENT = """
import duckdb, json, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    names = connection.execute(
        "select schema_name || '.' || table_name, comment from duckdb_tables() order by all"
    ).fetchall()
    columns = connection.execute(
        "select schema_name || '.' || table_name || '.' || column_name, data_type, comment"
        " from duckdb_columns() where database_name = current_database() and not internal order by all"
    ).fetchall()
    connection.execute("set TimeZone = 'UTC'")
    # md5 of the values' texts: DuckDB's own hash, and its text of a whole row, differ between releases.
    digests = {}
    for table, _ in names:
        parts = [column.rpartition(".") for column, *_ in columns]
        texts = ", ".join(f"coalesce(cast({name} as varchar), 'null')" for of, _, name in parts if of == table)
        digests[table] = connection.execute(
            f"select count(*), md5(string_agg(digest, '' order by digest))"
            f" from (select md5(concat_ws('|', {texts})) as digest from {table})"
        ).fetchone()
print(json.dumps([duckdb.__version__, names, columns, digests]))
"""


def content(path: Path, packages: Path | None = None) -> list:
    """DuckDB's version, then tables, columns and a digest of each table's rows, as that version reads them."""
    environment = os.environ | {"TZ": "UTC"} | ({"PYTHONPATH": str(packages)} if packages else {})
    command = [sys.executable, "-c", CONTENT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "release",
    [
        pytest.param("==1.2.0", id="oldest"),
        pytest.param(">=1.2,<2", id="newest", marks=pytest.mark.nightly),
    ],
)
def test_earlier_releases_read_the_published_file_as_ours_does(built_home, tmp_path, release):
    command = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        tmp_path,
        f"duckdb{release}",
    ]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"duckdb{release} can't be installed: {installed.stderr.strip()[-200:]}")
    assert installed.returncode == 0, installed.stderr

    version, *theirs = content(built_home.published, tmp_path)
    own_version, *ours = content(built_home.published)

    assert own_version == duckdb.__version__ != version
    assert version.startswith("1.")
    assert theirs == ours
    tables, columns, digests = theirs
    assert sum(rows for rows, _ in digests.values()) > 10_000
    assert any(comment for _, comment in tables) and any(comment for *_, comment in columns)
