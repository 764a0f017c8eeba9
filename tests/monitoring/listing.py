"""docs/reference/metrics.md, made of the two programs' own lists. `make reference` writes it anew."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from forebay_agent.metrics import definitions as agent
from forebay_collector.metrics import definitions as collector

FILE: Final = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
Entry = tuple[str, str, tuple[str, ...], str]
"""name, kind, labels, help"""

_HEAD: Final = """\
# Metrics

[中文](zh-CN/metrics.md)

Everything that forebay-collector and forebay-agent tell a Prometheus. [monitoring.md](../monitoring.md) says how to connect one.
This file is written from the programs (`make reference`), and tests compare it with what is really served.

- Times are seconds since 1970; durations, sizes and counts are in seconds, bytes and plain numbers.
- What does not exist is left out, not 0: an agent that never came in has no last heartbeat.
- Counters of a stream count within its epoch: a reset begins anew, as a restart of a counter does.
- Labels: `agent` and `department` are the names in the certificate; `source` is the source's name; `stream` is
  `department/source/schema.table`. There are as many series as agents, sources and streams; nothing else makes any.
"""
_COLLECTOR: Final = """
## Collector

Of agents, canaries and streams every process over one ledger tells the same; it is what heartbeats said and what the ledger
knows. A revoked agent has its `info` and its `state` only. The rest is of the process that answers.
"""
_AGENT: Final = """
## Agent

Told on the appliance itself, when `[metrics] listen` in agent.toml says where. The centre does not need them.
"""


def of_agent() -> list[Entry]:
    return [(metric.name, metric.kind, metric.labels, metric.help) for metric in agent.METRICS]


def of_collector() -> list[Entry]:
    return collector.listed()


def names() -> dict[str, tuple[str, ...]]:
    """Every name that a query may use -> its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for name, kind, labels, _ in (*of_collector(), *of_agent()):
        if kind == "histogram":
            found |= {f"{name}_bucket": (*labels, "le"), f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def text() -> str:
    return _HEAD + _COLLECTOR + _table(of_collector()) + _AGENT + _table(of_agent())


def _table(entries: Iterable[Entry]) -> str:
    lines = ["", "| metric | kind | labels | what |", "|---|---|---|---|"]
    for name, kind, labels, help_ in entries:
        lines.append(f"| `{name}` | {kind} | {' '.join(f'`{label}`' for label in labels)} | {help_} |")
    return "\n".join(lines) + "\n"
