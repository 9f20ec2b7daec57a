"""How ``gtm metrics`` shows its answers."""

import time
from decimal import Decimal

from gtm_assets.dbt import metrics


def test_amounts_are_printed_in_full_and_no_spinner_turns_in_a_log(monkeypatch, capsys):
    from dbt_metricflow.cli import main
    from metricflow.data_table.mf_table import MetricFlowDataTable

    monkeypatch.setattr(main, "Halo", main.Halo)
    monkeypatch.setattr(MetricFlowDataTable, "text_format", MetricFlowDataTable.text_format)
    rows = [
        ("Jo", 1_893_456.78, Decimal("250000000.00"), 0.12345678, 5),
        ("Li", 1e21, Decimal("-3.10"), 1.0, 7),
        ("Mo", None, Decimal("0"), 0.00000012, 0),
    ]
    table = MetricFlowDataTable.create_from_rows(("owner", "bookings", "quota", "rate", "deals"), rows)

    metrics.show_for_people()

    shown = [line.split() for line in table.text_format().splitlines()]
    assert shown[2:] == [
        ["Jo", "1893456.78", "250000000", "0.123457", "5"],
        ["Li", "1000000000000000000000", "-3.1", "1", "7"],
        ["Mo", "0", "1.2e-07", "0"],
    ]
    assert table.text_format(2).splitlines()[2].split()[1:4] == ["1893456.78", "250000000.00", "0.12"]
    spinner = main.Halo(text="Looking …", spinner="dots")
    spinner.start()
    time.sleep(0.3)
    spinner.succeed("Found.")
    assert capsys.readouterr().out.split() == ["✔", "Found."]
