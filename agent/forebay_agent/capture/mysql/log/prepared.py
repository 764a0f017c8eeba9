"""XA transactions that were prepared, and not yet committed or rolled back: their events, kept until then.

A prepared transaction stands in the log where it was prepared; whether and when it takes effect is told by another group of
events. What is kept goes to an encrypted spill once it is large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from forebay_agent.capture.mysql.log.checkpoint import Place
from forebay_agent.capture.mysql.log.statements import xid_of

MOST_PREPARED: Final = 4096
_PARTS_BYTES: Final = 128  # of an XA transaction's name, as MySQL and MariaDB allow


class Spilled(Protocol):
    """`forebay_agent.spill.Spill`."""

    def append(self, record: bytes) -> None: ...

    def records(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Kept:
    begins: Place
    spill: Spilled


class Prepared:
    """make: makes a spill."""

    def __init__(self, make: Callable[[], Spilled]) -> None:
        self._make = make
        self._current: _Kept | None = None
        self._known: dict[str, _Kept] = {}
        self._committing: _Kept | None = None

    @property
    def keeping(self) -> bool:
        """Within a group of events that are to be kept."""
        return self._current is not None

    @property
    def oldest(self) -> Place | None:
        """Where the first one begins that is still prepared, or whose rows are still being handed on."""
        kept = [*self._known.values(), *([] if self._committing is None else [self._committing])]
        return min((each.begins for each in kept), key=lambda place: place.order, default=None)

    def begin(self, begins: Place) -> None:
        """begins: the place after the transaction before."""
        self.abandon()
        if len(self._known) >= MOST_PREPARED:
            raise ValueError(f"more than {MOST_PREPARED} XA transactions are prepared and not ended")
        self._current = _Kept(begins, self._make())

    def keep(self, event_type: int, body: bytes) -> None:
        assert self._current is not None
        self._current.spill.append(bytes([event_type]) + body)

    def prepared(self, xid: str) -> None:
        """The group is at its end."""
        current, self._current = self._current, None
        assert current is not None
        self.forget(xid)
        self._known[xid] = current

    def at_once(self) -> Kept:
        """The group is at its end and commits there (ONE PHASE)."""
        current, self._current = self._current, None
        assert current is not None
        return Kept(current.spill)

    def committed(self, xid: str) -> Kept | None:
        """What takes effect now, until `finished`; None when nothing was seen of it."""
        self._committing = self._known.pop(xid, None)
        return None if self._committing is None else Kept(self._committing.spill)

    def finished(self) -> None:
        """All of what was committed last was handed on: no checkpoint has to name where it began."""
        self._committing = None

    def forget(self, xid: str) -> None:
        """It was rolled back, or its rows were handed on before."""
        kept = self._known.pop(xid, None)
        if kept is not None:
            kept.spill.close()

    def abandon(self) -> None:
        """The group at hand never ended."""
        current, self._current = self._current, None
        if current is not None:
            current.spill.close()

    def close(self) -> None:
        self.abandon()
        for xid in list(self._known):
            self.forget(xid)


class Kept:
    """The events of one transaction, as (type, body), once."""

    def __init__(self, spill: Spilled) -> None:
        self._spill = spill

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        try:
            for record in self._spill.records():
                yield record[0], record[1:]
        finally:
            self._spill.close()


def prepare_event(body: bytes) -> tuple[bool, str]:
    """An XA_PREPARE_LOG_EVENT: 1 one phase | 4 format | 4 length | 4 length | both parts of the name. Raises ValueError."""
    if len(body) < 13:
        raise ValueError("the end of a prepared transaction is cut short")
    form, gtrid, bqual = (int.from_bytes(body[at : at + 4], "little", signed=True) for at in (1, 5, 9))
    if min(gtrid, bqual) < 0 or gtrid + bqual > min(_PARTS_BYTES, len(body) - 13):
        raise ValueError("the name of a prepared transaction is malformed")
    parts = body[13 : 13 + gtrid], body[13 + gtrid : 13 + gtrid + bqual]
    return bool(body[0]), xid_of(parts[0].hex(), parts[1].hex(), form)
