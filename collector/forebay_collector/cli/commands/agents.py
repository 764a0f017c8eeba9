"""List the agents, how each stands and why; show one; or revoke one.

state: green: it beats, and everything goes on. yellow: look at it. red: silent for two heartbeats, a stream is held, or its
identity is used in two places. grey: never seen, or paused. revoked: cut off within seconds, and cannot come in again
until it is enrolled with a new token.

examples:
  forebay-collector agents
  forebay-collector agents --state red,yellow
  forebay-collector agents --department 市监局 --json
  forebay-collector agents show scjg-01
  forebay-collector agents revoke scjg-01 --reason "appliance was replaced"
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from forebay_collector.cli.listing import moment, print_json, print_table, size, span
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE
from forebay_collector.service import configuration, fleet, identity
from forebay_collector.service.fleet import AgentStream, AgentView, CanaryView, Colour

_COLUMNS: Final = (
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
    "canary",
    "certificate",
)
_STREAMS: Final = ("stream", "state", "mode", "position", "sealed", "durable", "loaded", "lag", "rows")
_CANARIES: Final = ("source", "kind", "made", "loaded", "round_trip", "trouble")
_SHOWN: Final = (
    "department",
    "state",
    "hostname",
    "version",
    "connected_since",
    "last_seen",
    "heartbeat_seconds",
    "clock_offset_seconds",
    "certificate_expires",
    "configuration_hash",
    "offer_in_force",
    "offer_newest",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--department", default="", help="only this department's")
    parser.add_argument("--state", type=_states, default=(), metavar="STATE[,…]", help=f"only {', '.join(Colour)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(deed=None)
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed")
    show = deeds.add_parser("show", help="one agent, with its streams and canaries")
    show.add_argument("name", metavar="AGENT")
    show.add_argument("--json", action="store_true", help="print JSON")
    revoke = deeds.add_parser("revoke", help="refuse the agent's certificate from now on")
    revoke.add_argument("name", metavar="AGENT")
    revoke.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")


def run(arguments: argparse.Namespace, office: Office) -> int:
    if arguments.deed == "revoke":
        return _revoke(arguments, office)
    if arguments.deed == "show":
        return _show(arguments, office)
    ledger, actor = office.ledger(), office.actor()
    found = [
        view
        for view in fleet.agents(ledger, actor)
        if arguments.department in ("", view.department) and view.state in (arguments.state or Colour)
    ]
    now = ledger.database.clock()
    rows = [_row(view, now) for view in found]
    if arguments.json:
        print_json(rows, office.out)
        return FINE
    if not rows:
        office.out.write("no agents; make a token for one: forebay-collector token --help\n")
        return FINE
    print_table([_cells(view, row) for view, row in zip(found, rows, strict=True)], _COLUMNS, office.out)
    for view in found:
        if view.why and view.state is not Colour.REVOKED:
            office.out.write(f"\n{view.name}: {view.state}\n")
            _print_why(view, office)
    return FINE


def _revoke(arguments: argparse.Namespace, office: Office) -> int:
    identity.revoke(office.ledger(), office.actor(), arguments.name, arguments.reason)
    office.out.write(f"agent {arguments.name} is revoked\n")
    return FINE


def _show(arguments: argparse.Namespace, office: Office) -> int:
    ledger, actor, out = office.ledger(), office.actor(), office.out
    view = fleet.agent(ledger, actor, arguments.name)
    row = _row(view, ledger.database.clock())
    effective = configuration.effective(ledger, actor, arguments.name)
    row["settings_offered"] = None if effective.settings is None else dict(effective.settings)
    row["configuration"] = effective.configuration
    if arguments.json:
        print_json(row | {"stream_states": [_stream(one) for one in view.streams]}, out)
        return FINE
    lines = [{"what": name.replace("_", " "), "value": row[name]} for name in _SHOWN]
    print_table([{"what": "agent", "value": view.name}, *lines], ("what", "value"), out, heads=())
    _print_why(view, office)
    if view.streams:
        out.write("\n")
        cells = [{**_stream(one), "lag": span(one.lag_s)} for one in view.streams]
        print_table(cells, _STREAMS, out, right=frozenset({"sealed", "durable", "loaded", "lag", "rows"}))
    if view.canaries:
        out.write("\n")
        print_table([_canary(one) for one in view.canaries], _CANARIES, out)
    return FINE


def _print_why(view: AgentView, office: Office) -> None:
    for why in view.why:
        office.out.write(f"  {why.code}: {why.reason}\n")
        if why.remedy:
            office.out.write(f"    remedy: {why.remedy}\n")


def _row(view: AgentView, now: int) -> dict[str, Any]:
    return {
        "agent": view.name,
        "department": view.department,
        "state": view.state.value,
        "why": [why._asdict() for why in view.why],
        "last_seen": moment(view.last_seen_at),
        "silent_seconds": (now - view.last_seen_at) / 1e6 if view.last_seen_at else None,
        "connected_since": moment(view.connected_since),
        "heartbeat_seconds": view.heartbeat_ms / 1_000,
        "version": view.version,
        "hostname": view.hostname,
        "enrolled_at": moment(view.enrolled_at),
        "revoked_at": moment(view.revoked_at),
        "certificate_expires": moment(view.certificate_expires_at),
        "certificate_days": (view.certificate_expires_at - now) / 86_400_000_000,
        "clock_offset_seconds": view.clock_offset_us / 1e6,
        "streams": len(view.streams),
        "canaries": [_canary(one) for one in view.canaries],
        "paused": view.paused,
        "configuration_hash": view.configuration_hash,
        "configuration_refusal": view.configuration_refusal,
        "offer_in_force": view.offer_revision or None,
        "offer_newest": f"{view.offer.revision}: {view.offer.state}" if view.offer else None,
        "outbox": dict(view.outbox),
        "health": dict(view.health),
    }


def _cells(view: AgentView, row: dict[str, Any]) -> dict[str, Any]:
    health, outbox = view.health, view.outbox
    seen = span(row["silent_seconds"])
    trips = [canary.round_trip_us for canary in view.canaries if canary.round_trip_us]
    return {
        **row,
        "last_seen": f"{seen} ago" if seen else None,
        "cpu": f"{health['cpu_percent']:.0f} %" if "cpu_percent" in health else None,
        "memory_free": size(health["memory_available_bytes"]) if "memory_available_bytes" in health else None,
        "disk_free": size(health["disk_free_bytes"]) if "disk_free_bytes" in health else None,
        "outbox": f"{outbox['batches']}, {size(outbox['bytes'])}{', FULL' if outbox.get('full') else ''}"
        if "batches" in outbox
        else None,
        "canary": span(max(trips) / 1e6) if trips else None,
        "certificate": f"{row['certificate_days']:.0f} d left",
    }


def _stream(one: AgentStream) -> dict[str, Any]:
    return {
        "stream": one.name,
        "colour": one.colour.value,
        "state": one.state,
        "mode": one.mode,
        "guarantee": one.guarantee,
        "position": one.position,
        "sealed": f"{one.epoch}/{one.sealed_seq}",
        "durable": f"{one.durable[0]}/{one.durable[1]}",
        "loaded": f"{one.loaded[0]}/{one.loaded[1]}",
        "behind": one.behind,
        "lag_seconds": one.lag_s,
        "rows": one.rows_captured,
        "last_change_at": moment(one.last_change_at),
        "log_hours_left": one.log_hours_left,
        "columns_waiting": list(one.columns_waiting),
        "code": one.code,
        "reason": one.reason,
        "remedy": one.remedy,
    }


def _canary(one: CanaryView) -> dict[str, Any]:
    return {
        "source": one.source,
        "kind": one.kind,
        "made": moment(one.made_at),
        "loaded": moment(one.loaded_at),
        "round_trip": span(one.round_trip_us / 1e6) if one.round_trip_us else None,
        "late_seconds": one.late_s,
        "trouble": f"{one.code}: {one.reason}" if one.code else None,
    }


def _states(text: str) -> tuple[Colour, ...]:
    try:
        return tuple(Colour(word) for word in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; there are {', '.join(Colour)}") from None
