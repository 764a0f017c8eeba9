"""Charts: SVG made here, and put into the page as it is.

pygal draws; what it adds for standing alone (a style sheet, a script, tooltips, its own identifiers) is taken out, so that
nothing inline is left that the content security policy would have to allow, and the console's own style sheet colours the
rest: lines, areas and bars by their class names, in light and in dark.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup

# pygal puts a finder of its plug-ins, of a kind that Python will soon know no more, before every import of the program
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

_SVG: Final = "{http://www.w3.org/2000/svg}"
_KEPT: Final = frozenset(
    {
        "class",
        "d",
        "x",
        "y",
        "width",
        "height",
        "transform",
        "viewBox",
        "cx",
        "cy",
        "r",
        "rx",
        "ry",
        "x1",
        "x2",
        "y1",
        "y2",
    }
)
_UNSEEN: Final = frozenset({"tooltip", "tooltip-overlay", "text-overlay"})
_GONE: Final = frozenset({"script", "style", "title", "desc", "defs"})
_WIDTH: Final = 440
_HEIGHT: Final = 140
_MARGIN: Final = 14
_TOO_LONG: Final = re.compile(r"(\d+\.\d\d)\d+")
_LABELS: Final = 4
_SCALE: Final = (0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. values: None where nothing is known."""

    name: str
    values: Sequence[float | None]


def lines(
    places: Sequence[str],
    drawn: Sequence[Line],
    *,
    label: str,
    shown: Callable[[float], str],
    least_top: float = 1.0,
    bars: bool = False,
) -> Markup:
    """A chart over time. places: what stands below each value; shown: how a value is written; least_top: the scale reaches
    at least so far, so that noise does not look like a mountain."""
    kind = pygal.Bar if bars else pygal.Line
    top = max([least_top, *(value for line in drawn for value in line.values if value is not None)])
    scale = [shown(part * top) for part in _SCALE]
    chart = kind(
        width=_WIDTH,
        height=_HEIGHT,
        css=[],
        js=[],
        show_legend=False,
        show_dots=False,
        range=(0, top * 1.05),
        margin=6,
        margin_right=16,
        margin_left=_MARGIN,
        spacing=6,
        show_minor_x_labels=False,
        truncate_label=-1,
        no_data_text="",
        x_labels_major_count=_LABELS,
    )
    chart.x_labels = list(places)
    chart.y_labels = [{"value": part * top, "label": label} for part, label in zip(_SCALE, scale, strict=True)]
    for line in drawn:
        if not bars:
            # the area below, which the style sheet draws without its edges
            chart.add(line.name, list(line.values), fill=True)
        chart.add(line.name, list(line.values))
    return _plain(chart.render_tree(), label)


def _plain(root: ET.Element, label: str) -> Markup:
    """The drawing without what the page has no use for."""
    _strip(root)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", label)
    text = ET.tostring(root, encoding="unicode")
    text = text.replace("ns0:", "").replace("xmlns:ns0=", "xmlns=")
    return Markup(_TOO_LONG.sub(r"\1", text))  # noqa: S704  made here, of escaped texts


def _strip(element: ET.Element) -> None:
    for child in list(element):
        name = child.tag.removeprefix(_SVG) if isinstance(child.tag, str) else "comment"
        unseen = not _UNSEEN.isdisjoint(child.get("class", "").split())
        if name in _GONE or name == "comment" or unseen:
            element.remove(child)
        else:
            _strip(child)
    for attribute in list(element.attrib):
        if attribute not in _KEPT:
            del element.attrib[attribute]
