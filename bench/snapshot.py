"""The snapshot of `legal_entity` into sealed batches, and on to loaded, next to the database's own client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from bench import log
from bench.databases import Loaded
from bench.end_to_end import end_to_end
from bench.figures import Figure
from bench.legal_entity import TABLE
from bench.measure import Account, account

WRITES_PER_SECOND: Final = 500
"""single-row updates beside the snapshot in mode log"""

_CURSOR: Final = 'name = "{table}"\nmode = "cursor"\ncursor = "id"\nunique_cursor = true'
_LOG: Final = 'name = "{table}"\nmode = "log"'


def snapshots(folder: Path, loaded: Loaded, rows: int, runs: int) -> list[Figure]:
    """In mode cursor and, where there is a log, in mode log, without and with writes meanwhile; medians of `runs`."""
    print(f"{loaded.name}: {rows} rows loaded, measuring", file=sys.stderr, flush=True)
    clients: list[Account] = []
    cursor, alone, beside = [], [], []
    for number in range(runs):
        clients.append(loaded.client())
        cursor.append(_in_mode_cursor(folder / f"{loaded.name}-{number}", loaded))
        if loaded.log is not None:
            alone.append(_in_mode_log(folder / f"{loaded.name}-alone-{number}", loaded, rows, writes=False))
            beside.append(_in_mode_log(folder / f"{loaded.name}-beside-{number}", loaded, rows, writes=True))
    client = sorted(clients, key=lambda each: each.seconds)[runs // 2]
    note = f"client CPU {client.cpu_seconds / rows * 1e6:.2f} s/M"
    figures = [_figure("snapshot", loaded, rows, client, cursor, note)]
    if loaded.log is not None:
        loaded.log.forget()
        figures.append(_figure("snapshot_log", loaded, rows, client, alone, "chunks beside the log"))
        writes = f"beside {WRITES_PER_SECOND} updates a second"
        figures.append(_figure("snapshot_log_writes", loaded, rows, client, beside, writes))
    return figures


def whole_way(folder: Path, loaded: Loaded, rows: int) -> Figure:
    """From the database to loaded."""
    client_speed = rows / loaded.client().seconds
    home = folder / f"{loaded.name}-e2e"
    loaded.configure(home / "agent", _CURSOR.format(table=loaded.table))
    whole = end_to_end(home, home / "agent", rows)
    shutil.rmtree(home, ignore_errors=True)
    speed = rows / whole.seconds
    return Figure(
        "end_to_end",
        loaded.name,
        speed,
        client_speed,
        speed / client_speed,
        (whole.agent_cpu + whole.collector_cpu) / rows * 1e6,
        whole.agent_peak_mb,
        note=f"CPU s/M: agent {whole.agent_cpu / rows * 1e6:.2f}, collector {whole.collector_cpu / rows * 1e6:.2f}; "
        f"collector peak {whole.collector_peak_mb:.0f} MB",
        rows=rows,
    )


def _figure(case: str, loaded: Loaded, rows: int, client: Account, runs: list[dict[str, Any]], note: str) -> Figure:
    told = sorted(runs, key=lambda each: float(each["seconds"]))[len(runs) // 2]
    if told["rows"] < rows or (case == "snapshot" and told["rows"] != rows):
        raise RuntimeError(f"{loaded.name}: the snapshot sealed {told['rows']} of {rows} rows")
    speed, client_speed = rows / float(told["seconds"]), rows / client.seconds
    return Figure(
        case,
        loaded.name,
        speed,
        client_speed,
        speed / client_speed,
        told["cpu"] / rows * 1e6,
        told["peak_mb"],
        float(told["bytes"]) / told["rows"],
        note=note,
        rows=rows,
        stages=log.stages_of(told),
    )


def _in_mode_cursor(folder: Path, loaded: Loaded) -> dict[str, Any]:
    loaded.configure(folder, _CURSOR.format(table=loaded.table))
    output = account([sys.executable, "-m", "bench.snapshot_process", str(folder)], keep=True).output
    shutil.rmtree(folder, ignore_errors=True)
    told: dict[str, Any] = json.loads(output)
    return told


def _in_mode_log(folder: Path, loaded: Loaded, rows: int, *, writes: bool) -> dict[str, Any]:
    assert loaded.log is not None
    loaded.configure(folder, _LOG.format(table=loaded.table))
    where = [*loaded.log.access(), "--table", TABLE, "--kind", "update"]
    how = ["--rows", str(rows), "--rate", str(WRITES_PER_SECOND)]
    writer = subprocess.Popen([sys.executable, "-m", "bench.writer", *where, *how]) if writes else None
    try:
        return log.run(folder)
    finally:
        if writer is not None:
            writer.kill()
            writer.wait()
        shutil.rmtree(folder, ignore_errors=True)
