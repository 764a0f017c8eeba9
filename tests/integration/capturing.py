"""Drives a capture by steps over a real database, as the pipeline does, and remembers what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from forebay_agent.capture.captured import Capture, Captured, Checkpoint
from forebay_agent.capture.plan import describe, open_capture
from forebay_agent.config.model import TableConfig
from tests.contract.harness import SourceHarness


class Capturing:
    """One table under capture. `rows`: key -> row (a dictionary), as a mirror would hold them. The checkpoint goes through its
    text form at every piece, as through the outbox."""

    def __init__(self, harness: SourceHarness, table: TableConfig, *, batch_rows: int = 50_000) -> None:
        self._harness = harness
        self._table = table
        self._batch_rows = batch_rows
        self.checkpoint = Checkpoint()
        self.rows: dict[object, dict[str, Any]] = {}
        self.pieces: list[Captured] = []
        self.ops: list[str] = []
        self.capture: Capture
        self.restart()

    def restart(self) -> None:
        """A new session and a new capture, as after the agent's death; the checkpoint is what is left."""
        self.source = self._harness.open()
        self.shape = describe(self.source, self._table)
        self.capture = open_capture(self.source, self.shape, self._table, batch_rows=self._batch_rows)

    def poll(self, *, pieces: int | None = None) -> list[dict[str, Any]]:
        """One poll, left after `pieces` pieces; -> the rows that it brought."""
        new: list[dict[str, Any]] = []
        polling = self.capture.poll(self.checkpoint)
        for count, piece in enumerate(polling, start=1):
            self.take(piece, new)
            if count == pieces:
                polling.close()  # type: ignore[attr-defined]
                break
        return new

    def take(self, piece: Captured, new: list[dict[str, Any]]) -> None:
        self.pieces.append(piece)
        for row in piece.rows.to_pylist():
            new.append(row)
            self.ops.append(row["_op"])
            key = tuple(row[name] for name in self.shape.key)
            if row["_op"] == "d":
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.checkpoint = Checkpoint.from_json(piece.checkpoint.to_json())

    def poll_until(self, enough: Callable[[], bool], seconds: float = 15.0) -> None:
        until = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < until, f"never so: {getattr(self.capture, 'waiting', '')}"
            self.poll()
            time.sleep(0.02)
