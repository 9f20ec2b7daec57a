"""The report in a sentence and a picture, for messages: the last month of the first page."""

from __future__ import annotations

from typing import Any

import vl_convert

from gtm_assets.reporting import theme
from gtm_assets.reporting.executive import bookings, headlines, months, oldest_first
from gtm_assets.reporting.html import drawing_of
from gtm_assets.reporting.page import Chart, Tile
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import Measure, change, grouped, plain, written, written_change

TOLD = ("Bookings", "Quota attainment", "Pipeline", "Win rate")
"""The headline numbers that the sentence has."""
WIDTH = 640
"""Of the picture, in pixels before it is made twice as fine."""


def sentence(published: Published) -> str:
    """The headline numbers of the last month with their change; empty where there is no month."""
    summary = months(published)
    if not summary.values:
        return ""
    month, last_day = (plain(value, "day") for value in summary.values[0][:2])
    told = [
        _told(tile, summary.values[0][0], published.currency) for tile in headlines(summary) if tile.label in TOLD
    ]
    return f"{written(month, 'month')} up to {last_day}: {'; '.join(told)}."


def _told(tile: Tile, month: Any, currency: str) -> str:
    kind = tile.measure.kind
    earlier = [Measure(called, column, kind) for called, column in tile.before]
    ((now, *before),) = grouped(tile.rows, (), [tile.measure, *earlier], {"month_start_date": month})
    changes = [
        f"{written_change(moved, kind)} {called}"
        for (called, _), value in zip(tile.before, before, strict=True)
        if (moved := change(now, value, kind)) is not None
    ]
    return f"{tile.label.lower()} {written(now, kind, currency)}" + (f" ({', '.join(changes)})" if changes else "")


def picture(published: Published) -> bytes:
    """Bookings by month as a PNG, in light colours."""
    chart = bookings(oldest_first(months(published)))
    specification = {
        **drawing_of(chart, published.currency),
        "width": WIDTH,
        "title": {"text": chart.title, "anchor": "start", "color": theme.colour("ink"), "offset": 12},
        "datasets": {"rows": _drawable(chart)},
        "config": {**theme.config(), "background": theme.colour("card"), "font": "sans-serif", "padding": 16},
    }
    png: bytes = vl_convert.vegalite_to_png(theme.painted(specification), scale=2)
    return png


def _drawable(chart: Chart) -> list[dict[str, Any]]:
    """The rows as a chart takes them: amounts in units."""
    fields = [(name, chart.rows.column(name).kind) for name in chart.by]
    fields += [(measure.label, measure.kind) for measure in chart.measures]
    return [
        {
            name: value / 100 if kind == "amount" and isinstance(value, int) else value
            for (name, kind), value in zip(fields, row, strict=True)
        }
        for row in grouped(chart.rows, chart.by, chart.measures, {})
    ]
