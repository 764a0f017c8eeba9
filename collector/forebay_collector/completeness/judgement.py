"""What a table's figures amount to: complete, or why it cannot be said to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

STALE_ROUNDS: Final = 2
"""A comparison that is older than so many rounds of the verification in the background says nothing any more."""
_US: Final = timedelta(microseconds=1)


class Reason(StrEnum):
    """ALTERED: the record of its last batch is not what was recorded. WAITING: not all that was received is loaded. HELD: a
    person must decide. DISCARDED: a batch of the day was given up. DIFFERENT: the newest comparison found differences.
    LEFT_OVER: a repair of the day left keys different. NOT_COMPARED: source and platform were never compared, or too long
    ago. TROUBLE: its agent told of trouble with it."""

    ALTERED = "altered"
    WAITING = "waiting"
    HELD = "held"
    DISCARDED = "discarded"
    DIFFERENT = "different"
    LEFT_OVER = "left_over"
    NOT_COMPARED = "not_compared"
    TROUBLE = "trouble"


def reasons(table: Mapping[str, Any], now_us: int, cover: timedelta) -> list[Reason]:
    """Why the table cannot be said to be complete; none: it can. cover: how often each table is compared."""
    verified = table["verified"]
    too_old = verified is not None and verified["at_us"] < now_us - STALE_ROUNDS * cover // _US
    said = {
        Reason.ALTERED: not table["through"]["whole"],
        Reason.WAITING: table["waiting"]["batches"] > 0,
        Reason.HELD: bool(table["held"]),
        Reason.DISCARDED: table["received"]["discarded_batches"] > 0,
        Reason.DIFFERENT: verified is not None and not verified["equal"],
        Reason.LEFT_OVER: table["repairs"]["left_over"] > 0,
        Reason.NOT_COMPARED: verified is None or too_old,
        Reason.TROUBLE: bool(table["agent"]["code"]),
    }
    return [reason for reason, is_so in said.items() if is_so]


def totals(judged: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Of a department's tables, each with its `reasons`."""
    return {
        "tables": len(judged),
        "complete": sum(not table["reasons"] for table in judged),
        "batches": sum(table["received"]["batches"] for table in judged),
        "rows": sum(table["received"]["rows"] for table in judged),
        "waiting_batches": sum(table["waiting"]["batches"] for table in judged),
    }
