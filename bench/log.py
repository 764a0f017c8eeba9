"""Log capture: catching up on a backlog, next to the server's own reader of the same log, and one huge transaction."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.databases import Loaded
from bench.figures import Figure, Stage
from bench.measure import Account, account
from bench.server_log import Other, ServerLog

BULK_ROWS: Final = 1_000
"""rows of one transaction of the bulk backlog"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was captured of it, run by run, and how the server's own reader and others did."""

    rows: int
    log_bytes: int
    captured: list[dict[str, Any]]
    read: list[Account]
    others: list[Other]


def catching_up(folder: Path, loaded: Loaded, case: str, rows: int, each: int, runs: int) -> Figure:
    """A backlog of `rows` inserts, `each` of them in a transaction, captured from its beginning. The medians count."""
    backlog = _backlog(folder, loaded, case, rows, each, runs)
    told = _median(backlog.captured)
    own = sorted(spent.seconds for spent in backlog.read)[runs // 2]
    speed, own_speed = rows / told["seconds"], rows / own
    notes = [f"{_log(loaded).reader}: CPU {backlog.read[0].cpu_seconds / rows * 1e6:.2f} s/M"]
    notes += [f"{other.name} {other.rows_per_s:,.0f} rows/s" for other in backlog.others]
    notes += [f"{backlog.log_bytes / rows:.0f} B of log a row"]
    return Figure(
        case,
        loaded.name,
        speed,
        own_speed,
        speed / own_speed,
        told["cpu"] / rows * 1e6,
        max(each["peak_mb"] for each in backlog.captured),
        told["bytes"] / rows,
        note="; ".join(notes),
        rows=rows,
        stages=stages_of(told),
    )


def huge_transaction(folder: Path, loaded: Loaded, rows: int) -> Figure:
    """One transaction of so many rows: what counts is the peak, and that every row is there."""
    log = _log(loaded)
    log.make_big("huge")
    home = folder / f"{loaded.name}-huge"
    loaded.configure(home, f'name = "{loaded.schema}.huge"\nmode = "log"')
    run(home)
    print(f"{loaded.name}: one transaction of {rows} rows", file=sys.stderr, flush=True)
    log_bytes = log.write_big("huge", rows)
    told = run(home)
    _refuse_other(told, rows, "huge_transaction")
    shutil.rmtree(home)
    log.forget()
    return Figure(
        "huge_transaction",
        loaded.name,
        rows / told["seconds"],
        cpu_s_per_million_rows=told["cpu"] / rows * 1e6,
        peak_rss_mb=told["peak_mb"],
        bytes_per_row=told["bytes"] / rows,
        note=f"one transaction of {rows:,} rows, {log_bytes:,} bytes of log",
        rows=rows,
        stages=stages_of(told),
    )


def run(folder: Path) -> dict[str, Any]:
    """One capture by a process of its own, as it tells it."""
    result: dict[str, Any] = json.loads(
        account([sys.executable, "-m", "bench.log_process", str(folder)], keep=True).output
    )
    return result


def stages_of(told: dict[str, Any]) -> dict[str, Stage]:
    return {name: Stage(**spent) for name, spent in told["stages"].items()}


def _backlog(folder: Path, loaded: Loaded, case: str, rows: int, each: int, runs: int) -> Backlog:
    log = _log(loaded)
    log.make(case)
    # one agent for each run: each begins at the empty table, and so at the backlog's beginning
    homes = [folder / f"{loaded.name}-{case}-{number}" for number in range(runs)]
    for home in homes:
        loaded.configure(home, f'name = "{loaded.schema}.{case}"\nmode = "log"')
        run(home)
    log.mark(case, runs)
    began = time.perf_counter()
    log_bytes = log.write(case, rows, each)
    seconds = time.perf_counter() - began
    print(f"{loaded.name}: {case}: {rows} rows written in {seconds:.0f} s, measuring", file=sys.stderr, flush=True)
    read, captured = [], []
    for number, home in enumerate(homes):
        read.append(log.read(number))
        captured.append(run(home))
        _refuse_other(captured[-1], rows, case)
        shutil.rmtree(home)
    others = log.read_by_others(case, rows)
    log.forget()
    return Backlog(rows, log_bytes, captured, read, others)


def _median(captured: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(captured, key=lambda told: float(told["seconds"]))[len(captured) // 2]


def _refuse_other(told: dict[str, Any], rows: int, case: str) -> None:
    if told["rows"] != rows:
        raise RuntimeError(f"{case}: {told['rows']} of {rows} rows were sealed")


def _log(loaded: Loaded) -> ServerLog:
    assert loaded.log is not None
    return loaded.log
