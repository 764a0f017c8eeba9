"""Paging: the part of a listing that was asked for, and where the next one begins.

A cursor says after which entry the next page begins, so that what comes or goes meanwhile neither doubles nor hides
another entry. For whoever asks it is a text without a meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from forebay_collector.api.values import Paged

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """One page of a listing. next: its successor's cursor, None: there is none."""

    items: list[T]
    next: str | None


def by_text(found: Iterable[T], asked: Paged, text: Callable[[T], str]) -> Part[T]:
    """A page of what was read as a whole, in order of a text that each entry has to itself."""
    return cut(sorted((entry for entry in found if text(entry) > asked.cursor), key=text), asked, text)


def by_number(found: Iterable[T], asked: Paged, number: Callable[[T], int]) -> Part[T]:
    """As `by_text`, the highest number first."""
    before = before_number(asked)
    kept = (entry for entry in found if before is None or number(entry) < before)
    return cut(sorted(kept, key=number, reverse=True), asked, lambda entry: str(number(entry)))


def before_number(asked: Paged) -> int | None:
    """Only what has a smaller number stands on the page; None: it is the first."""
    return int(asked.cursor) if asked.cursor else None


def cut(found: Sequence[T], asked: Paged, cursor: Callable[[T], str]) -> Part[T]:
    """A page of what was read as from the cursor on, of which there is one entry more when another page follows."""
    kept = list(found[: asked.limit])
    return Part(kept, cursor(kept[-1]) if len(found) > len(kept) else None)
