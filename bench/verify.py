"""Verification of `legal_entity`: how fast the agent reads, next to the database's own client, and what a second run costs.

A real collector and agent over TLS; when all is loaded, `forebay-collector verify` is run, and again over the unchanged
table, by an agent that was started anew. Its speed is from the command to the answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from bench import legal_entity
from bench.databases import Loaded
from bench.end_to_end import cpu_of, end_to_end
from bench.figures import Figure
from bench.measure import peak_rss_mb
from bench.openings import Openings, rest
from forebay_collector.demo.processes import Daemon
from forebay_collector.load.schedule import UPKEEP_S

_TABLE: Final = 'name = "{table}"\nmode = "{mode}"'
_CURSOR: Final = '\ncursor = "id"\nunique_cursor = true'


def verify(folder: Path, loaded: Loaded, rows: int, runs: int) -> list[Figure]:
    """The first and the second run, medians of `runs` clients and second runs."""
    speeds = sorted(rows / loaded.client().seconds for _ in range(runs))
    client_speed = speeds[runs // 2]
    mode = "log" if loaded.log is not None else "cursor"
    home = folder / f"{loaded.name}-verify"
    loaded.configure(home / "agent", _TABLE.format(table=loaded.table, mode=mode) + ("" if mode == "log" else _CURSOR))
    told: list[dict[str, Any]] = []

    def measure(command: list[str], agent: Daemon) -> None:
        agent.stop()  # its peak is then verification's, not the snapshot's
        agent.start()
        assert agent.process is not None
        pid = agent.process.pid
        platform = home / "collector" / "platform"
        # what was loaded in many parts is compacted, its upkeep comes by then: after that the table is unchanged
        rest(platform, legal_entity.TABLE, UPKEEP_S + 5.0, 240.0)
        for _ in range(1 + runs):
            before = cpu_of(pid)
            asked = [*command, "verify", "--all", "--json"]
            with Openings(platform) as opened:
                done = subprocess.run(asked, capture_output=True, text=True, check=True)
            (run,) = json.loads(done.stdout)
            told.append(
                {
                    **run,
                    "cpu": cpu_of(pid) - before,
                    "peak_mb": peak_rss_mb(pid),
                    "read": opened.data(legal_entity.TABLE),
                }
            )

    end_to_end(home, home / "agent", rows, then=measure)
    shutil.rmtree(home, ignore_errors=True)
    for run in told:
        if not run["equal"] or run["source"]["rows"] != rows:
            raise RuntimeError(
                f"{loaded.name}: verify found {run['source']['rows']} of {rows} rows, equal: {run['equal']}"
            )
    if read := [run["read"] for run in told[1:] if run["read"]]:
        raise RuntimeError(
            f"{loaded.name}: later runs over the unchanged table opened data files of the platform: {read}"
        )
    again = sorted(told[1:], key=lambda run: float(run["source_seconds"]))[runs // 2]
    return [
        _figure("verify", loaded, rows, client_speed, told[0]),
        _figure("verify_again", loaded, rows, client_speed, again),
    ]


def _figure(case: str, loaded: Loaded, rows: int, client_speed: float, run: dict[str, Any]) -> Figure:
    speed = rows / float(run["source_seconds"])
    return Figure(
        case,
        loaded.name,
        speed,
        client_speed,
        speed / client_speed,
        run["cpu"] / rows * 1e6,
        run["peak_mb"],
        note=f"all of it {run['seconds']:.1f} s, of that reading the platform {run['platform_seconds']:.2f} s "
        f"({run['read']} data files opened)",
        rows=rows,
    )
