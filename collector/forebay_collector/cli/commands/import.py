"""Take what agents without a line sent on a disk (`forebay-agent outbox export`), and leave the answer there.

Every file is checked first: whose it is, and that none of its bytes was altered. The collector, which must be running, then
takes its batches as it takes those of a line: a batch that it has is not taken again, and one that comes too early waits
for the file before it. The answer goes back on the disk: `forebay-agent outbox acknowledge DIR` deletes what it names.

examples:
  forebay-collector import /media/disk
  forebay-collector import /media/disk --wait 1h
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.office import Office
from forebay_collector.cli.owner import give_back
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.errors import CollectorError, FerryRefused
from forebay_collector.ferry import folder as ferries
from forebay_collector.ferry.answer import write_answer
from forebay_collector.ferry.folder import Outcome, State
from forebay_collector.ferry.seal import check_sealed_by_agent
from forebay_collector.identity.admission import find_agent
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.names import Identity
from forebay_collector.policy import remedy_of
from forebay_wire.ferry import ANSWER

_LOOK_S: Final = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the disk is mounted")
    parser.add_argument(
        "--wait", type=duration, default="10m", help="how long to wait for the collector to take it (default 10m)"
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    data = office.settings().data
    put: dict[Path, Identity] = {}
    code = FINE
    for path in _files(arguments.folder):
        try:
            identity, _ = check_sealed_by_agent(path, Authority.load(data.identity).certificate)
            find_agent(office.ledger(), identity)
            put[_copied(data.ferry, path)] = identity
        except CollectorError as error:
            office.out.write(f"{path.name}: refused: {error.code}: {error}\n  {remedy_of(error)}\n")
            code = NOT_SO
    deadline = time.monotonic() + arguments.wait.total_seconds()
    for number, path in enumerate(put, 1):
        office.progress.say(f"{number} of {len(put)}: {path.name}")
        outcome = _outcome(path, deadline)
        office.progress.done()
        office.out.write(f"{path.name}: {_words(outcome)}\n")
        if outcome is None or outcome.state is not State.TAKEN:
            code = NOT_SO
    for identity in {each.agent: each for each in put.values()}.values():
        answer = write_answer(office.ledger(), data.identity, identity, arguments.folder)
        office.out.write(f"{answer.name}: for agent {identity.agent}: `forebay-agent outbox acknowledge DIR`\n")
    return code


def _files(folder: Path) -> list[Path]:
    try:
        found = [path for path in ferries.waiting(folder) if not path.name.startswith(ANSWER)]
    except OSError as error:
        raise FerryRefused(f"{folder}: cannot be read: {error.strerror}") from None
    if not found:
        raise FerryRefused(f"{folder}: no files of agents; `forebay-agent outbox export DIR` makes them")
    return found


def _copied(folder: Path, path: Path) -> Path:
    try:
        # the service looks into it as soon as it is there
        folder.mkdir(mode=0o700, exist_ok=True)
        give_back(folder, folder.parent)
        return ferries.put(folder, path)
    except OSError as error:
        raise FerryRefused(f"{path.name}: cannot be copied to {folder}: {error.strerror}") from None
    finally:
        give_back(folder, folder.parent)


def _outcome(path: Path, deadline: float) -> Outcome | None:
    """None: nothing is told of the file when the time is over."""
    while True:
        outcome = ferries.outcome_of(path)
        if (outcome is not None and outcome.state is not State.WAITS) or time.monotonic() >= deadline:
            return outcome
        if outcome is not None and not _others_first(path):
            return outcome
        time.sleep(_LOOK_S)


def _others_first(path: Path) -> bool:
    """Whether files wait of which nothing is told yet: what this one waits for may be in them."""
    return any(ferries.outcome_of(each) is None for each in ferries.waiting(path.parent))


def _words(outcome: Outcome | None) -> str:
    if outcome is None:
        return "copied; nothing took it yet: `forebay-collector serve` does when it runs"
    of_file = f"{outcome.durable} of {outcome.batches} batches are durable"
    why = "".join(f"\n  {stream or 'the file'}: {reason}" for stream, reason in sorted(outcome.why.items()))
    return f"{outcome.state}: {of_file}{why}"
