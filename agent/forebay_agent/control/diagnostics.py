"""CollectDiagnostics: one archive (tar, zstandard) of what helps to find a fault, without secrets and without rows.

    versions.json        agent, libraries, Python, SQLite, operating system
    status.json          as `status.json`, less positions: those hold key and cursor values
    configuration.json   as in force; of secrets only where they are kept
    offer.json           the centre's offer in force, what became of the newest, and the pauses
    outbox.json          per stream: epoch, seqs, batches, bytes; no checkpoint, for the same reason as positions
    health.json          the appliance and the process
    journal.txt          the newest lines, from `info` on
    threads.txt          where each thread is: functions and line numbers, no values

Reasons that may quote a value (a database's own words, a key that names a row) are withheld; their codes stay.
"""

from __future__ import annotations

import io
import json
import platform
import sqlite3
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final, Protocol

import zstandard

from forebay_agent import errors, journal
from forebay_agent.config.kept_offer import KeptOffer
from forebay_agent.config.model import AgentConfig
from forebay_agent.config.shown import shown
from forebay_agent.control.reading import Emit
from forebay_agent.outbox import Outbox, OutboxReader
from forebay_agent.pauses import Pauses
from forebay_agent.report import Report, plain
from forebay_wire.v1 import control_pb2

PART_BYTES: Final = 1 << 20
WITHHELD: Final = "withheld: it may quote a value"
QUOTING: Final = frozenset(
    kind.code
    for kind in (
        errors.AgentError,
        errors.SourceError,
        errors.StatementTimeout,
        errors.ValueUnrepresentable,
        errors.TriggerMissing,
        errors.BatchRefused,
    )
)
"""codes of errors whose reasons may hold what a database or a row said"""

_TOLD: Final = ("reason", "remedy", "effect")
_LIBRARIES: Final = [
    "forebay-agent",
    "forebay-wire",
    "grpcio",
    "protobuf",
    "pyarrow",
    "zstandard",
    "psycopg",
    "pymysql",
    "cryptography",
    "psutil",
    "watchdog",
]


class Agent(Protocol):
    @property
    def config(self) -> AgentConfig: ...

    @property
    def offers(self) -> KeptOffer: ...

    @property
    def pauses(self) -> Pauses: ...

    @property
    def report(self) -> Report: ...


class Diagnostics:
    def __init__(self, agent: Agent, outbox: Outbox) -> None:
        self._agent = agent
        self._outbox = outbox

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        files = dict(self._files())
        archive = archived(files)
        for start in range(0, len(archive), PART_BYTES):
            emit(control_pb2.CommandResult(data=archive[start : start + PART_BYTES]))
        return control_pb2.CommandResult(
            effect=f"one archive of {len(archive):,} bytes (tar, zstandard), without secrets and rows: {', '.join(files)}"
        )

    def _files(self) -> Iterator[tuple[str, str]]:
        frame = self._agent.report.frame()
        offers = self._agent.offers
        yield "versions.json", _json(versions())
        yield "status.json", _json(without_values(self._agent.report.status()))
        yield "configuration.json", _json(shown(self._agent.config))
        yield (
            "offer.json",
            _json(
                {
                    "in_force": asdict(offers.in_force) if offers.in_force else None,
                    "newest": asdict(offers.newest),
                    "pauses": [str(pause) for pause in self._agent.pauses.all()],
                }
            ),
        )
        yield "outbox.json", _json(self._waiting())
        yield "health.json", _json(plain(frame.health))
        yield "journal.txt", "".join(_lines())
        yield "threads.txt", "".join(_threads())

    def _waiting(self) -> dict[str, Any]:
        with closing(self._outbox.reader()) as reader:
            return {**asdict(self._outbox.state()), "streams": streams_waiting(reader)}


def streams_waiting(reader: OutboxReader) -> list[dict[str, Any]]:
    """Per stream: epoch, seqs, batches, bytes."""
    return [
        {
            "stream": str(record.name),
            "epoch": record.epoch,
            "next_seq": record.next_seq,
            "held": record.hold.code if record.hold else "",
            **reader.waiting_of(record.id),
        }
        for record in reader.streams()
    ]


def archived(files: dict[str, str]) -> bytes:
    """The files as one tar, compressed with zstandard."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in files.items():
            content = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"forebay-agent/{name}")
            entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(packed.getvalue())


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version, "system": platform.platform()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def without_values(status: dict[str, Any]) -> dict[str, Any]:
    """The status less positions and the reasons that may quote a value."""
    streams = []
    for stream in status["streams"]:
        kept = {name: value for name, value in stream.items() if name != "position"}
        if kept["code"] in QUOTING:
            kept |= {"reason": WITHHELD, "remedy": WITHHELD}
        streams.append(kept)
    uplink = status["uplink"]
    if uplink["code"] in QUOTING:
        uplink = {**uplink, "reason": WITHHELD, "remedy": WITHHELD}
    return {**status, "uplink": uplink, "streams": streams}


def _lines() -> Iterator[str]:
    for said in journal.recent():
        fields = dict(said.fields)
        if fields.get("code", errors.ConfigurationError.code) in QUOTING:
            fields = {name: WITHHELD if name in _TOLD else value for name, value in fields.items()}
        at = datetime.fromtimestamp(said.at, UTC).isoformat(timespec="milliseconds")
        told = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
        yield f"{at} {said.level} {said.event} {told}\n"


def _threads() -> Iterator[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for number, frame in sys._current_frames().items():
        yield f"{names.get(number, number)}\n"
        for place in traceback.extract_stack(frame):
            yield f"  {place.filename}:{place.lineno} {place.name}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
