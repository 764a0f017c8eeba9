"""What a verification can promise of a stream, by the mode of its capture."""

from __future__ import annotations

from typing import Final

_LOG: Final = (
    "Every committed change up to the comparison is in the platform, or its key is named; what the log tells later is not "
    "compared yet."
)
_TRIGGER: Final = (
    "Every change that the triggers saw is in the platform, or its key is named; changes that triggers do not see (TRUNCATE, "
    "a load with triggers off) are found as differences, and stay until they are repaired."
)
_CURSOR: Final = (
    "Rows that the cursor passed are in the platform, or their keys are named; deletes, and changes that leave the cursor "
    "column as it was, are found as differences, and stay until they are repaired."
)
_SNAPSHOT: Final = (
    "The platform holds the table as it was when it was copied; what changed since is found as a difference until the next "
    "copy or a repair."
)
_PROMISES: Final = {"log": _LOG, "trigger": _TRIGGER, "cursor": _CURSOR, "diff": _CURSOR, "snapshot": _SNAPSHOT}


def promise_of(mode: str) -> str:
    """One English sentence; empty for a mode that is not known."""
    return _PROMISES.get(mode, "")
