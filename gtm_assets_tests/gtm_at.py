"""The `gtm` command at another time: `python -m gtm_assets_tests.gtm_at 2026-09-10T12:00:31+00:00 run --now`."""

from __future__ import annotations

import sys
from datetime import datetime
from unittest import mock

from dagster._core.test_utils import freeze_time

from gtm_assets import clock
from gtm_assets.cli.main import main

if __name__ == "__main__":
    now = datetime.fromisoformat(sys.argv[1])
    with freeze_time(now), mock.patch.object(clock, "now", lambda: now):
        main(sys.argv[2:], prog_name="gtm")
