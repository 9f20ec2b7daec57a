"""The drawings that pages use. Each gives the Vega-Lite specification of a chart on the data ``rows``.

The fields of ``rows`` are the columns of the chart's ``by`` and its measures by label; of each there is a second
field with the figure as it is written, ``<name>, written``, for what appears under the pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import altair as alt

from gtm_assets.reporting.page import Chart
from gtm_assets.reporting.rows import SYMBOLS, Kind, Measure, ReportError
from gtm_assets.reporting.theme import SERIES, colour

Drawn = Callable[[Chart], dict[str, Any]]
HEIGHT = 230
STEP = 26
"""Height of a bar that lies, with its gap."""
_ROOM = alt.ExprRef("windowSize()[0] < 600 ? 130 : 230")
"""Pixels for a name beside a bar: on a phone fewer."""
_UNITS: dict[str, Literal["utcyearmonth", "utcyearweek", "utcyearmonthdate"]] = {
    "week": "utcyearweek",
    "month": "utcyearmonth",
    "day": "utcyearmonthdate",
}


def over_time(mark: Literal["bar", "line"] = "bar", target: str = "", only_first: bool = False) -> Drawn:
    """Measures by the month, week or day that is the first of the chart's ``by``.

    The measure labelled ``target`` is a tick above or in each bar, or a broken line beside lines. Several others
    stand beside each other as bars, or are lines of several colours; with ``only_first`` they stand in the table
    alone. A second column of ``by`` gives stacked bars or several lines.
    """

    def drawn(chart: Chart) -> dict[str, Any]:
        column = chart.rows.column(chart.by[0])
        measures = _drawn_ones(chart, target)[: 1 if only_first else None]
        x = alt.X(
            field=column.name,
            type="temporal",
            timeUnit=_UNITS[column.kind],
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(
                format="%b %Y" if column.kind == "month" else "%d %b", labelOverlap="greedy", labelSeparation=12
            ),
        )
        base = alt.Chart(alt.NamedData("rows")).encode(x=x, tooltip=_tooltip(chart))
        marks = base.mark_bar() if mark == "bar" else base.mark_line(point=alt.OverlayMarkDef(size=30))
        if len(measures) > 1:
            labels = [measure.label for measure in measures]
            marks = marks.transform_fold(labels, as_=["series", "figure"]).encode(
                y=_quantity("figure", measures[0].kind, "y"),
                color=alt.Color(field="series", type="nominal", sort=None, scale=_scale(labels)),
            )
            if mark == "bar":
                marks = marks.encode(xOffset=alt.XOffset(field="series", type="nominal", sort=None))
        else:
            marks = marks.encode(y=_quantity(measures[0].label, measures[0].kind, "y"))
            if len(chart.by) > 1:
                marks = marks.encode(color=alt.Color(field=chart.by[1], type="nominal", sort=None))
        if target:
            aim = (
                base.mark_tick(width=alt.RelativeBandSize(0.9))
                if mark == "bar"
                else base.mark_line(color=colour("ink"), strokeDash=[5, 4])
            )
            return _finished(alt.layer(marks, aim.encode(y=_quantity(target, measures[0].kind, "y"))))
        return _finished(marks)

    return drawn


def by_name(target: str = "") -> Drawn:
    """Lying bars of the first measure, one for each value of the chart's ``by``, in the order of the rows.

    The measure labelled ``target`` is a tick on each bar. A second measure beside it is a paler bar
    behind: of what the first is a part.
    """

    def drawn(chart: Chart) -> dict[str, Any]:
        first, *others = _drawn_ones(chart, target)
        y = alt.Y(
            field=chart.by[0], type="nominal", sort=None, axis=alt.Axis(labelLimit=_ROOM, labelColor=colour("ink"))
        )
        base = alt.Chart(alt.NamedData("rows")).encode(y=y, tooltip=_tooltip(chart))
        layers = [
            base.mark_bar(color=colour("pale")).encode(x=_quantity(other.label, other.kind, "x"))
            for other in others
        ]
        layers.append(base.mark_bar().encode(x=_quantity(first.label, first.kind, "x")))
        if target:
            layers.append(base.mark_tick(height=18).encode(x=_quantity(target, first.kind, "x")))
        return _finished(alt.layer(*layers), step=STEP)

    return drawn


def waterfall(first: str, last: str) -> Drawn:
    """Lying bars of the first measure, each from where the one before it ended.

    The value ``first`` of the chart's ``by`` is what they begin with and ``last`` what they come to: both stand on
    the axis. What adds has another colour than what takes away.
    """

    def drawn(chart: Chart) -> dict[str, Any]:
        field, measure = chart.by[0], chart.measures[0]
        is_end = f"datum.{field} == '{first}' || datum.{field} == '{last}'"
        amount = f"datum['{measure.label}']"
        y = alt.Y(
            field=field, type="nominal", sort=None, axis=alt.Axis(labelLimit=_ROOM, labelColor=colour("ink"))
        )
        bars = (
            alt.Chart(alt.NamedData("rows"))
            .transform_window(frame=[None, 0], total=f"sum({measure.label})")
            .transform_calculate(
                begin=f"{is_end} ? 0 : datum.total - {amount}",
                end=f"{is_end} ? {amount} : datum.total",
                way=f"{is_end} ? 'stands' : {amount} < 0 ? 'takes' : 'adds'",
            )
            .mark_bar()
            .encode(
                y=y,
                x=_quantity("begin", measure.kind, "x"),
                x2=alt.X2(field="end"),
                color=alt.Color(
                    field="way",
                    type="nominal",
                    legend=None,
                    scale=alt.Scale(
                        domain=["stands", "adds", "takes"],
                        range=[colour(name) for name in ("accent", "good", "bad")],
                    ),
                ),
                tooltip=_tooltip(chart),
            )
        )
        return _finished(bars, step=STEP)

    return drawn


def _drawn_ones(chart: Chart, target: str) -> list[Measure]:
    """The measures that are drawn beside the target, those of the first one's kind; the table shows all.

    Raises:
        ReportError: the label of one is no name of a field.
    """
    for measure in chart.measures:
        if set(measure.label) & set(".[]\\"):
            raise ReportError(
                f"{measure.label!r} names a field of the chart {chart.title!r}: no . [ ] or \\ in it"
            )
    kind = chart.measures[0].kind
    return [measure for measure in chart.measures if measure.label != target and measure.kind == kind]


def _quantity(field: str, kind: Kind, channel: Literal["x", "y"]) -> Any:
    axis = alt.Axis(format=".0%") if kind == "share" else alt.Axis(labelExpr=_label(kind))
    return (alt.X if channel == "x" else alt.Y)(field=field, type="quantitative", axis=axis)


def _label(kind: Kind) -> str:
    text = (
        "(abs(datum.value) < 1000 ? format(datum.value, ',.2~f') : replace(format(datum.value, '~s'), 'G', 'bn'))"
    )
    return f"symbol + {text}" if kind == "amount" else text


def _scale(labels: list[str]) -> alt.Scale:
    return alt.Scale(domain=labels, range=[colour(name) for name in SERIES[: len(labels)]])


def _tooltip(chart: Chart) -> list[alt.Tooltip]:
    columns = [(name, chart.rows.column(name).label) for name in chart.by]
    figures = [(measure.label, measure.label) for measure in chart.measures]
    return [
        alt.Tooltip(field=f"{field}, written", type="nominal", title=title) for field, title in columns + figures
    ]


def _finished(chart: Any, step: int | None = None) -> dict[str, Any]:
    """The specification, as wide as its place."""
    specification: dict[str, Any] = chart.properties(
        width="container", height=alt.Step(step) if step else HEIGHT
    ).to_dict()
    specification.pop("config", None)
    specification["params"] = [*specification.get("params", []), {"name": "symbol", "value": ""}]
    return specification


def symbol_of(currency: str) -> str:
    """What stands before an amount on an axis."""
    return SYMBOLS.get(currency, "")
