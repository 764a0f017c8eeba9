"""The uplink's thread: one connection after another, the addresses in turn, with growing pauses between rounds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from forebay_agent import journal
from forebay_agent.approval.approvals import Approvals
from forebay_agent.backoff import Backoff
from forebay_agent.clock import Clock
from forebay_agent.config.model import CollectorConfig
from forebay_agent.diagnosis import explain
from forebay_agent.entrance import Coming, Entrance
from forebay_agent.errors import AgentError, CollectorUnreachable, OutboxDamaged, StateFolderUnusable
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Board, Trouble
from forebay_agent.uplink import carried
from forebay_agent.uplink.bandwidth import Bandwidth
from forebay_agent.uplink.hours import Hours
from forebay_agent.uplink.permission import Permission
from forebay_agent.uplink.session import Session
from forebay_agent.uplink.verdicts import Verdicts
from forebay_wire.stream import StreamName

PULSE: Final = "uplink"
_PULSE_SECONDS: Final = 60.0
_NO_LINE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class UplinkState:
    """connected: marks were received. since_us: when that began or ended. trouble: why it is not. waits: why nothing is sent
    though it is connected, in words. line: whether there is one at all."""

    connected: bool = False
    address: str = ""
    since_us: int = 0
    trouble: Trouble | None = None
    waits: str = ""
    line: bool = True


class Uplink:
    """`run` is the thread's body; `state` is read and `stop` called by others."""

    def __init__(
        self,
        state_folder: Path,
        config: CollectorConfig,
        outbox: Outbox,
        board: Board,
        pulses: Pulses,
        clock: Clock,
        *,
        approvals: Approvals | None = None,
        entrance: Entrance | None = None,
        priority_of: Callable[[StreamName], int] = lambda _: 5,
    ) -> None:
        """approvals: what may leave; None: everything. entrance: shared with who else comes in; None: nobody does."""
        self.state = UplinkState(since_us=clock.now_us(), line=config.line)
        self._entrance = entrance or Entrance(state_folder)
        self._config = config
        self._outbox = outbox
        self._board = board
        self._verdicts = Verdicts(outbox, board, clock)
        self._permission = Permission(approvals or Approvals.everything())
        self._pulses = pulses
        self._clock = clock
        self._priority_of = priority_of
        self._bandwidth = Bandwidth(config.bandwidth, clock.monotonic)
        self._hours = Hours(config.windows)
        self._stopped = threading.Event()
        self._anew = threading.Event()
        self._roused = threading.Event()
        self._session: Session | None = None

    def run(self) -> None:
        """Sends until stopped, if there is a line. Raises what must end the process: OutboxDamaged, StateFolderUnusable."""
        backoff = Backoff(self._config.backoff_first.total_seconds(), self._config.backoff_most.total_seconds())
        turn = 0
        try:
            while not self._stopped.is_set():
                self._tick()
                if not self._config.line:
                    carried.look(self._outbox, self._board)
                    self._stopped.wait(_NO_LINE_SECONDS)
                    continue
                progress, failure, tried = self._try(turn)
                turn += 1
                if failure is None:
                    continue
                self._show_failure(failure)
                carried.look(self._outbox, self._board)
                if progress:
                    backoff.succeeded()
                if not tried or turn % tried == 0:
                    self._roused.wait(backoff.next())
                    self._roused.clear()
        finally:
            self._outbox.on_arrival = None
            self._pulses.end(PULSE)

    def reconnect(self) -> None:
        """Ends the connection that there is, and makes the next one with the identity that is in force then. From any thread."""
        self._anew.set()
        self._roused.set()
        session = self._session
        if session is not None:
            session.wake()

    def stop(self) -> None:
        """Asks the thread to end; what is not acknowledged stays in the outbox."""
        self._stopped.set()
        self._roused.set()
        session = self._session
        if session is not None:
            session.wake()

    def tune(self, config: CollectorConfig) -> None:
        """Another bandwidth and other windows, on the connection that there is. From any thread."""
        self._config = config
        self._bandwidth.tune(config.bandwidth)
        self._hours.tune(config.windows)

    def again(self, name: StreamName) -> bool:
        """Sends what the outbox holds of a stream again, from the collector's mark on; whether it is connected. From any
        thread."""
        session = self._session
        if session is None or not self.state.connected:
            return False
        session.again(name)
        return True

    def _try(self, turn: int) -> tuple[bool, AgentError | None, int]:
        """One connection. -> whether the collector answered, why it ended, and how many addresses there are."""
        self._anew.clear()
        try:
            coming = self._entrance.come()
        except StateFolderUnusable:
            raise
        except AgentError as error:
            return False, error, 0
        addresses = self._config.addresses or coming.own.addresses
        try:
            if not addresses:
                return False, CollectorUnreachable("no address of a collector is known"), 0
            progress, failure = self._connect(addresses[turn % len(addresses)], coming)
        finally:
            coming.over()
        return progress, failure, len(addresses)

    def _connect(self, address: str, coming: Coming) -> tuple[bool, AgentError | None]:
        own = coming.own
        line = self._entrance.channels.get(address, own)
        failed = True
        session = Session(
            line.channel,
            self._outbox,
            self._verdicts,
            self._clock,
            window=self._config.window,
            bandwidth=self._bandwidth,
            hours=self._hours,
            permission=self._permission,
            priority_of=self._priority_of,
            tick=lambda: self._look(address, coming),
        )
        self._session = session
        self._outbox.on_arrival = session.wake
        try:
            error = session.run(lambda: self._stopped.is_set() or self._anew.is_set())
            if error is None:
                failed = False
                return session.progress, None
            return session.progress, explain(error, address, own.authority, own)
        except (OutboxDamaged, StateFolderUnusable):
            raise
        except AgentError as failure:
            return session.progress, failure
        finally:
            self._session = None
            line.close(failed=failed)

    def _look(self, address: str, coming: Coming) -> None:
        self._tick()
        session = self._session
        if session is not None and session.progress:
            coming.over()
        if session is not None and session.progress and not self.state.connected:
            self.state = UplinkState(True, address, self._clock.now_us())
            journal.info("uplink connected", collector=address)
        waits = self._hours.waits
        if self.state.waits != waits:
            self.state = replace(self.state, waits=waits)
            journal.info("sending waits" if waits else "sending goes on", reason=waits)

    def _tick(self) -> None:
        self._pulses.tick(PULSE, _PULSE_SECONDS)

    def _show_failure(self, failure: AgentError) -> None:
        trouble = Trouble.of(failure)
        if self.state.connected or self.state.trouble != trouble:
            journal.warning("uplink waits", code=trouble.code, reason=trouble.reason)
        since = self._clock.now_us() if self.state.connected else self.state.since_us
        self.state = replace(self.state, connected=False, since_us=since, trouble=trouble)
