"""The shipped Grafana dashboard: its panels' expressions, as Prometheus gets them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[2] / "packaging" / "monitoring" / "forebay-fleet.json"
_VARIABLES: Final = {"$department": ".*", "$agent": ".*", "$__rate_interval": "1m"}
_QUERY: Final = re.compile(r"label_values\((.*), (\w+)\)")


def content() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return told


def panels() -> list[dict[str, Any]]:
    """Without the rows' headings."""
    return [panel for panel in content()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, the expression with all variables filled in)."""
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", _filled(target["expr"])
    for variable in content()["templating"]["list"]:
        if variable["type"] == "query":
            found = _QUERY.fullmatch(variable["query"]["query"])
            assert found is not None, variable["query"]
            yield f"variable {variable['name']}", f"count by ({found[2]}) ({_filled(found[1])})"


def _filled(expression: str) -> str:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression
