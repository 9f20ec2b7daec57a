"""Builds as of an earlier day: two of one day take turns."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from filelock import FileLock

from gtm_assets.engines.files import create
from gtm_assets.lake.store import Lake
from gtm_assets.partitions import Calendar
from gtm_assets.publishing import as_of
from gtm_assets.settings import load_settings
from gtm_assets.sources.salesforce.catalog import OBJECTS

DAY = "2026-01-01"


@pytest.fixture
def settings(tmp_path):
    settings = load_settings({"GTM_HOME": str(tmp_path / "gtm"), "GTM_START_DATE": DAY, "GTM_END_DATE": DAY})
    window = Calendar.of(settings).window(DAY)
    Lake(settings.lake_dir).land(OBJECTS[0], window, [], window.end)
    return settings


def test_a_build_waits_for_another_of_its_day_and_leaves_what_that_one_has_open(settings, monkeypatch):
    compiled = []

    def run_dbt(_, __, engine, folder):
        compiled.append(folder)
        create(engine.path)
        return iter(())

    monkeypatch.setattr(as_of, "run_dbt", run_dbt)
    monkeypatch.setattr(as_of, "publish", lambda *_: {})
    day = str(Calendar.of(settings).first + timedelta(days=1))
    said, waits = [], threading.Event()
    path = as_of.build_as_of(settings, day, said.append).path
    workshop = path.with_name(f".{path.stem}")
    lock = FileLock(workshop.with_suffix(".lock"))
    workshop.mkdir()
    (workshop / "in use").touch()

    with lock:
        second = threading.Thread(
            target=as_of.build_as_of, args=(settings, day, lambda text: (said.append(text), waits.set()))
        )
        second.start()
        assert waits.wait(30)
        assert "in use by another process. Waiting" in said[-1]
        assert (workshop / "in use").exists() and len(compiled) == 1
    second.join(60)

    assert len(compiled) == 2 and not workshop.exists()
    assert not {settings.dbt_target_dir} & {folder for made in compiled for folder in (made, *made.parents)}


def test_a_check_that_fails_says_what_would_hold():
    said, checks = [], Counter()
    manifest = {"nodes": {"test.a": {"name": "a", "raw_code": "-- Days have no gap.\nselect 1"}}}
    for status in ("pass", "warn", "fail"):
        node = {"resource_type": "test", "unique_id": "test.a", "node_name": "a", "node_status": status}
        as_of._tell({"data": {"node_info": node}}, manifest, checks, said.append)

    assert said == ["failed  a. Days have no gap."]
