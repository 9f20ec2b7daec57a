"""Pages as HTML: each with its rows in it, so that it needs no server and asks nobody for anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gtm_assets.reporting import theme
from gtm_assets.reporting.charts import symbol_of
from gtm_assets.reporting.page import Chart, Choice, Content, Page, Section, Table, Tile, Words
from gtm_assets.reporting.published import Published
from gtm_assets.reporting.rows import (
    ADDITIVE,
    MONTHS,
    NOTHING,
    SYMBOLS,
    Measure,
    ReportError,
    Rows,
    change,
    grouped,
    plain,
    short,
    written,
    written_change,
)

FOLDER = Path(__file__).parent
NO_FIGURES = "There are no figures."
SCRIPT = f"vega-{version('vl-convert-python')}.js"
"""The charts' library, beside the pages."""


@dataclass(frozen=True)
class Made:
    """A page that is made."""

    page: Page
    html: str
    rows: Mapping[str, Rows]
    """The rows in it by name."""
    figures: int
    """How many tiles, charts and tables it has."""


def made(page: Page, published: Published, pages: Sequence[Page]) -> Made:
    """A page with what the published file holds.

    Raises:
        ReportError: its rows can't be read, or figures that don't add up would be added.
    """
    content = page.content(published)
    writer = _Writer(published)
    sections = [writer.section(section, content.choices) for section in content.sections]
    about = published.about
    html = _template().render(
        page=page,
        pages=pages,
        sections=sections,
        choices=[writer.choice(choice) for choice in content.choices],
        about=about,
        currency=published.currency,
        definitions=writer.definitions(),
        light=Markup(theme.variables(theme.LIGHT)),
        dark=Markup(theme.variables(theme.DARK)),
        font=Markup(theme.FONT),
        style=Markup((FOLDER / "frame.css").read_text()),
        behaviour=Markup((FOLDER / "frame.js").read_text()),
        library=SCRIPT,
        data=Markup(_for_a_script(writer.data(content))),
    )
    return Made(page, html, writer.rows, len(writer.figures))


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("frame.html")


def _for_a_script(data: Mapping[str, Any]) -> str:
    """JSON that can't end the element it stands in, whatever the texts in it are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class _Writer:
    """Writes the sections of one page and keeps what its script needs."""

    def __init__(self, published: Published) -> None:
        self._published = published
        self._numbers = count(1)
        self.rows: dict[str, Rows] = {}
        self.figures: list[dict[str, Any]] = []
        self._choices: list[Choice] = []

    def section(self, section: Section, of_page: Sequence[Choice]) -> dict[str, Any]:
        """What the template shows of a section."""
        choices = [*of_page, *section.choices]
        own = [self.choice(choice) for choice in section.choices]
        return {
            "id": f"s{next(self._numbers)}",
            "title": section.title,
            "note": section.note,
            "choices": own,
            "runs": [*_runs(self._figure(figure, choices) for figure in section.figures)],
        }

    def choice(self, choice: Choice) -> dict[str, Any]:
        """What the template shows of a choice."""
        return {"key": self._key(choice), "choice": choice}

    def _key(self, choice: Choice) -> str:
        """What tells a choice from others of its page: two sections may each offer their months."""
        if not any(choice is known for known in self._choices):
            self._choices.append(choice)
        return f"c{next(place for place, known in enumerate(self._choices) if known is choice)}"

    def _figure(self, figure: Tile | Table | Words, choices: Sequence[Choice]) -> dict[str, Any]:
        if isinstance(figure, Words):
            return {"kind": "words", "paragraphs": figure.paragraphs}
        self._keep(figure.rows)
        heeded = [choice for choice in choices if choice.column in figure.rows.places]
        deaf = [choice.label.lower() for choice in choices if choice.column not in figure.rows.places]
        chosen = {**figure.where, **_chosen_at_first(figure.rows, heeded)}
        shown = {
            "id": f"f{next(self._numbers)}",
            "heeds": [self._key(choice) for choice in heeded],
            "deaf": [self._key(choice) for choice in choices if choice.column not in figure.rows.places],
            "deaf_to": deaf,
            "note": figure.note,
        }
        if isinstance(figure, Tile):
            return self._tile(figure, shown, chosen)
        return self._table(figure, shown, chosen)

    def _keep(self, rows: Rows) -> None:
        if self.rows.setdefault(rows.name, rows).values != rows.values:
            raise ReportError(f"two rows of a report page are named {rows.name!r}: give one another name")

    def _tile(self, tile: Tile, shown: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        kind, currency = tile.measure.kind, self._published.currency
        earlier = [Measure(called, column, kind) for called, column in tile.before]
        ((now, *before),) = grouped(tile.rows, (), [tile.measure, *earlier], chosen)
        changes = []
        for (called, _), value in zip(tile.before, before, strict=True):
            moved = change(now, value, kind)
            changes.append(
                {
                    "called": called,
                    "text": written_change(moved, kind),
                    "tone": tone(moved, tile.better),
                    "title": f"{called}: {written(value, kind, currency)}",
                }
            )
        self.figures.append(
            {
                "id": shown["id"],
                "kind": "tile",
                "rows": tile.rows.name,
                "measures": [_measure(one) for one in (tile.measure, *earlier)],
                "where": _plain_where(tile.rows, tile.where),
                "heeds": shown["heeds"],
                "better": tile.better,
            }
        )
        return {
            **shown,
            "kind": "tile",
            "label": tile.label,
            # As JavaScript writes a number, which has no decimal where it needs none.
            "value": "" if now is None else int(now) if isinstance(now, float) and now.is_integer() else now,
            "short": short(now, kind, currency),
            "full": written(now, kind, currency),
            "changes": changes,
        }

    def _table(self, table: Table, shown: dict[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        currency = self._published.currency
        found = grouped(table.rows, table.by, table.measures, chosen, table.largest_first)
        keys = [table.rows.column(name) for name in table.by]
        kinds = [*(column.kind for column in keys), *(measure.kind for measure in table.measures)]
        self.figures.append(
            {
                "id": shown["id"],
                "kind": "chart" if isinstance(table, Chart) else "table",
                "title": table.title,
                "rows": table.rows.name,
                "by": [{"name": column.name, "label": column.label, "kind": column.kind} for column in keys],
                "measures": [_measure(one) for one in table.measures],
                "where": _plain_where(table.rows, table.where),
                "heeds": shown["heeds"],
                "largest_first": table.largest_first,
                "if_missing": table.if_missing,
                "most": table.most if isinstance(table, Chart) else None,
                "specification": drawing_of(table, currency) if isinstance(table, Chart) else None,
            }
        )
        return {
            **shown,
            "kind": "chart" if isinstance(table, Chart) else "table",
            "title": table.title,
            "wide": table.wide,
            "missing": missing(table, found),
            "alternative": alternative(table, found, currency) if table.measures else "",
            "headers": [
                *((column.label, False) for column in keys),
                *((measure.label, True) for measure in table.measures),
            ],
            "body": [
                [
                    (written(value, kind, currency), number >= len(keys))
                    for number, (value, kind) in enumerate(zip(row, kinds, strict=True))
                ]
                for row in found
            ],
        }

    def data(self, content: Content) -> dict[str, Any]:
        """What the page's script needs: the rows, the figures over them, the choices."""
        choices = [*content.choices, *(choice for section in content.sections for choice in section.choices)]
        return {
            "currency": self._published.currency,
            "symbols": SYMBOLS,
            "nothing": NOTHING,
            "no_figures": NO_FIGURES,
            "months": MONTHS,
            "additive": sorted(ADDITIVE),
            "config": theme.config(),
            "choices": {
                self._key(choice): {
                    "column": choice.column,
                    "label": choice.label,
                    "from_on": choice.from_on,
                    "options": [value for value, _ in choice.options],
                }
                for choice in choices
            },
            "rows": {
                name: {
                    "columns": [[column.name, column.kind] for column in rows.columns],
                    "values": [
                        [plain(value, column.kind) for value, column in zip(row, rows.columns, strict=True)]
                        for row in rows.values
                    ],
                }
                for name, rows in self.rows.items()
            },
            "figures": self.figures,
        }

    def definitions(self) -> list[tuple[str, str, str]]:
        """Of each measure its label, what the report says of its column, and the metric that it is."""
        found: dict[str, tuple[str, str, str]] = {}
        for figure in self.figures:
            rows = self.rows[figure["rows"]]
            if not rows.report:
                continue
            said = self._published.descriptions(rows.report, [*rows.places])
            for measure in figure["measures"]:
                if not measure["over"] and measure["of"] in said and measure["label"] not in found:
                    found[measure["label"]] = (measure["label"], said[measure["of"]], measure["metric"])
        return [one for one in found.values() if not one[1].startswith("The same")]


def tone(moved: float | None, better: str) -> str:
    """Whether a change is good news, bad news or neither."""
    if not moved or not better:
        return "even"
    return "good" if (moved > 0) == (better == "up") else "bad"


def alternative(table: Table, found: Sequence[tuple[Any, ...]], currency: str) -> str:
    """A drawing in a sentence or two, for those who can't see it: its reach, its last and its highest figure."""
    first, keys = table.measures[0], len(table.by)
    kinds = [table.rows.column(name).kind for name in table.by]
    told = [row for row in found if row[keys] is not None]
    if not told:
        return f"{table.title}. No figures."

    def named(row: tuple[Any, ...]) -> str:
        return ", ".join(written(value, kind, currency) for value, kind in zip(row[:keys], kinds, strict=True))

    highest = max(told, key=lambda row: row[keys])
    reach = f"from {named(told[0])} to {named(told[-1])}" if len(told) > 1 else named(told[0])
    return (
        f"{table.title}. {first.label}, {len(told)} {'figures' if len(told) > 1 else 'figure'}, {reach}: "
        f"last {written(told[-1][keys], first.kind, currency)}, "
        f"highest {written(highest[keys], first.kind, currency)} ({named(highest)})."
    )


def missing(table: Table, found: Sequence[tuple[Any, ...]]) -> str:
    """What a reader does not see: that there are no figures, how many are missing, how many are not drawn."""
    if not found:
        return table.if_missing or NO_FIGURES
    keys, most = len(table.by), table.most if isinstance(table, Chart) else None
    without = sum(row[keys] is None for row in found) if table.measures else 0
    if without:
        how_many = NO_FIGURES if without == len(found) else f"{without} of {len(found)} have no figure."
        return f"{how_many} {table.if_missing}".strip()
    return f"The first {most} of {len(found)} are drawn." if most and len(found) > most else ""


def _runs(figures: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Figures in the order of a section, tiles that follow each other together: they are one list."""
    run: list[dict[str, Any]] = []
    for figure in figures:
        if run and (figure["kind"] == "tile") != (run[-1]["kind"] == "tile"):
            yield _run(run)
            run = []
        run.append(figure)
    if run:
        yield _run(run)


def _run(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures that stand together; tiles in at most so many columns that no row is left with one."""
    count_ = len(figures)
    columns = count_ if count_ <= 6 and count_ != 4 else 4
    return {"tiles": figures[0]["kind"] == "tile", "figures": figures, "columns": columns}


def _chosen_at_first(rows: Rows, choices: Sequence[Choice]) -> dict[str, Any]:
    """The rows' own values of what is chosen to begin with."""
    chosen = {}
    for choice in choices:
        if choice.at_first is not None:
            kind = rows.column(choice.column).kind
            chosen[choice.column] = next(
                (value for value in rows.distinct(choice.column) if plain(value, kind) == choice.at_first),
                choice.at_first,
            )
    return chosen


def _plain_where(rows: Rows, where: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value, rows.column(name).kind) for name, value in where.items()}


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "label": measure.label,
        "of": measure.of,
        "kind": measure.kind,
        "over": list(measure.over),
        "metric": measure.metric,
    }


def drawing_of(chart: Chart, currency: str) -> dict[str, Any]:
    """The specification of a chart whose axes have the currency's symbol."""
    specification = chart.drawn(chart)
    for parameter in specification["params"]:
        if parameter["name"] == "symbol":
            parameter["value"] = symbol_of(currency)
    return {**specification, "data": {"name": "rows"}}
