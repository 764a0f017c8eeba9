"""One snapshot into sealed batches, as a process of its own: the agent's capture, transform, seal and outbox, no uplink.

`python -m bench.snapshot_process CONFIG_FOLDER` prints one JSON object: rows, seconds, cpu (seconds, of the capture alone), bytes
(headers and payloads), batches, peak_mb, stages.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from bench.measure import peak_rss_mb
from bench.stages import Stages
from forebay_agent.clock import SystemClock
from forebay_agent.config.load import load
from forebay_agent.memory import keep_small
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import checkpoint_of
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board


def main(folder: Path) -> None:
    keep_small()
    stages = Stages()
    stages.install()
    config = load(folder)
    config.state.mkdir()
    outbox = Outbox.open(config.state, config.outbox)
    clock = SystemClock()
    board = Board()
    worker = SourceWorker(config.sources[0], "bench", outbox, board, Pulses(clock.monotonic), clock)
    lane = next(iter(worker.lanes.values()))
    worker.heed_restraints()  # as the worker's own loop does: what is not heeded ends each step after a piece
    cpu = _cpu()
    began = time.perf_counter()
    while True:
        worker.poll(lane)
        trouble = board.of(lane.name).capturing
        if trouble is not None:
            raise SystemExit(f"{trouble.code}: {trouble.reason}")
        checkpoint = checkpoint_of(outbox.stream(lane.name))
        if checkpoint.phase not in ("start", "snapshot"):
            break
    seconds = time.perf_counter() - began
    cpu = _cpu() - cpu
    reader = outbox.reader()
    batches, size = reader.totals()
    reader.close()
    # what wait4 tells of a child includes what its parent held when it was forked
    peak = peak_rss_mb(os.getpid())
    print(
        json.dumps(
            {
                "rows": checkpoint.rows,
                "seconds": seconds,
                "bytes": size,
                "batches": batches,
                "peak_mb": peak,
                "cpu": cpu,
                "stages": stages.told(cpu),
            }
        )
    )
    worker.stop()
    worker.run()
    outbox.close()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]))
