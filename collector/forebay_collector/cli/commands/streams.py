"""List the streams: marks, lag, state, and for a held stream the reason and the remedy.

durable and loaded are `epoch/seq`; behind is how many batches are durable and not loaded yet. lag is the age of the
oldest change that is received and not loaded; of a stream where all is loaded, 0. quiet is the time since its newest
change.

examples:
  forebay-collector streams
  forebay-collector streams --held
  forebay-collector streams --agent scjg-01 --json
"""

from __future__ import annotations

import argparse
from typing import Any

from forebay_collector.cli.listing import moment, print_json, print_table, span
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.load.backlog import Backlog, backlogs
from forebay_collector.load.policy import remedy_of_hold

_COLUMNS = ("stream", "agent", "mode", "state", "durable", "loaded", "behind", "lag", "quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", default="", help="only this agent's")
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--held", action="store_true", help="only those that are held")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    rows = listing(office.ledger(), arguments.agent, arguments.department, True if arguments.held else None)
    if arguments.json:
        print_json(rows, office.out)
        return FINE
    if not rows:
        office.out.write("no streams\n")
        return FINE
    shown = [{**row, "lag": span(row["lag_seconds"]), "quiet": span(row["quiet_seconds"])} for row in rows]
    print_table(shown, _COLUMNS, office.out, right=frozenset({"behind", "lag", "quiet"}))
    for row in rows:
        if row["reason"]:
            office.out.write(f"\n{row['stream']}: {row['state']} since {row['held_at'] or '-'}\n")
            office.out.write(f"  reason: {row['code']}: {row['reason']}\n  remedy: {row['remedy']}\n")
    return FINE


def listing(ledger: Ledger, agent: str, department: str, held: bool | None) -> list[dict[str, Any]]:
    """One flat dict per stream."""
    now = ledger.database.clock()
    at_agents = {str(state.get("stream")): state for said in ledger.agents.streams().values() for state in said}
    streams = ledger.streams.listing(agent=agent, department=department, held=held)
    behind = backlogs(ledger)
    return [
        _row(stream, at_agents.get(str(stream.name), {}), behind.get(stream.id, Backlog()), now) for stream in streams
    ]


def _row(stream: StreamRecord, at_agent: dict[str, Any], backlog: Backlog, now: int) -> dict[str, Any]:
    hold = stream.hold
    if hold is not None:
        state, code, reason, remedy = (
            "held",
            hold.code,
            f"batch {hold.epoch}/{hold.seq}: {hold.reason}",
            remedy_of_hold(hold.code),
        )
    else:
        state = "loading" if backlog.batches else at_agent.get("state") or "idle"
        code, reason, remedy = (at_agent.get(name, "") for name in ("code", "reason", "remedy"))
        state = "held at agent" if at_agent.get("state") == "held" else state
    return {
        "stream": str(stream.name),
        "agent": stream.agent,
        "mode": at_agent.get("mode", ""),
        "guarantee": at_agent.get("guarantee", ""),
        "state": state,
        "durable": f"{stream.epoch}/{stream.durable_seq}",
        "loaded": f"{stream.loaded_epoch}/{stream.loaded_seq}",
        "behind": backlog.batches,
        "rows_behind": backlog.rows,
        "lag_seconds": (now - backlog.oldest_us) / 1e6 if backlog.oldest_us else 0.0,
        "quiet_seconds": (now - backlog.newest_us) / 1e6 if backlog.newest_us else None,
        "position": at_agent.get("position", ""),
        "code": code,
        "reason": reason,
        "remedy": remedy,
        "held_at": moment(hold.at) if hold else None,
    }
