"""List the agents and how their appliances are, or revoke one.

connected: heard of within the last 45 seconds. A revoked agent is cut off within seconds and cannot come in again until
it is enrolled with a new token.

examples:
  forebay-collector agents
  forebay-collector agents --department 市监局 --json
  forebay-collector agents revoke scjg-01 --reason "appliance was replaced"
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from forebay_collector.cli.listing import moment, print_json, print_table, size, span
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.ledger import AgentRecord

_COLUMNS = (
    "agent",
    "department",
    "state",
    "last_seen",
    "version",
    "cpu",
    "memory_free",
    "disk_free",
    "outbox",
    "streams",
    "certificate",
)
CONNECTED_US: Final = 45_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed=None)
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    revoke = deeds.add_parser("revoke", help="refuse the agent's certificate from now on")
    revoke.add_argument("name", metavar="AGENT")
    revoke.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")


def run(arguments: argparse.Namespace, office: Office) -> int:
    ledger = office.ledger()
    if arguments.deed == "revoke":
        ledger.agents.revoke(arguments.name, who=office.who(), why=arguments.reason)
        office.out.write(f"agent {arguments.name} is revoked\n")
        return FINE
    now = ledger.database.clock()
    streams = ledger.agents.streams()
    rows = [
        _row(agent, len(streams.get(agent.name, ())), now)
        for agent in ledger.agents.listing(department=arguments.department)
    ]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no agents; make a token for one: forebay-collector token --help\n")
    else:
        print_table([_shown(row) for row in rows], _COLUMNS, office.out)
    for row in [] if arguments.json else rows:
        if row["configuration_refusal"]:
            office.out.write(f"\n{row['agent']}: its newest configuration is refused: {row['configuration_refusal']}\n")
    return FINE


def _row(agent: AgentRecord, streams: int, now: int) -> dict[str, Any]:
    silent_us = now - agent.last_seen_at
    state = "connected" if silent_us <= CONNECTED_US else "silent"
    if not agent.last_seen_at:
        state = "enrolled"
    if agent.revoked_at:
        state = "revoked"
    health = dict(agent.health)
    return {
        "agent": agent.name,
        "department": agent.department,
        "state": state,
        "last_seen": moment(agent.last_seen_at),
        "silent_seconds": silent_us / 1e6 if agent.last_seen_at else None,
        "version": agent.version,
        "hostname": agent.hostname,
        "enrolled_at": moment(agent.enrolled_at),
        "revoked_at": moment(agent.revoked_at),
        "certificate_expires": moment(agent.expires_at),
        "certificate_days": (agent.expires_at - now) / 86_400_000_000,
        "streams": streams,
        "configuration_refusal": health.pop("configuration_refusal", ""),
        "outbox": health.pop("outbox", {}),
        "health": health,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    health, outbox = row["health"], row["outbox"]
    seen = span(row["silent_seconds"])
    return {
        **row,
        "last_seen": f"{seen} ago" if seen else None,
        "cpu": f"{health['cpu_percent']:.0f} %" if "cpu_percent" in health else None,
        "memory_free": size(health["memory_available_bytes"]) if "memory_available_bytes" in health else None,
        "disk_free": size(health["disk_free_bytes"]) if "disk_free_bytes" in health else None,
        "outbox": f"{outbox['batches']}, {size(outbox['bytes'])}{', FULL' if outbox.get('full') else ''}"
        if "batches" in outbox
        else None,
        "certificate": f"{row['certificate_days']:.0f} d left",
    }
