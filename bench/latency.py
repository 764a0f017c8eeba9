"""From commit to sealed: one writer at a steady rate, and an agent that follows with its default linger."""

from __future__ import annotations

import array
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.databases import Loaded
from bench.figures import Figure

RATE: Final = 500
SECONDS: Final = 20
_TABLE: Final = "latency"


def commit_to_sealed(folder: Path, loaded: Loaded, rows: int) -> Figure:
    """`rows`: of `legal_entity`, the most that the writer can copy."""
    assert loaded.log is not None
    rows = min(rows, RATE * SECONDS)
    print(f"{loaded.name}: {rows} transactions at {RATE}/s", file=sys.stderr, flush=True)
    loaded.log.make(_TABLE)
    home = folder / f"{loaded.name}-latency"
    loaded.configure(home, f'name = "{loaded.schema}.{_TABLE}"\nmode = "log"')
    agent = subprocess.Popen(
        [sys.executable, "-m", "bench.log_process", str(home), "--live", str(rows)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert agent.stdout is not None
        if agent.stdout.readline() != "ready\n":
            raise RuntimeError("the agent ended before it followed the log")
        written = home / "written"
        write = [
            *loaded.log.access(),
            "--table",
            _TABLE,
            "--rows",
            str(rows),
            "--rate",
            str(RATE),
            "--out",
            str(written),
        ]
        subprocess.run([sys.executable, "-m", "bench.writer", *write], check=True)
        told = json.loads(agent.stdout.read())
        if agent.wait() != 0:
            raise RuntimeError(f"the agent exited {agent.returncode}")
    finally:
        agent.kill()
        agent.wait()
    committed, sealed = _pairs(written), _pairs(home / "sealed")
    if sorted(committed) != sorted(sealed):
        raise RuntimeError(f"latency: {len(committed)} ids were committed, {len(sealed)} sealed")
    shutil.rmtree(home)
    loaded.log.forget()
    waited = sorted((sealed[number] - at) / 1e6 for number, at in committed.items())
    return Figure(
        "commit_to_sealed",
        loaded.name,
        RATE,
        cpu_s_per_million_rows=told["cpu"] / rows * 1e6,
        peak_rss_mb=told["peak_mb"],
        median_ms=waited[len(waited) // 2],
        p99_ms=waited[len(waited) * 99 // 100],
        note=f"median {waited[len(waited) // 2]:.0f} ms, 99th percentile {waited[len(waited) * 99 // 100]:.0f} ms, most"
        f" {waited[-1]:.0f} ms; linger {told['linger_ms']:.0f} ms; {told['batches']} batches;"
        f" agent {told['cpu'] / told['seconds'] * 100:.0f} % of a core",
        rows=rows,
    )


def _pairs(file: Path) -> dict[int, int]:
    numbers = array.array("q", file.read_bytes())
    return dict(zip(numbers[::2], numbers[1::2], strict=True))
