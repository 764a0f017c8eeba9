"""What custody verify finds: a batch, or a mark, that is not what it was."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from forebay_wire.stream import StreamName


class Kind(StrEnum):
    """MISSING: it is not there. LOST: it is not in the archive any more, before its time; the platform holds it, the ledger
    its place in the chain. ALTERED: it is not what was recorded. REORDERED: it stands in another's place. DOUBLED: it is
    there twice. FOREIGN: nobody recorded it."""

    MISSING = "missing"
    LOST = "lost"
    ALTERED = "altered"
    REORDERED = "reordered"
    DOUBLED = "doubled"
    FOREIGN = "foreign"


class Place(StrEnum):
    """Where it was found."""

    ARCHIVE = "archive"
    LEDGER = "ledger"
    PLATFORM = "platform"
    AUDIT = "audit"


_REMEDIES = {
    (
        Place.ARCHIVE,
        Kind.LOST,
    ): "Put the file back from a copy of the archive if there is one. The platform holds the batch.",
    (Place.ARCHIVE, Kind.FOREIGN): "Keep the file as evidence, and take it out of the archive.",
    Place.ARCHIVE: "Put the file back from a copy of the archive; if it waits to be loaded, `replay` the stream then.",
    Place.LEDGER: "Keep the ledger's file as evidence; restore its last backup: what is newer is rebuilt (guide `recover`).",
    Place.PLATFORM: "Restore the platform's folder, or let the loader bring it up from the archive: restart the collector.",
    Place.AUDIT: "Keep the ledger's file as evidence, and compare it with its last copy.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """epoch, seq: of the batch, or the first of several; 0 where it is about no batch. through: the last seq of several."""

    kind: Kind
    place: Place
    reason: str
    stream: StreamName | None = None
    epoch: int = 0
    seq: int = 0
    through: int = 0

    @property
    def remedy(self) -> str:
        return _REMEDIES.get((self.place, self.kind)) or _REMEDIES[self.place]

    @property
    def batch(self) -> str:
        """As people write it, `STREAM EPOCH/SEQ`."""
        if self.stream is None:
            return ""
        if not self.epoch:
            return str(self.stream)
        through = f"-{self.through}" if self.through > self.seq else ""
        return f"{self.stream} {self.epoch}/{self.seq}{through}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "stream": str(self.stream or ""), "remedy": self.remedy}
