"""Verdict: whether the audit's chain holds, and if not, at which entry it was altered first and how that shows.

Entries are read by id. An entry that is not what its digest says was altered. An entry that is, but does not name its
predecessor's digest, stands beside one that was altered together with its digest: which of the two, the entry behind
them tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from forebay_collector.ledger import chain
from forebay_collector.ledger.reading import any_text
from forebay_wire.digest import GENESIS

EXPIRED: Final = "audit expired"
"""The action of the entry that retention adds when it removes others; its subject is the anchor, `NUMBER:DIGEST`."""


@dataclass(frozen=True, slots=True)
class AuditVerdict:
    """entries: how many were read. first_bad_id: the first altered, missing or foreign entry, 0 when ok. reason: how that
    shows; when ok, what could not be compared."""

    ok: bool
    entries: int
    first_bad_id: int
    reason: str
    head: chain.Head


class _Broken(Exception):
    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def judge(connection: Connection, noted: tuple[int, bytes] | None = None) -> AuditVerdict:
    """noted: the number and digest of a head that was noted elsewhere. The connection's queries see one state."""
    walk = _Walk(chain.head(connection), noted)
    with any_text(connection):
        try:
            walk.all(chain.entries(connection))
        except _Broken as broken:
            return AuditVerdict(False, walk.read, broken.number, str(broken), walk.head)
    return AuditVerdict(True, walk.read, 0, walk.left_open, walk.head)


class _Walk:
    """number, digest: of the entry before the one that is looked at."""

    def __init__(self, head: chain.Head, noted: tuple[int, bytes] | None) -> None:
        self.head = head
        self.noted = noted
        self.read = 0
        self.left_open = ""
        self._number = head.expired
        self._digest = head.anchor
        self._anchor_said = chain.anchor_text(0, GENESIS)

    def all(self, entries: Iterator[Mapping[str, Any]]) -> None:
        self._compare_noted()
        for entry, following in itertools.pairwise(itertools.chain(entries, [None])):
            assert entry is not None
            self.read += 1
            self._in_place(entry["id"])
            if not _fits(entry, entry["id"]):
                self._misfit(entry)
            if entry["id"] > self.head.entries:
                end = f"the chain's end at {self.head.entries}"
                raise _Broken(entry["id"], f"entry {entry['id']} stands behind {end}: it was inserted")
            if entry["previous"] != self._digest:
                self._forked(entry, following)
            if entry["action"] == EXPIRED:
                self._anchor_said = entry["subject"]
            self._number, self._digest = entry["id"], entry["digest"]
            self._compare_noted()
        self._end()

    def _in_place(self, number: int) -> None:
        expected = self._number + 1
        if number < expected:
            raise _Broken(number, f"entry {number} stands where none belongs: it was inserted, or its id was altered")
        if number > expected <= self.head.entries:
            last = min(number - 1, self.head.entries)
            raise _Broken(expected, f"{_entries(expected, last)} missing: removed, or with another id")

    def _misfit(self, entry: Mapping[str, Any]) -> None:
        number = entry["id"]
        if _fits(entry, number - 1):
            raise _Broken(number - 1, f"entry {number - 1} was inserted: what was there stands behind it as {number}")
        if _fits(entry, number + 1):
            raise _Broken(number, f"entry {number} is missing: the one behind it stands in its place")
        raise _Broken(number, f"entry {number} is not what its digest says: it was altered")

    def _forked(self, entry: Mapping[str, Any], following: Mapping[str, Any] | None) -> None:
        number = entry["id"]
        trusted = self.head.digest if following is None else following["previous"]
        if trusted != entry["digest"]:
            raise _Broken(number, f"entry {number} was altered, and its digest computed anew")
        if self._number == self.head.expired:
            raise _Broken(number, f"entry {number} does not continue the anchor: the anchor was altered")
        raise _Broken(self._number, f"entry {self._number} was altered, and its digest computed anew")

    def _end(self) -> None:
        if self._number < self.head.entries:
            raise _Broken(self._number + 1, f"{_entries(self._number + 1, self.head.entries)} missing at the end")
        if self._digest != self.head.digest:
            raise _Broken(self._number, f"entry {self._number}, the last, is not the one that the head names")
        if self._anchor_said != chain.anchor_text(self.head.expired, self.head.anchor):
            raise _Broken(
                self.head.expired, f"{_entries(1, self.head.expired)} missing, and no entry says that these expired"
            )
        if self.noted and self.noted[0] > self.head.entries:
            raise _Broken(
                self.head.entries + 1, f"{_entries(self.head.entries + 1, self.noted[0])} missing: more were noted"
            )

    def _compare_noted(self) -> None:
        if self.noted is None:
            return
        number, digest = self.noted
        if number == self._number and digest != self._digest:
            raise _Broken(number, f"entry {number} is not the one that was noted: it or one before it was altered")
        if number < self.head.expired:
            self.left_open = f"entry {number}, which was noted, has expired: it was not compared"


def _fits(entry: Mapping[str, Any], number: int) -> bool:
    """Whether the entry's digest is right for this id."""
    return bool(chain.digest_of({**entry, "id": number}, entry["previous"]) == entry["digest"])


def _entries(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"
