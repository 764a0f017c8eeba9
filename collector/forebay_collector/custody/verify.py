"""Over all streams: the audit's chain, every batch of every stream, the platform's marks. Reads only."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from forebay_collector.archive import Archive
from forebay_collector.custody import marks
from forebay_collector.custody.finding import Finding, Kind, Place
from forebay_collector.custody.walk import StreamWalk, Told
from forebay_collector.errors import ConfigurationError, LedgerDamaged
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.platform.contract import Platform
from forebay_wire.stream import StreamName

_EVERY: Final = 500
"""Batches between two notes of how far it is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """streams: how far each walk came. findings: the first of them, `found` is how many there are."""

    streams: Mapping[StreamName, Told]
    findings: list[Finding]
    found: int
    audit_head: str

    @property
    def ok(self) -> bool:
        return not self.found


class Progress:
    """How far a verification came, kept in a file, so that one that was interrupted goes on there."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises ConfigurationError when the file is another."""
        self._path = path
        self._at: dict[str, list[int]] = {}
        if path is not None and path.exists():
            try:
                kept: dict[str, list[int]] = json.loads(path.read_text("utf-8"))["streams"]
                self._at = {name: [int(at[0]), int(at[1])] for name, at in kept.items()}
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
                raise ConfigurationError("is not what `custody verify --resume` keeps", file=str(path)) from error

    def of(self, stream: StreamName) -> tuple[int, int]:
        epoch, seq = self._at.get(str(stream), (0, 0))
        return epoch, seq

    def note(self, stream: StreamName, at: tuple[int, int]) -> None:
        if self._path is None:
            return
        self._at[str(stream)] = [*at]
        beside = self._path.with_name(f".{self._path.name}.part")
        beside.write_text(json.dumps({"streams": self._at}, ensure_ascii=False), "utf-8")
        beside.replace(self._path)


@dataclass(slots=True)
class _Found:
    most: int
    tell: Callable[[Finding], None]
    findings: list[Finding] = field(default_factory=list)
    count: int = 0

    def take(self, findings: Collection[Finding]) -> None:
        for one in findings:
            self.count += 1
            self.tell(one)
            if len(self.findings) < self.most:
                self.findings.append(one)


def verify(
    ledger: Ledger,
    archive: Archive,
    platform: Platform,
    streams: Collection[StreamRecord],
    *,
    since: int = 0,
    progress: Progress | None = None,
    most: int = 1_000,
    say: Callable[[str], None] = lambda _: None,
    tell: Callable[[Finding], None] = lambda _: None,
) -> Verdict:
    """since: only batches received then or later, microseconds. most: so many findings are kept; all are told and counted.

    Raises LedgerUnavailable, LedgerDamaged, ArchiveUnavailable, PlatformError.
    """
    progress = progress or Progress()
    found = _Found(most, tell)
    say("the audit")
    audit = ledger.audit.verify()
    if not audit.ok:
        found.take([Finding(Kind.ALTERED, Place.AUDIT, audit.reason)])
    told: dict[StreamName, Told] = {}
    for number, stream in enumerate(streams, start=1):
        walk = StreamWalk(ledger, archive, stream, since=since, after=progress.of(stream.name))
        for findings in walk.steps():
            found.take(findings)
            if walk.told.batches and walk.told.batches % _EVERY == 0:
                progress.note(stream.name, walk.told.at)
                say(f"{stream.name}: {walk.told.batches} batches ({number} of {len(streams)} streams)")
        found.take([*marks.of_platform(ledger, platform, stream.name)])
        progress.note(stream.name, walk.told.at)
        told[stream.name] = walk.told
        say(f"{stream.name}: {walk.told.batches} batches, all ({number} of {len(streams)} streams)")
    if not found.count:
        say("the ledger's file")
        try:
            ledger.database.check()
        except LedgerDamaged as error:
            found.take([Finding(Kind.ALTERED, Place.LEDGER, str(error))])
    return Verdict(told, found.findings, found.count, str(audit.head))


def to_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "audit_head": verdict.audit_head,
        "streams": [
            {
                "stream": str(name),
                "epoch": told.at[0],
                "seq": told.at[1],
                "batches": told.batches,
                "objects_read": told.read,
                "objects_expired": told.expired,
                "bytes_read": told.bytes,
            }
            for name, told in verdict.streams.items()
        ],
        "found": verdict.found,
        "findings": [one.to_json() for one in verdict.findings],
    }
