"""Take what agents without a line sent on a disk (`forebay-agent outbox export`), and leave the answer there.

Every file is checked first: whose it is, and that none of its bytes was altered. The collector, which must be running, then
takes its batches as it takes those of a line: a batch that it has is not taken again, and one that comes too early waits
for the file before it. What a file proposes to share is for `forebay-collector approvals`; a certificate that it asks for is
given, and so is that of an agent which enrols (`forebay-agent enroll TOKENFILE --export DIR`), whose token is spent then.
The answer goes back on the disk, for `forebay-agent outbox acknowledge DIR`, or `enroll --answer DIR`.

examples:
  forebay-collector import /media/disk
  forebay-collector import /media/disk --wait 1h
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from forebay_collector.cli.durations import duration
from forebay_collector.cli.office import Office
from forebay_collector.cli.owner import give_back
from forebay_collector.cli.problems import FINE, NOT_SO
from forebay_collector.control.approving import Approving
from forebay_collector.errors import CollectorError, FerryRefused, IdentityRefused
from forebay_collector.ferry import folder as ferries
from forebay_collector.ferry.answer import write_answer
from forebay_collector.ferry.folder import Outcome, State
from forebay_collector.ferry.requests import Requests, asks_more, refusal
from forebay_collector.ferry.seal import check_sealed_by_agent
from forebay_collector.identity import alarms
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.names import Identity
from forebay_collector.policy import remedy_of
from forebay_wire.ferry import ANSWER
from forebay_wire.v1 import ferry_pb2

_LOOK_S: Final = 0.1
_OLDER_SEAL: Final = (
    "Nothing is lost: `forebay-agent outbox export` writes what is not acknowledged anew. Remove this file."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the disk is mounted")
    parser.add_argument(
        "--wait", type=duration, default="10m", help="how long to wait for the collector to take it (default 10m)"
    )


def run(arguments: argparse.Namespace, office: Office) -> int:
    importing = _Import(office, arguments.folder, time.monotonic() + arguments.wait.total_seconds())
    try:
        importing.take()
    finally:
        give_back(office.settings().data.ferry, office.settings().folder)
    return importing.code


@dataclass(slots=True)
class _Said:
    """To one agent. let_in: whether anything that it sealed was taken."""

    identity: Identity
    answers: list[ferry_pb2.FerryRecord] = field(default_factory=list)
    let_in: bool = False


class _Import:
    """One disk. Files are taken by name, which is each agent's order; what an agent proposes and asks for, from its newest."""

    def __init__(self, office: Office, disk: Path, deadline: float) -> None:
        data = office.settings().data
        self.code = FINE
        self._office = office
        self._disk = disk
        self._deadline = deadline
        self._ferry, self._identity = data.ferry, data.identity
        self._authority = Authority.load(data.identity)
        approving = Approving(office.ledger(), office.settings().approval.mode)
        self._requests = Requests(office.ledger(), self._authority, approving, data.ferry / ferries.GIVEN)
        self._put: dict[Path, Outcome | None] = {}
        self._said: dict[str, _Said] = {}

    def take(self) -> None:
        checked = [each for path in _files(self._disk) if (each := self._checked(path)) is not None]
        newest = {identity.agent: path for path, identity, asks in checked if asks}
        for path, identity, _ in checked:
            try:
                if identity.enrolment:
                    self._enrol(path, identity)
                else:
                    self._admit(path, identity, newest.get(identity.agent) == path)
            except CollectorError as error:
                self._refused(path, error)
            finally:
                path.unlink(missing_ok=True)
        self._tell_outcomes()
        self._answer()

    def _checked(self, path: Path) -> tuple[Path, Identity, bool] | None:
        """The file on our own disk, who sealed it, and whether there is more in it than batches."""
        try:
            brought = _brought(self._ferry, path)
            try:
                identity, _ = check_sealed_by_agent(brought, self._authority.certificate)
                return brought, identity, asks_more(brought)
            except CollectorError:
                brought.unlink()
                raise
        except CollectorError as error:
            self._refused(path, error)
            return None

    def _enrol(self, path: Path, identity: Identity) -> None:
        record = self._requests.enrol(path, identity)
        answer = write_answer(self._office.ledger(), self._identity, identity, self._disk, [record], marks=False)
        if record.HasField("refused"):
            self.code = NOT_SO
            self._say(f"{path.name}: refused: {record.refused.code}: {record.refused.reason}")
        else:
            self._say(f"{path.name}: agent {identity.agent} of department {identity.department} is enrolled")
        self._say(f"{answer.name}: for agent {identity.agent}: `forebay-agent enroll --answer DIR`")

    def _admit(self, path: Path, identity: Identity, newest: bool) -> None:
        """Raises IdentityRefused, FerryRefused."""
        said = self._said.setdefault(identity.agent, _Said(identity))
        try:
            if self._requests.unconfirmed(identity):
                # from then on what the one before sealed is refused: first that is taken
                self._tell_outcomes()
                self._requests.confirm(identity)
                self._say(f"{path.name}: the renewed certificate of agent {identity.agent} is in force")
        except IdentityRefused as error:
            said.answers.append(refusal(error, identity.serial))
            raise
        said.let_in = True
        agent = self._office.ledger().agents.get(identity.agent)
        if newest and agent is not None:
            said.answers += self._requests.heard(path, agent)
        self._put[_put(self._ferry, path)] = None

    def _tell_outcomes(self) -> None:
        """Waits until what was put is taken."""
        waiting = [path for path, outcome in self._put.items() if outcome is None]
        for number, path in enumerate(waiting, 1):
            self._office.progress.say(f"{number} of {len(waiting)}: {path.name}")
            outcome = _outcome(path, self._deadline)
            self._office.progress.done()
            self._say(f"{path.name}: {_words(outcome)}")
            self._put[path] = outcome or Outcome(State.WAITS)
            if outcome is None or outcome.state is not State.TAKEN:
                self.code = NOT_SO

    def _answer(self) -> None:
        ledger = self._office.ledger()
        for name, said in self._said.items():
            agent = ledger.agents.get(name)
            if said.let_in and agent is not None:
                said.answers += self._requests.standing(agent)
            answer = write_answer(ledger, self._identity, said.identity, self._disk, said.answers, marks=said.let_in)
            self._say(f"{answer.name}: for agent {name}: `forebay-agent outbox acknowledge DIR`")

    def _refused(self, path: Path, error: CollectorError) -> None:
        old = isinstance(error, IdentityRefused) and error.action == alarms.REPLACED
        remedy = _OLDER_SEAL if old else remedy_of(error)
        self._say(f"{path.name}: refused: {error.code}: {error}\n  {remedy}")
        self.code = NOT_SO

    def _say(self, words: str) -> None:
        self._office.out.write(f"{words}\n")


def _files(folder: Path) -> list[Path]:
    try:
        found = [path for path in ferries.waiting(folder) if not path.name.startswith(ANSWER)]
    except OSError as error:
        raise FerryRefused(f"{folder}: cannot be read: {error.strerror}") from None
    if not found:
        raise FerryRefused(f"{folder}: no files of agents; `forebay-agent outbox export DIR` makes them")
    return found


def _brought(folder: Path, path: Path) -> Path:
    try:
        return ferries.bring(folder, path)
    except OSError as error:
        raise FerryRefused(f"{path.name}: cannot be copied to {folder}: {error.strerror}") from None
    finally:
        give_back(folder, folder.parent)


def _put(folder: Path, checked: Path) -> Path:
    try:
        return ferries.put(folder, checked)
    except OSError as error:
        raise FerryRefused(f"{checked.name}: cannot be put into {folder}: {error.strerror}") from None


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
