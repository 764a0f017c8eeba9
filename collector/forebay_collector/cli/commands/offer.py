"""Offer settings to agents: what tunes or tightens what the department's own files say. The agent may refuse, with reasons.

An offer is the whole of what is overlaid at an agent: it takes the place of the one before. With several agents the first
one named tries it; the others get it when that one has applied it and stayed healthy for a time, and nobody else does
when one refuses it. A value is JSON where it can be read as such, else a text. --clear offers nothing: the files alone
are in force again.

examples:
  forebay-collector offer make scjg-01 mzj-01 --set collector.bandwidth=1MiB/s --reason "the line is shared by day"
  forebay-collector offer make --all --file night.json --at-once --reason "agreed with all departments"
  forebay-collector offer make scjg-01 --clear --reason "not needed any more"
  forebay-collector offer list
  forebay-collector offer status 7 --wait 10m
  forebay-collector offer cancel 7 --reason "mistyped"
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.listing import moment, print_json, print_table
from forebay_collector.cli.office import Office
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.errors import NotPossible
from forebay_collector.ledger import offers
from forebay_collector.service import configuration, fleet
from forebay_collector.service.configuration import RolloutView
from forebay_collector.service.fleet import Colour

_COLUMNS: Final = ("rollout", "made", "by", "state", "agents", "settings", "why")
_OFFERS: Final = ("agent", "revision", "state", "sent", "decided", "reason")
_LOOK_S: Final = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    deeds = parser.add_subparsers(title="deeds", metavar="DEED", dest="deed", required=True)
    make = deeds.add_parser("make", help="offer settings to agents")
    make.add_argument("agents", nargs="*", metavar="AGENT", help="the first one tries it")
    make.add_argument("--all", action="store_true", help="all agents; those named come first")
    what = make.add_mutually_exclusive_group(required=True)
    what.add_argument("--set", action="append", type=_setting, metavar="PATH=VALUE", help="may be given more than once")
    what.add_argument("--file", type=Path, metavar="FILE", help="a JSON object: setting path -> value")
    what.add_argument("--clear", action="store_true", help="overlay nothing any more")
    make.add_argument("--at-once", action="store_true", help="to all agents at the same time")
    make.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    make.add_argument("--json", action="store_true", help="print JSON")
    listing = deeds.add_parser("list", help="the roll-outs, newest first")
    listing.add_argument("--limit", type=int, default=20, help="at most so many (default 20)")
    listing.add_argument("--json", action="store_true", help="print JSON")
    status = deeds.add_parser("status", help="one roll-out, agent by agent")
    status.add_argument("rollout", type=int, metavar="ROLLOUT")
    status.add_argument("--wait", type=duration, default="0s", help="for its end, at most so long")
    status.add_argument("--json", action="store_true", help="print JSON")
    cancel = deeds.add_parser("cancel", help="end a roll-out: who has not got it does not get it")
    cancel.add_argument("rollout", type=int, metavar="ROLLOUT")
    cancel.add_argument("--reason", required=True, metavar="WHY", help="kept in the audit")
    cancel.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, office: Office) -> int:
    ledger, actor = office.ledger(), office.actor()
    match arguments.deed:
        case "make":
            view = _make(arguments, office)
        case "cancel":
            view = configuration.cancel(ledger, actor, arguments.rollout, arguments.reason)
        case "status":
            view = _awaited(arguments, office)
        case _:
            return _list(arguments, office)
    if arguments.json:
        print_json(_row(view) | {"offers": _offers(view)}, office.out)
    else:
        office.out.write(f"roll-out {view.id}: {view.state}{f': {view.reason}' if view.reason else ''}\n")
        print_table(_offers(view), _OFFERS, office.out)
    return NOT_SO if view.state == offers.STOPPED else FINE


def _make(arguments: argparse.Namespace, office: Office) -> RolloutView:
    ledger, actor = office.ledger(), office.actor()
    agents = list(arguments.agents)
    if arguments.all:
        agents += [view.name for view in fleet.agents(ledger, actor) if view.state is not Colour.REVOKED]
    settings = {} if arguments.clear else dict(arguments.set) if arguments.set else _read(arguments.file)
    trial = office.settings().control.trial
    made = configuration.offer(ledger, actor, agents, settings, arguments.reason, not arguments.at_once, trial)
    return configuration.rollout(ledger, actor, made)


def _awaited(arguments: argparse.Namespace, office: Office) -> RolloutView:
    ledger, actor = office.ledger(), office.actor()
    until = time.monotonic() + arguments.wait.total_seconds()
    while True:
        view = configuration.rollout(ledger, actor, arguments.rollout)
        if view.ended_at or time.monotonic() >= until:
            office.progress.done()
            return view
        applied = sum(one.state == offers.APPLIED for one in view.offers)
        office.progress.say(f"roll-out {view.id}: {view.state}: {applied} of {len(view.offers)} agents applied it")
        time.sleep(_LOOK_S)


def _list(arguments: argparse.Namespace, office: Office) -> int:
    rows = [_row(view) for view in configuration.rollouts(office.ledger(), office.actor(), arguments.limit)]
    if arguments.json:
        print_json(rows, office.out)
    elif not rows:
        office.out.write("no roll-outs\n")
    else:
        texts = [{**row, "settings": json.dumps(row["settings"], ensure_ascii=False)} for row in rows]
        print_table(texts, _COLUMNS, office.out)
    return FINE


def _row(view: RolloutView) -> dict[str, Any]:
    return {
        "rollout": view.id,
        "made": moment(view.made_at),
        "by": view.made_by,
        "why": view.why,
        "state": view.state,
        "reason": view.reason,
        "staged": view.staged,
        "trial_seconds": view.trial.total_seconds(),
        "ended": moment(view.ended_at),
        "settings": dict(view.settings),
        "agents": len(view.offers),
    }


def _offers(view: RolloutView) -> list[dict[str, Any]]:
    return [
        {
            "agent": one.agent,
            "revision": one.revision,
            "first": one.is_first,
            "state": one.state,
            "sent": moment(one.sent_at),
            "decided": moment(one.decided_at),
            "reason": one.reason,
        }
        for one in view.offers
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise NotPossible(
            f"{path}: is not JSON: {error}", remedy="Write one JSON object: setting path -> value."
        ) from None
    if not isinstance(settings, dict):
        raise NotPossible(f"{path}: is not a JSON object", remedy="Write one JSON object: setting path -> value.")
    return settings


def _setting(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not PATH=VALUE")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value
