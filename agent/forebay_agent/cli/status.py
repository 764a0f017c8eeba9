"""`forebay-agent status`: how every stream stands, from what the running agent writes down."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from forebay_agent.cli import listing, problems
from forebay_agent.errors import NotApproved, StateFolderUnusable
from forebay_agent.policy import POLICIES

SUMMARY: Final = "say how every stream stands"
DESCRIPTION: Final = """\
Says whether the agent runs and is connected, how full the outbox is, how long the last canary of each source took to the
platform, and per stream its state, how long ago it last changed, what keeps it from going on, and the remedy. In mode log
also how far capture is behind the log's end, and for how many hours the database still keeps what was not captured
(`kept`; nothing: for as long as needed, or it cannot be told; `log_kept` of --json says which)."""
EXAMPLES: Final = """\
examples:
  forebay-agent status                   all streams
  forebay-agent status --troubled        only those that do not go on
  forebay-agent status --json | jq '.streams[] | select(.code != "")'

exit codes: 0 runs and every stream goes on, 1 it does not run, or a stream is held, 3 configuration
"""

ALARM_HOURS: Final = 24.0
"""a log that is kept for less than this from where capture stands is told"""

CERTIFICATE_DAYS: Final = 30
"""one that is renewed on a disk and ends sooner is told"""

STALE_SECONDS: Final = 30.0
"""a running agent writes its status every ten seconds, and within a second when anything happens"""

_COLUMNS: Final = ("stream", "state", "mode", "rows_captured", "changed", "polled", "behind", "kept", "waiting", "code")

_NOT_WRITTEN_BEFORE: Final[dict[str, Any]] = {
    "paused": "",
    "offer": {"in_force": 0, "newest": 0, "outcome": "", "reason": "", "decided_at_us": 0},
    "certificate": {"expires_at_us": 0, "code": "", "reason": "", "remedy": ""},
    "clock": {"heard_at_us": 0, "collector_ahead_us": 0},
    "canaries": [],
}
"""what the status of an agent that was not restarted since it was brought up to date does not hold"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--troubled", action="store_true", help="only streams that do not go on")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from forebay_agent.config.load import load_agent
    from forebay_agent.report import STATUS_FILE

    state = load_agent(options.config).state
    told = _read(state / STATUS_FILE)
    if told is None:
        return problems.never_run(state, sys.stderr)
    now_us = time.time_ns() // 1000
    told["running"], told["why_not"] = _is_running(told, now_us)
    if options.troubled:
        told["streams"] = [stream for stream in told["streams"] if stream["code"] or stream.get("columns_waiting")]
    if options.json:
        listing.print_json(told, sys.stdout)
    else:
        sys.stdout.write("\n".join(_lines(told, now_us)) + "\n")
    held = any(stream["state"] == "held" for stream in told["streams"])
    return 0 if told["running"] and not held else 1


def _read(file: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = {**_NOT_WRITTEN_BEFORE, **json.loads(file.read_bytes())}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFolderUnusable(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise StateFolderUnusable(f"{file} holds no status", remedy="Start the agent: it writes it anew.") from None
    return told


def _is_running(told: dict[str, Any], now_us: int) -> tuple[bool, str]:
    pid = told["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False, f"process {pid} has ended"
    except PermissionError:
        pass  # it is there, and another user's
    age = (now_us - told["written_at_us"]) / 1e6
    if age > STALE_SECONDS:
        return False, f"it has written no status for {listing.span(age)}"
    return True, ""


def _lines(told: dict[str, Any], now_us: int) -> Iterator[str]:
    def since(at_us: int) -> str:
        return listing.span((now_us - at_us) / 1e6) if at_us else ""

    if told["running"]:
        yield f"agent {told['agent']} of {told['department']} runs (process {told['pid']}, {since(told['started_at_us'])})"
    else:
        yield f"agent {told['agent']} of {told['department']} DOES NOT RUN: {told['why_not']}"
        yield f"  what follows stood {since(told['written_at_us'])} ago; remedy: systemctl start forebay-agent"
    if told.get("paused"):
        yield f"PAUSED     {problems.visible(told['paused'])}"
    yield from _uplink(told["uplink"], since)
    outbox = told["outbox"]
    yield (
        f"outbox     {outbox['batches']:,} batches, {listing.size(outbox['bytes'])} of {listing.size(outbox['cap_bytes'])}"
        f"{', FULL: capture waits' if outbox['full'] else ''}; {listing.size(outbox['disk_free_bytes'])} free on the disk"
    )
    if told["configuration_refusal"]:
        yield from problems.indented("REFUSED:", told["configuration_refusal"])
        yield "          the configuration before it stays in force; `forebay-agent check` says what to do"
    # the file may be one that an older version left
    yield from _offer(told["offer"]) if "offer" in told else ()
    if "certificate" in told:
        yield from _certificate(told["certificate"], now_us if not told["uplink"].get("line", True) else 0)
    for canary in told.get("canaries", ()):
        yield from _canary(canary, since)
    yield ""
    yield from _streams(told["streams"], since)


def _uplink(uplink: dict[str, Any], since: Any) -> Iterator[str]:
    if not uplink.get("line", True):
        yield f"collector  {uplink['reason']}"
        yield "           `forebay-agent outbox export DIR`, then `forebay-agent outbox acknowledge DIR` with the answer"
        return
    if uplink["connected"]:
        yield f"collector  connected to {uplink['address']} for {since(uplink['since_us'])}"
        if uplink["reason"]:
            yield f"           {problems.visible(uplink['reason'])}"
        return
    yield f"collector  NOT CONNECTED: {uplink['code']} {problems.visible(uplink['reason'])}".rstrip()
    if uplink["remedy"]:
        yield from problems.indented("remedy:", uplink["remedy"])


def _offer(offer: dict[str, Any]) -> Iterator[str]:
    """What the centre offered; nothing when it never did."""
    if offer["in_force"]:
        yield f"offer      revision {offer['in_force']} of the centre is in force; `forebay-agent tables` shows it"
    if offer["outcome"] == "FAILED":
        if not offer["in_force"]:
            yield "offer      no offer of the centre is in force"
        yield from problems.indented(
            "REFUSED:", f"revision {offer['newest']} of the centre's offers\n{offer['reason']}"
        )


def _certificate(certificate: dict[str, Any], by_disk_us: int) -> Iterator[str]:
    """Nothing while it is renewed by itself. by_disk_us: now, where it is renewed on a disk; else 0."""
    until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(certificate["expires_at_us"] / 1e6))
    if by_disk_us and 0 < certificate["expires_at_us"] < by_disk_us + CERTIFICATE_DAYS * 86_400 * 1_000_000:
        yield f"certificate it is good until {until} UTC: two rounds of the disk before then renew it"
    if certificate["code"]:
        yield f"certificate NOT RENEWED, it is good until {until} UTC: {certificate['code']}"
        yield from problems.indented("why:", certificate["reason"])
        yield from problems.indented("remedy:", certificate["remedy"])


def _canary(canary: dict[str, Any], since: Callable[[int], str]) -> Iterator[str]:
    """How long ago the last one was made, and how long it took to the platform and back."""
    said = "none was made yet"
    if canary["made_at_us"]:
        way = f"loaded after {canary['round_trip_us'] / 1e6:.1f} s" if canary["loaded_at_us"] else "not loaded yet"
        said = f"{canary['kind']}, made {since(canary['made_at_us'])} ago, {way}"
    yield f"canary     {problems.visible(canary['source'])}: {said}"
    if canary["reason"]:
        yield from problems.indented("why:", f"{canary['code']} {canary['reason']}".strip())


def _streams(streams: list[dict[str, Any]], since: Any) -> Iterator[str]:
    if not streams:
        yield "no streams"
        return
    rows = [
        {
            **stream,
            "changed": since(stream["last_change_at_us"]),
            "polled": since(stream["last_poll_at_us"]),
            "waiting": stream["sealed_seq"] - stream["durable_seq"],
            "behind": listing.size(stream.get("log_bytes_behind") or 0) if stream["mode"] == "log" else "",
            "kept": _hours(stream.get("log_hours_left")),
        }
        for stream in streams
    ]
    yield from listing.table(rows, _COLUMNS)
    for stream in streams:
        hours = stream.get("log_hours_left")
        if hours is not None and hours < ALARM_HOURS:
            yield ""
            yield f"{stream['stream']}: THE DATABASE FORGETS what was not captured in {hours:.1f} hours"
            yield from problems.indented("why:", stream.get("log_kept", ""))
            yield "  remedy: restore the way to the collector or free the outbox, or have the DBA keep the log for longer"
    for stream in streams:
        if stream.get("columns_waiting"):
            names = ", ".join(problems.visible(name) for name in stream["columns_waiting"])
            yield ""
            yield f"{stream['stream']}: columns wait: {names} ({NotApproved.code})"
            yield from problems.indented("remedy:", POLICIES[NotApproved].remedy)
    for stream in streams:
        if stream["code"] or stream["reason"]:
            yield ""
            yield f"{stream['stream']}: {stream['state']} {stream['code']}".rstrip()
            yield from problems.indented("why:", stream["reason"])
            if stream["remedy"]:
                yield from problems.indented("remedy:", stream["remedy"])


def _hours(hours: float | None) -> str:
    return "" if hours is None else f"{hours:,.0f} h"
