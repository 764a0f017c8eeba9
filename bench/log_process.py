"""One source in mode log into sealed batches, as a process of its own: the agent without its uplink.

`python -m bench.log_process CONFIG_FOLDER` captures everything that is committed now, snapshots too, until it is in the
outbox; a state folder that is there is gone on from. Prints one JSON object: rows, seconds, cpu (seconds, of the capture
alone), bytes (headers and payloads), peak_mb, stages. `--live ROWS` goes on until so many rows were captured, and writes
`sealed` into the folder: pairs of 64-bit numbers, a row's id and when the outbox transaction that holds it had returned
(CLOCK_MONOTONIC, nanoseconds).

Batches are deleted as they come, as if a collector had taken them, except in live runs, which look into them afterwards.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Final

from bench.measure import peak_rss_mb
from bench.stages import Stages
from forebay_agent.capture.sources import DIALECTS
from forebay_agent.clock import SystemClock
from forebay_agent.config.load import load
from forebay_agent.memory import keep_small
from forebay_agent.outbox import LogRecord, Outbox, StreamPut
from forebay_agent.pipeline import checkpoint_of
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import STREAMING, Board
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName

_NO_END: Final = float("inf")
_LIVE_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.05


class Agent:
    """One source's thread and its outbox."""

    def __init__(self, folder: Path) -> None:
        config = load(folder)
        _load_dialect(config.sources[0].kind)
        config.state.mkdir(exist_ok=True)
        self.state = config.state
        self.outbox = Outbox.open(config.state, config.outbox)
        self.board = Board()
        clock = SystemClock()
        self.worker = SourceWorker(config.sources[0], "bench", self.outbox, self.board, Pulses(clock.monotonic), clock)
        self.linger_ms = config.sources[0].linger.total_seconds() * 1e3
        self.stream: StreamName = next(iter(self.worker.lanes))

    @property
    def rows(self) -> int:
        return checkpoint_of(self.outbox.stream(self.stream)).rows

    def refuse_trouble(self) -> None:
        trouble = self.board.of(self.stream).capturing
        if trouble is not None:
            raise SystemExit(f"{trouble.code}: {trouble.reason}")

    def close(self) -> None:
        self.worker.stop()
        self.worker.run()
        self.outbox.close()


class Taking:
    """Deletes what can be sent, as if it had been; counts its bytes."""

    def __init__(self, outbox: Outbox) -> None:
        self.bytes = 0
        self._outbox = outbox
        self._reader = outbox.reader()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taking")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._take()
        self._reader.close()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._take()

    def _take(self) -> None:
        for record in self._reader.streams():
            waiting = self._reader.waiting(record.id)
            if waiting:
                self.bytes += sum(batch.size for batch in waiting)
                self._outbox.delete({record.id: (waiting[-1].epoch, waiting[-1].seq)})


def capture(agent: Agent, stages: Stages) -> dict[str, object]:
    """Everything that is committed now."""
    before = agent.rows
    taking = Taking(agent.outbox)
    cpu = _cpu()
    began = time.perf_counter()
    agent.worker.drain(_NO_END)
    seconds = time.perf_counter() - began
    taking.end()
    cpu = _cpu() - cpu
    agent.refuse_trouble()
    return {
        "rows": agent.rows - before,
        "seconds": seconds,
        "cpu": cpu,
        "bytes": taking.bytes,
        "peak_mb": peak_rss_mb(os.getpid()),
        "stages": stages.told(cpu),
    }


def live(agent: Agent, rows: int, file: Path) -> dict[str, object]:
    """Prints a line once it streams; -> when so many rows were captured."""
    times: list[tuple[int, int, int]] = []
    put_log = agent.outbox.put_log

    def timed(department: str, source: str, puts: Sequence[StreamPut], log: LogRecord, *, open: bool) -> None:  # noqa: A002
        put_log(department, source, puts, log, open=open)
        now = time.monotonic_ns()
        times.extend((batch.epoch, batch.seq, now) for put in puts for batch in put.batches)

    agent.outbox.put_log = timed  # type: ignore[method-assign]
    thread = threading.Thread(target=agent.worker.run, name="source")
    thread.start()
    try:
        _wait(agent, lambda: agent.board.of(agent.stream).phase == STREAMING)
        print("ready", flush=True)
        cpu = _cpu()
        began = time.perf_counter()
        _wait(agent, lambda: agent.board.of(agent.stream).rows_captured >= rows)
        cpu, seconds = _cpu() - cpu, time.perf_counter() - began
    finally:
        agent.worker.stop()
        thread.join()
    file.write_bytes(_told(agent, times).tobytes())
    return {
        "rows": agent.rows,
        "seconds": seconds,
        "cpu": cpu,
        "peak_mb": peak_rss_mb(os.getpid()),
        "batches": len(times),
        "linger_ms": agent.linger_ms,
    }


def _load_dialect(kind: str) -> None:
    """What the first use would load: starting Python is not what is measured."""
    package = import_module(DIALECTS[kind])
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)


def _wait(agent: Agent, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIVE_SECONDS
    while not until():
        agent.refuse_trouble()
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_LIVE_SECONDS:.0f} s in vain: {agent.board.of(agent.stream)}")
        time.sleep(_LOOK_SECONDS)


def _told(agent: Agent, times: list[tuple[int, int, int]]) -> array.array[int]:
    reader = agent.outbox.reader()
    record = agent.outbox.stream(agent.stream)
    pairs = array.array("q")
    for epoch, seq, now in times:
        batch = reader.next_batch(record.id, (epoch, seq - 1))
        assert batch is not None
        assert (batch.epoch, batch.seq) == (epoch, seq)
        fingerprint = batch.fields.schema_fingerprint
        schema = TableSchema.parse(reader.schema(fingerprint) or b"", fingerprint)
        for number in open_batch(batch, schema).column("id").to_pylist():
            pairs.extend((number, now))
    reader.close()
    return pairs


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--live", type=int, default=0)
    asked = parser.parse_args()
    keep_small()
    stages = Stages()
    if not asked.live:
        stages.install()
    agent = Agent(asked.folder)
    try:
        result = live(agent, asked.live, asked.folder / "sealed") if asked.live else capture(agent, stages)
    finally:
        agent.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
