"""The shipped alert rules, and cases for `promtool test rules`: what series tell, and which alerts fire when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).parents[2] / "packaging" / "monitoring" / "forebay.rules.yml"
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """One series. values: in promtool's notation, one a minute from time 0 on."""

    name: str
    labels: Labels
    values: str

    def plain(self) -> dict[str, str]:
        labels = ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.labels.items())
        return {"series": f"{self.name}{{{labels}}}", "values": self.values}


def shipped() -> list[dict[str, Any]]:
    """Every rule of the file."""
    groups = yaml.safe_load(FILE.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def case(name: str, alert: str, series: Sequence[Series], fires: Mapping[str, Sequence[Labels]]) -> dict[str, Any]:
    """fires: at each time (`25m`), the labels of every alert of this name that fires; an empty list: none does."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [one.plain() for one in series],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                "eval_time": at,
                "exp_samples": [{"labels": _alert(alert, labels), "value": 1} for labels in expected],
            }
            for at, expected in fires.items()
        ],
    }


def _alert(name: str, labels: Labels) -> str:
    (own,) = (rule["labels"] for rule in shipped() if rule["alert"] == name)
    told = {"__name__": "ALERTS", "alertname": name, "alertstate": "firing", **own, **labels}
    return "{" + ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in told.items()) + "}"


def write(folder: Path, cases: Sequence[Mapping[str, Any]]) -> Path:
    """-> a file for `promtool test rules`; JSON is YAML."""
    file = folder / "cases.yml"
    content = {"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": list(cases)}
    file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return file
