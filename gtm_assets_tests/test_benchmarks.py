"""The benchmarks at a size that a test can bear: what must not grow with the number of records."""

import pytest

from benchmarks.bulk_landing import HIGHEST_MIB, in_a_process, logged_in, salesforce

GROWTH_MIB = 80
"""The 150,000 tasks more are 55 MB of CSV, and in memory several times as much."""


@pytest.mark.nightly
def test_memory_does_not_grow_with_the_records_that_land_by_bulk(tmp_path):
    costs = {}
    for rows in (50_000, 200_000):
        landings = []
        # A peak depends on when the threads give memory back. The least of two does not.
        for attempt in (1, 2):
            folder = tmp_path / f"{rows}-{attempt}"
            folder.mkdir()
            with salesforce(rows) as org:
                landings.append(in_a_process("land", *logged_in(org, folder)))
        costs[rows] = min(landings, key=lambda cost: cost.peak_mib)

    few, many = costs.values()
    assert many.rows > 3 * few.rows > 100_000
    assert many.peak_mib < HIGHEST_MIB
    assert many.peak_mib - few.peak_mib < GROWTH_MIB
