"""What a fault is: it strikes one place of the fleet, proves that it struck, and is healed; where the design asks a person
for a remedy, healing carries it out as the remedy says, through the command line."""

from __future__ import annotations

import random
import re
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from forebay_collector.demo.processes import DemoFailed
from tests.faults.clock import CLOCK
from tests.faults.departments import Department
from tests.faults.fleet import COLLECTOR, PLACES, Fleet, Member
from tests.faults.intent import Table

AGENTS: Final = PLACES
EVERYWHERE: Final = (*PLACES, COLLECTOR)
REMEDY_SECONDS: Final = 90.0
_COMMAND: Final = re.compile(r"`forebay-agent ((?:snapshot|reset) [^`]*)`")


class Fault(ABC):
    """One strike. `fleet` and `place` say where; all that is random comes from `draw`.

    name: how the timeline calls the kind. on: the places that it can strike.
    """

    name: ClassVar[str]
    on: ClassVar[tuple[str, ...]] = EVERYWHERE

    captured: Mapping[Table, float] = MappingProxyType({})
    """where the remedy is a snapshot: changes after that moment of the harness's clock, until it is healed, may lack in the
    table's history (never in the mirror)"""

    proof_s: ClassVar[float] = 8.0
    """how long it waits for its proof beyond its time"""

    by_hand: ClassVar[bool] = False
    """whether the remedy takes a person, who does one thing after the other: of these one strikes at a time"""

    def __init__(self, fleet: Fleet, place: str, draw: random.Random) -> None:
        self.fleet = fleet
        self.place = place
        self.draw = draw

    @abstractmethod
    def inject(self) -> None:
        """Brings the trouble about."""

    @abstractmethod
    def struck(self) -> str:
        """The proof that something met it, in a few words; empty as long as nothing did. Looked at until the heal."""

    @abstractmethod
    def heal(self) -> None:
        """Ends the trouble, and does what its remedy asks of a person. Raises DemoFailed when that does not help."""

    @property
    def member(self) -> Member:
        return self.fleet.members[self.place]

    @property
    def department(self) -> Department:
        return self.fleet.departments[self.place]

    def wait(self, what: Callable[[], object], told: str, seconds: float = REMEDY_SECONDS) -> Any:
        """-> the first outcome that is true. Raises DemoFailed when there is none in time."""
        deadline = CLOCK.now + seconds
        while not (outcome := what()):
            if CLOCK.now > deadline:
                raise DemoFailed(f"{self.name} at {self.place}: not {told} after {seconds:.0f} s: {self._streams()}")
            time.sleep(0.2)
        return outcome

    def patiently(self, deed: Callable[[], Any]) -> Any:
        """What a person does again until it works: the centre, or the disk, may just have a fault of its own."""
        deadline = CLOCK.now + REMEDY_SECONDS
        while True:
            try:
                return deed()
            except Exception:
                if CLOCK.now > deadline:
                    raise
                time.sleep(0.5)

    def state(self, table: Table) -> dict[str, Any]:
        """How the table's stream stands, {} while the agent does not say."""
        return self.fleet.status(self.place).get(self.department.stream(table), {})

    def obey(self, state: dict[str, Any]) -> None:
        """The command that the remedy of a held stream names, to the letter."""
        found = _COMMAND.search(state["remedy"])
        if found is None:
            raise DemoFailed(f"{self.name} at {self.place}: the remedy names no command: {state['remedy']}")
        words = shlex.split(found[1].replace("STREAM", state["stream"]).replace("…", "'harness: the remedy says so'"))
        self.patiently(lambda: self.fleet.agent(self.place, *words, *(["--yes"] if words[0] == "reset" else [])))

    def _streams(self) -> str:
        if self.place not in self.fleet.departments:
            return ""
        return "; ".join(
            f"{each['stream']} {each['state']} {each['code']} {each['reason']}".strip()
            for each in self.fleet.status(self.place).values()
        )
