"""Outcomes: of deeds that are asked of many streams at once, what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from pydantic import Field

from forebay_collector.api.problems import Problem, problem_of
from forebay_collector.api.values import Answer
from forebay_collector.errors import CollectorError
from forebay_wire.stream import StreamName

T = TypeVar("T", bound="Outcome")


class Outcome(Answer):
    """What became of one stream."""

    stream: str
    problem: Problem | None = Field(description="Why it was not done; null: it was.")


class Outcomes(Answer, Generic[T]):
    """In the order that was asked in. Each stream is decided by itself."""

    done: int
    refused: int
    items: list[T]


class Told(Protocol):
    """What the service layer says of one stream."""

    @property
    def stream(self) -> StreamName: ...
    @property
    def error(self) -> CollectorError | None: ...


def told(found: Sequence[Told], name: str) -> dict[str, object]:
    """name: of what was done, beside the stream. Raises the error itself where one stream was asked for and not done."""
    if len(found) == 1 and found[0].error is not None:
        raise found[0].error
    items = [
        {
            "stream": str(one.stream),
            "problem": problem_of(one.error) if one.error is not None else None,
            name: getattr(one, name),
        }
        for one in found
    ]
    refused = sum(one.error is not None for one in found)
    return {"done": len(items) - refused, "refused": refused, "items": items}
