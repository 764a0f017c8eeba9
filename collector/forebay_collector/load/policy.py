"""What a failed load means: its kind, how often it is tried again, how long between, and what a person does then.

A kind that is not tried again, or whose attempts are used up, puts the batch into quarantine and holds its stream.
"""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass
from enum import Enum
from typing import Final

from forebay_collector.errors import ArchiveDamaged, ArchiveMissing, CollectorError, LedgerRowDamaged
from forebay_collector.platform.contract import PlatformError
from forebay_wire.errors import WireError

_UNKNOWN_CODE: Final = "FB-LOAD"
_MACHINE_CODE: Final = "FB-SYSTEM"


class Kind(Enum):
    """Why a load failed."""

    REFUSED = "the platform refuses the batch"
    FAILED = "the platform cannot take it now"
    DAMAGED = "the archive does not hold what was archived"
    ALTERED = "the ledger does not say what was recorded"
    UNOPENABLE = "the batch does not open"
    MACHINE = "disk, memory or archive of the collector fail"
    UNKNOWN = "a kind of trouble that has no name yet"


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """attempts: how often a batch is tried before quarantine. The pauses grow from `first_s` to `most_s` seconds."""

    attempts: int = 1
    first_s: float = 0.0
    most_s: float = 0.0

    def pause(self, attempts: int) -> float:
        """Seconds before the next attempt after so many: doubling, less up to a half, so that streams spread out."""
        return min(self.most_s, self.first_s * 2.0 ** min(attempts - 1, 32)) * random.uniform(0.5, 1.0)  # noqa: S311


POLICIES: Final[dict[Kind, LoadPolicy]] = {
    Kind.REFUSED: LoadPolicy(),
    Kind.FAILED: LoadPolicy(attempts=20, first_s=0.5, most_s=300),
    Kind.DAMAGED: LoadPolicy(),
    Kind.ALTERED: LoadPolicy(),
    Kind.UNOPENABLE: LoadPolicy(),
    Kind.MACHINE: LoadPolicy(attempts=20, first_s=0.5, most_s=300),
    Kind.UNKNOWN: LoadPolicy(attempts=3, first_s=1, most_s=10),
}

_REPLAY: Final = "then `forebay-collector replay STREAM --reason …`"
_REMEDIES: Final = {
    Kind.REFUSED: f"Remove what the platform refuses, {_REPLAY}; or give the batch up with `replay STREAM --discard`.",
    Kind.DAMAGED: f"Restore the file named from a copy of the archive, {_REPLAY}.",
    Kind.ALTERED: "Run `forebay-collector custody verify STREAM`; restore the ledger from its last backup (guide `recover`): "
    f"what is newer is rebuilt from the archive; {_REPLAY}.",
    Kind.UNOPENABLE: "Keep the archive's file and report it; give the batch up with `replay STREAM --discard`.",
    Kind.MACHINE: f"Free disk or memory on the collector's machine, {_REPLAY}.",
    Kind.UNKNOWN: f"Report it with the collector's log, {_REPLAY}.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed load, classified. `reason` holds no row's value."""

    kind: Kind
    code: str
    reason: str


def classify(error: Exception) -> Failure:
    if isinstance(error, PlatformError):
        return Failure(Kind.REFUSED if error.permanent else Kind.FAILED, error.code, str(error))
    if isinstance(error, ArchiveDamaged | ArchiveMissing):
        return Failure(Kind.DAMAGED, error.code, str(error))
    if isinstance(error, LedgerRowDamaged):
        return Failure(Kind.ALTERED, error.code, str(error))
    if isinstance(error, WireError):
        return Failure(Kind.UNOPENABLE, error.code, str(error))
    if isinstance(error, CollectorError):
        return Failure(Kind.MACHINE, error.code, str(error))
    if isinstance(error, OSError):
        return Failure(
            Kind.MACHINE, _MACHINE_CODE, f"{error.filename or 'system'}: {error.strerror or type(error).__name__}"
        )
    if isinstance(error, MemoryError):
        return Failure(Kind.MACHINE, _MACHINE_CODE, "out of memory")
    # the text of an unknown error may hold a row's value: say where it came from instead
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" in {last[0].filename.rpartition('/')[2]}, {last[0].name}" if last else ""
    return Failure(Kind.UNKNOWN, _UNKNOWN_CODE, f"{type(error).__name__}{place}")


def remedy_of_hold(code: str) -> str:
    """What a person does about a stream that is held with this code."""
    if code in (ArchiveDamaged.code, ArchiveMissing.code):
        return _REMEDIES[Kind.DAMAGED]
    if code == LedgerRowDamaged.code:
        return _REMEDIES[Kind.ALTERED]
    if code.startswith(WireError.code):
        return _REMEDIES[Kind.UNOPENABLE]
    if code == _UNKNOWN_CODE:
        return _REMEDIES[Kind.UNKNOWN]
    if code == _MACHINE_CODE or code in {kind.code for kind in CollectorError.__subclasses__()}:
        return _REMEDIES[Kind.MACHINE]
    return _REMEDIES[Kind.REFUSED]
