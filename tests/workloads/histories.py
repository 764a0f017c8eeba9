"""What a history must be, whatever the workload: nothing twice, and played from its beginning it leads to the mirror.

`chain` asks more of it: that every image of a row follows from the one before it by something that the workload does.
A change that was lost, doubled or out of order breaks the chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from forebay_collector.demo.processes import DemoFailed
from tests.workloads.evidence import Change, Plain, Row


def refuse_doubled(table: str, changes: Sequence[Change], key: str) -> None:
    """No change of the log stands twice. A position may be a whole transaction's, which may change a row twice."""
    told = Counter(
        (change.epoch, change.position, change.op, change.values[key], tuple(change.values.values()))
        for change in changes
        if change.op != "r"
    )
    doubled = [where[:4] for where, count in told.items() if count > 1]
    if doubled:
        raise DemoFailed(f"{table}: {len(doubled)} changes stand twice in the history, the first: {doubled[0]}")


def replayed(changes: Sequence[Change], key: str, names: Sequence[str]) -> list[Row]:
    """The rows that the history's last epoch leads to, the key first."""
    last = max((change.epoch for change in changes), default=0)
    rows: dict[Plain, dict[str, Plain]] = {}
    for change in changes:
        if change.epoch != last:
            continue
        number = change.values[key]
        if change.op == "d":
            rows.pop(number, None)
        else:
            before = rows.get(number, {})
            rows[number] = {
                name: before.get(name) if name in change.absent else value for name, value in change.values.items()
            }
    return [tuple(row.get(name) for name in names) for row in rows.values()]


def chain(table: str, changes: Sequence[Change], key: str, follows: Callable[[Change | None, Change], bool]) -> int:
    """-> how many changes were looked at. follows: may this change come after that one of the same key (None: the first)?

    A copied row (`r`) brings nothing new: it is what the log told last of the key, or the log told nothing of it yet.
    """
    before: dict[Plain, Change] = {}
    for change in changes:
        number = change.values[key]
        last = before.get(number)
        right = (last is None or _same(last, change)) if change.op == "r" else follows(last, change)
        if not right:
            told = f"{last.op} at {last.position}" if last is not None else "nothing"
            raise DemoFailed(
                f"{table}: key {number}: {change.op} at {change.position} does not follow from {told}"
                f" ({dict(last.values) if last else {}} -> {dict(change.values)})"
            )
        before[number] = change
    return len(changes)


def keyless(table: str, changes: Sequence[Change], names: Sequence[str], source: Sequence[Row], writers: int) -> None:
    """Checks the history of a table without a key that is only inserted into.

    Allowed, and nothing else: a copy that was broken off may have handed on some rows, each once; the last copy and the
    log together hold every row; in both stand only rows committed while the copy began, the first that the log told (but
    for those in flight at that moment, at most one for each writer).
    """
    rows = Counter(source)
    copies: dict[int, Counter[Row]] = {}
    followed: list[Row] = []
    for change in changes:
        row = tuple(change.values[name] for name in names)
        if change.op == "r":
            copies.setdefault(int(change.position.split(":")[1]), Counter())[row] += 1
        elif change.op == "c":
            followed.append(row)
        else:
            raise DemoFailed(f"{table}: a change {change.op} at {change.position}, where there are only inserts")
    log = Counter(followed)
    for told, what in ((log, "log"), *((copy, f"copy {number}") for number, copy in copies.items())):
        if extra := told - rows:
            raise DemoFailed(f"{table}: the {what} tells {extra.total()} rows that are not there, or too often")
    last = copies[max(copies)] if copies else Counter()
    if missing := rows - (last + log):
        raise DemoFailed(f"{table}: {missing.total()} rows are missing")
    both = [row in last for row in followed]
    border = max((place for place, is_both in enumerate(both) if is_both), default=-1) + 1
    if (strays := both[:border].count(False)) > writers:
        raise DemoFailed(
            f"{table}: {strays} rows before the last doubled one are not in the copy: it is not of one moment"
        )


def _same(one: Change, other: Change) -> bool:
    return one.op != "d" and one.values == other.values
