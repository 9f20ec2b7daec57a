"""Colours and type of pages and charts, light and dark.

A chart's specification names a colour as ``var(--accent)``. A browser looks it up where the drawing stands, so
that a drawing follows the reader's light or dark and the printer's; for a picture it is put in its place here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

LIGHT: Mapping[str, str] = {
    "page": "#f6f7f9",
    "card": "#ffffff",
    "ink": "#18222e",
    "soft": "#556272",
    "line": "#dfe4ea",
    "accent": "#2457b0",
    "second": "#a9560a",
    "third": "#23744a",
    "fourth": "#7a4aa0",
    "pale": "#9db4d8",
    "good": "#1a6b3c",
    "bad": "#b0281f",
}
DARK: Mapping[str, str] = {
    "page": "#10151b",
    "card": "#19212a",
    "ink": "#e9edf2",
    "soft": "#a6b2c0",
    "line": "#303b47",
    "accent": "#7fb0ff",
    "second": "#f2ab68",
    "third": "#74cb98",
    "fourth": "#cda6ec",
    "pale": "#4a6390",
    "good": "#78d3a0",
    "bad": "#ff978d",
}
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
SERIES = ("accent", "second", "third", "fourth", "pale")
_NAMED = re.compile(r"var\(--(\w+)\)")


def colour(name: str) -> str:
    """How a chart names a colour."""
    return f"var(--{name})"


def variables(palette: Mapping[str, str]) -> str:
    """A palette as declarations of CSS."""
    return "".join(f"--{name}:{value};" for name, value in palette.items())


def config() -> dict[str, Any]:
    """What all charts have in common, as Vega-Lite's config."""
    label = {"labelColor": colour("soft"), "labelFontSize": 12, "labelPadding": 6}
    return {
        "background": None,
        "font": FONT,
        "view": {"stroke": None},
        "axis": {**label, "domain": False, "ticks": False, "grid": False, "title": None},
        "axisQuantitative": {"grid": True, "gridColor": colour("line"), "tickCount": 4},
        "legend": {
            "orient": "top",
            "title": None,
            "labelColor": colour("ink"),
            "labelFontSize": 12,
            "symbolType": "square",
            "offset": 8,
        },
        "range": {"category": [colour(name) for name in SERIES]},
        "bar": {"color": colour("accent"), "cornerRadiusEnd": 2},
        "line": {"color": colour("accent"), "strokeWidth": 2.5},
        "point": {"color": colour("accent"), "filled": True, "size": 36},
        "tick": {"fill": colour("ink"), "thickness": 4, "opacity": 1, "stroke": colour("card"), "strokeWidth": 1},
        "text": {"color": colour("ink")},
    }


def painted(specification: Mapping[str, Any], palette: Mapping[str, str] = LIGHT) -> dict[str, Any]:
    """A specification with a palette's colours in the place of their names, as a picture needs it."""
    text = json.dumps(specification)
    result: dict[str, Any] = json.loads(_NAMED.sub(lambda named: palette[named[1]], text))
    return result
