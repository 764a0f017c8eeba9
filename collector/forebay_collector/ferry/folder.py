"""The folder `<data>/ferry`: files that were imported and are not read to their end yet, each with what became of it.

checking/NAME.ferry is being checked; it is on the collector's own disk then, and cannot become another
given/              see `given.py`
NAME.ferry          waits, or is being read
NAME.ferry.told     the outcome, JSON; replaced each time the file is tried, and the last word once the file is gone
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from forebay_wire.ferry import SUFFIX

GIVEN: Final = "given"
_CHECKING: Final = "checking"
_TOLD: Final = ".told"
_UNFINISHED: Final = ".part"


class State(StrEnum):
    """waits: something before it, or an approval, is lacking; it is tried again. refused: nothing more comes of it."""

    TAKEN = "taken"
    WAITS = "waits"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """batches: in the file, as far as it was read. durable: of them; held before ones included. why: of each stream that
    stands still, in words; of the whole file under an empty name."""

    state: State
    batches: int = 0
    durable: int = 0
    why: dict[str, str] = field(default_factory=dict)


def bring(folder: Path, path: Path) -> Path:
    """Copies a file in to be checked, durably: `put` or unlink it. -> where it is. Raises OSError."""
    checking = folder / _CHECKING
    checking.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("rb") as source, (checking / path.name).open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    return checking / path.name


def put(folder: Path, checked: Path) -> Path:
    """A file that was brought and checked is to be read. -> where it is. Raises OSError."""
    target = folder / checked.name
    told(target).unlink(missing_ok=True)
    checked.replace(target)
    return target


def waiting(folder: Path) -> list[Path]:
    """By name: an agent's files in the order in which it made them. Raises OSError."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []


def tell(path: Path, outcome: Outcome) -> None:
    """Keeps what became of a file; one of which nothing more comes is removed. Raises OSError."""
    unfinished = path.with_name(path.name + _TOLD + _UNFINISHED)
    unfinished.write_text(json.dumps(asdict(outcome), ensure_ascii=False), "utf-8")
    unfinished.replace(told(path))
    if outcome.state is not State.WAITS:
        path.unlink()


def outcome_of(path: Path) -> Outcome | None:
    """What is told of a file; None: nothing yet. Raises OSError."""
    try:
        content = json.loads(told(path).read_text("utf-8"))
    except FileNotFoundError:
        return None
    return Outcome(State(content["state"]), content["batches"], content["durable"], content["why"])


def told(path: Path) -> Path:
    return path.with_name(path.name + _TOLD)
