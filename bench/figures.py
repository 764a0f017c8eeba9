"""What was measured: one line per case, as a table and as build/bench.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

FILE: Final = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds that one stage took, without the stages within it. cpu: of its thread. wall: waiting included."""

    cpu: float
    wall: float
    calls: int


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. 0: not measured for this case. stages: where the agent's time went, by stage."""

    case: str
    database: str
    rows_per_s: float
    client_rows_per_s: float = 0.0
    ratio: float = 0.0
    cpu_s_per_million_rows: float = 0.0
    peak_rss_mb: float = 0.0
    bytes_per_row: float = 0.0
    median_ms: float = 0.0
    p99_ms: float = 0.0
    note: str = ""
    rows: int = 0
    stages: Mapping[str, Stage] = field(default_factory=dict)


def show(figures: Sequence[Figure]) -> None:
    """Prints the table, and where the time went to stderr."""
    print(
        f"{'case':19} {'database':11} {'rows/s':>9} {'client':>9} {'ratio':>6} {'CPU s/M':>8} {'peak MB':>8} {'B/row':>6}"
    )
    for each in figures:
        print(
            f"{each.case:19} {each.database:11} {each.rows_per_s:9,.0f} {each.client_rows_per_s:9,.0f} {each.ratio:6.2f} "
            f"{each.cpu_s_per_million_rows:8.2f} {each.peak_rss_mb:8.0f} {each.bytes_per_row:6.0f}  {each.note}"
        )
    for each in figures:
        if each.stages and each.rows:
            print(f"\n{each.case} {each.database}: CPU and wall seconds per million rows", file=sys.stderr)
            for name, stage in sorted(each.stages.items(), key=lambda item: -item[1].cpu):
                cpu, wall = stage.cpu / each.rows * 1e6, stage.wall / each.rows * 1e6
                print(f"  {name:44} {cpu:7.3f} {wall:7.3f} {stage.calls:8} calls", file=sys.stderr)


def write(figures: Sequence[Figure]) -> None:
    """Writes FILE, a list of objects with the fields of `Figure`."""
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps([asdict(figure) for figure in figures], indent=1), "utf-8")
