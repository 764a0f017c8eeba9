"""An agent's outbox and uplink against a scripted collector, without captures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from forebay_agent.approval.approvals import Approvals
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import CollectorConfig, OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Board
from forebay_agent.uplink import Uplink
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import SCHEMA, STREAM, chained


class Site:
    """An agent's outbox and uplink, without captures: batches are put by hand."""

    def __init__(
        self, state: Path, collector: ScriptedCollector, approvals: Approvals | None = None, **config: object
    ) -> None:
        self.outbox = Outbox.open(state, OutboxConfig(free_disk=0))
        self.board = Board()
        clock = SystemClock()
        quick = {"backoff_first": timedelta(milliseconds=20), "backoff_most": timedelta(milliseconds=200), **config}
        settings = CollectorConfig(**quick)  # type: ignore[arg-type]
        pulses = Pulses(clock.monotonic)
        self.uplink = Uplink(state, settings, self.outbox, self.board, pulses, clock, approvals=approvals)
        self.collector = collector
        self._thread = threading.Thread(target=self.uplink.run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.uplink.stop()
        if self._thread.ident is not None:
            self._thread.join(20)
            assert not self._thread.is_alive()
        self.outbox.close()

    def put(self, count: int, stream: StreamName = STREAM, text_bytes: int = 8) -> list[SealedBatch]:
        record = self.outbox.stream(stream)
        batches = chained(count, stream, record.link, text_bytes=text_bytes)
        for batch in batches:
            record = self.outbox.put(record, [batch], f'{{"rows":{batch.seq}}}', schema=SCHEMA)
        return batches

    def waiting(self) -> int:
        return self.outbox.state().batches


@contextmanager
def site(folder: Path, script: Script, **config: object) -> Iterator[Site]:
    state = folder / "state"
    with ScriptedCollector(folder / "authority", script) as collector:
        collector.enrol(state)
        opened = Site(state, collector, None, **config)
        try:
            yield opened
        finally:
            opened.stop()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)
