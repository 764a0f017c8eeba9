"""From the database to loaded: a real collector and a real agent over TLS, until the ledger says that all is loaded."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.measure import peak_rss_mb
from forebay_collector.demo.processes import Daemon, free_port, program, run


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """seconds: from the agent's start to the last row loaded. cpu: seconds of agent and collector. peak: the agent's MiB."""

    seconds: float
    agent_cpu: float
    collector_cpu: float
    agent_peak_mb: float
    collector_peak_mb: float


def end_to_end(
    folder: Path,
    agent_config: Path,
    rows: int,
    seconds: float = 900,
    *,
    within: Sequence[str] = (),
    then: Callable[[list[str], Daemon], None] = lambda command, agent: None,
) -> EndToEnd:
    """within: what to put before the agent's command. then: called when all is loaded, with the collector's command and the agent. Raises TimeoutError when
    not everything is loaded in time."""
    port = free_port()
    data = folder / "collector"
    command = [program("forebay-collector"), "--data", str(data)]
    log = folder / "setup.log"
    run([*command, "init", "--address", f"127.0.0.1:{port}", "--approve", "auto", "--console", "127.0.0.1:0"], log)
    collector = Daemon("collector", [*command, "serve"], folder / "collector.log")
    agent = Daemon(
        "agent", [*within, program("forebay-agent"), "--config", str(agent_config), "run"], folder / "agent.log"
    )
    try:
        collector.start()
        collector.wait_for_port(port)
        token = folder / "agent.token"
        run([*command, "token", "--department", "bench", "--agent", "bench-01", "--out", str(token)], log)
        run([program("forebay-agent"), "--config", str(agent_config), "enroll", str(token)], log)
        assert collector.process is not None
        collector_before = cpu_of(collector.process.pid)
        began = time.perf_counter()
        agent.start()
        assert agent.process is not None
        while _loaded_rows(data / "ledger.db") < rows:
            collector.check()
            agent.check()
            if time.perf_counter() - began > seconds:
                raise TimeoutError(f"{_loaded_rows(data / 'ledger.db')} of {rows} rows loaded after {seconds} s")
            time.sleep(0.05)
        took = time.perf_counter() - began
        whole = EndToEnd(
            took,
            cpu_of(agent.process.pid),
            cpu_of(collector.process.pid) - collector_before,
            peak_rss_mb(agent.process.pid),
            peak_rss_mb(collector.process.pid),
        )
        then(command, agent)
        return whole
    finally:
        agent.stop()
        collector.stop()


def _loaded_rows(ledger: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as connection:
        return int(
            connection.execute("SELECT COALESCE(SUM(row_count), 0) FROM batch WHERE state = 'loaded'").fetchone()[0]
        )


def cpu_of(pid: int) -> float:
    """CPU seconds of a process that runs."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
