"""Values: how moments, marks, names and texts are written in requests and answers, and the models made of them.

What is asked for (`Asked`) is refused where it has a key too many; what is answered (`Answer`) is read off the records of
the service layer by its attributes, so that a field that is not named in a model never gets out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_MOMENT: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_WHOLE: Final = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
MOST: Final = 1_000
"""Entries of one page at most."""
LONGEST_WHY: Final = 1_000
T = TypeVar("T")


class Asked(BaseModel):
    """A body, or a query."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(from_attributes=True, frozen=True, json_schema_serialization_defaults_required=True)


def to_moment(at_us: int) -> datetime | None:
    """None for 0, which stands for: not yet, and for what is beyond the calendar."""
    try:
        return _EPOCH + at_us * _US if at_us else None
    except OverflowError:
        return None


def to_us(moment: datetime | None) -> int:
    """Microseconds since 1970; 0 for None."""
    return (moment - _EPOCH) // _US if moment is not None else 0


def _answered(value: Any) -> Any:
    return to_moment(value) if isinstance(value, int) else value


def _asked(value: Any) -> Any:
    """A moment as RFC 3339 has it, and nothing else that a parser might take for one. Raises ValueError."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("is not a moment such as 2026-01-31T08:00:00Z")
    # a leap second is the end of the one before it
    return datetime.fromisoformat(re.sub(r"(?<=:\d\d):60", ":59", value.upper()))


def _whole(value: Any) -> Any:
    """A number of a query. Raises ValueError."""
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise ValueError("is not a whole number")
        return int(value)
    return value


def integer(value: Any) -> Any:
    """A number of a body: to JSON `5.0` is the same as `5`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _truth(value: Any) -> Any:
    """Raises ValueError."""
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("is not true or false")
        return value == "true"
    return value


def _mark(value: Any) -> Any:
    return {"epoch": value[0], "seq": value[1]} if isinstance(value, tuple) else value


_TIME_SCHEMA: Final = {"type": "string", "format": "date-time"}
Moment = Annotated[
    datetime | None,
    BeforeValidator(_answered),
    WithJsonSchema({"anyOf": [_TIME_SCHEMA, {"type": "null"}]}),
]
"""When something was, in UTC; null: not yet, or never."""
AskedMoment = Annotated[datetime, BeforeValidator(_asked), WithJsonSchema(_TIME_SCHEMA)]
Count = Annotated[int, BeforeValidator(_whole)]
"""A whole number in a query."""
Number = Annotated[int, BeforeValidator(integer)]
"""A whole number in a body."""
Flag = Annotated[bool, BeforeValidator(_truth)]
"""`true` or `false` in a query."""
_PLAIN: Final = r"^[^\u0000]*$"
Name = Annotated[str, StringConstraints(max_length=300, pattern=_PLAIN)]
"""A name, or a part of one, that is looked for."""
Needed = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=_PLAIN)]
StreamText = Annotated[
    str, StringConstraints(min_length=5, max_length=2_000, pattern=r"^[^/\u0000]+/[^/\u0000]+/[^\u0000]+$")
]
"""`department/source/schema.table`"""
Departments = Annotated[list[Needed], Field(min_length=1, max_length=1_000)]
Reason = Annotated[str, StringConstraints(max_length=LONGEST_WHY, pattern=_PLAIN)]
Why = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_WHY, pattern=r"^[^\u0000]*[^\s\u0000][^\u0000]*$")
]
"""Why something is done; it is kept beside the deed."""
Stream = Annotated[str, BeforeValidator(str)]
"""A stream's name, in an answer."""


class Mark(Answer):
    """A batch's place in its stream; 0/0: before the first."""

    epoch: int
    seq: int


At = Annotated[Mark, BeforeValidator(_mark)]


class Paged(Asked):
    """How much of a listing. Whoever wants the next page asks with `cursor` = `next` of the page before."""

    limit: Count = Field(100, ge=1, le=MOST, description="How many entries at most.")
    cursor: Name = Field("", description="`next` of the page before; without it the first page.")


class Numbered(Paged):
    """`Paged`, of a listing by number."""

    cursor: str = Field(
        "", pattern=r"^([0-9]{1,18})?$", description="`next` of the page before; without it the first page."
    )


class Page(Answer, Generic[T]):
    """A part of a listing."""

    items: list[T]
    next: str | None = Field(description="The cursor of the next page; null: this is the last.")


class Reasoned(Asked):
    """A deed that takes a reason."""

    why: Why = Field(description="Why; it is kept in the audit.")


class Excused(Asked):
    """A deed that may have a reason."""

    why: Reason = Field("", description="Why; it is kept in the audit.")
