"""What the centre may set, and which way: tune what harms nobody, tighten what restrains, widen nothing.

Every rule compares with what the department's own files say, never with an earlier offer. Whatever has no rule here is
the department's alone: what is captured, from where, as whom, where it is sent, where it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

from forebay_agent.config import model, values, windows
from forebay_agent.config.model import AgentConfig, CollectorConfig, SourceConfig, TableConfig
from forebay_agent.config.section import nearest
from forebay_wire import limits

Section = TypeVar("Section", AgentConfig, CollectorConfig, SourceConfig, TableConfig)

_DEPARTMENTS: Final = "It is the department's: only its own files set it."


class Unfit(Exception):
    """One setting is refused."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Rule(Protocol):
    """says: what may be set, for people."""

    @property
    def says(self) -> str: ...

    def __call__(self, own: Any, value: object) -> Any:
        """The value in force, from the department's own and the one that is offered. Raises Unfit."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Either way, within bounds."""

    read: Callable[[object], Any]
    least: Any
    most: Any
    shown: Callable[[Any], str] = str

    @property
    def says(self) -> str:
        return f"from {self.shown(self.least)} to {self.shown(self.most)}"

    def __call__(self, own: Any, value: object) -> Any:
        read = self.read(value)
        if not self.least <= read <= self.most:
            raise Unfit("is out of range", f"Offer a value {self.says}.")
        return read


@dataclass(frozen=True, slots=True)
class Lowered:
    """A ceiling; 0 is none. At least `least`: less would be a standstill, which is what pauses are for."""

    read: Callable[[object], int]
    least: int
    shown: Callable[[int], str] = str

    @property
    def says(self) -> str:
        return f"at most the department's own, at least {self.shown(self.least)}"

    def __call__(self, own: int, value: object) -> int:
        read = self.read(value)
        if own and (read > own or not read):
            raise Unfit(
                f"would raise the department's own ceiling ({self.shown(own)})", f"Offer at most {self.shown(own)}."
            )
        if read < min(self.least, own or self.least) and (read or own):
            raise Unfit("is too low", f"Offer at least {self.shown(self.least)}, or pause what should stand still.")
        return read


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Daily windows in which something may be done: only time that the department's own windows hold."""

    says: str = "windows that lie in the department's own"

    def __call__(self, own: Any, value: object) -> Any:
        read = _windows(value)
        if not windows.inside(read, own):
            raise Unfit(
                f"holds time that is not in the department's own windows ({', '.join(map(str, own))})",
                "Offer windows that lie in those.",
            )
        return read


@dataclass(frozen=True, slots=True)
class Joined:
    """Daily windows in which something is not done: beside the department's own."""

    says: str = "windows beside the department's own"

    def __call__(self, own: Any, value: object) -> Any:
        read = _windows(value)
        return (*own, *(each for each in read if each not in own))


@dataclass(frozen=True, slots=True)
class Paused:
    """Only the way to a standstill."""

    says: str = "`true`; what the department paused stays paused"

    def __call__(self, own: bool, value: object) -> bool:
        if not isinstance(value, bool):
            raise Unfit("is not `true` or `false`", "Offer `true`, or leave it out.")
        if own and not value:
            raise Unfit("is paused by the department itself", "Only the department's own file resumes it.")
        return value


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of some names."""

    names: tuple[str, ...]

    @property
    def says(self) -> str:
        return f"one of {', '.join(self.names)}"

    def __call__(self, own: str, value: object) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise Unfit("is not known", f"Use {self.says}.")
        return value


def _duration(value: object) -> timedelta:
    return _parsed(values.duration, value)


def _bandwidth(value: object) -> int:
    return _parsed(values.bandwidth, value)


T = TypeVar("T")


def _parsed(parse: Callable[[str], T], value: object) -> T:
    try:
        return parse(value if isinstance(value, str) else "")
    except ValueError as error:
        raise Unfit("cannot be read", f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("is not a whole number", "Offer a number without quotes.")
    return value


def _windows(value: object) -> tuple[model.DailyWindow, ...]:
    if not isinstance(value, list) or len(value) > windows.MOST:
        raise Unfit("is not a list of daily windows", f'Offer at most {windows.MOST}: `["22:00-06:00"]`.')
    return tuple(dict.fromkeys(_parsed(windows.window, each) for each in value))


def _seconds(value: timedelta) -> str:
    return (
        f'"{value / timedelta(milliseconds=1):g}ms"'
        if value < timedelta(seconds=1)
        else f'"{value.total_seconds():g}s"'
    )


def _rate(value: int) -> str:
    return f'"{value}B/s"'


def _time(least: timedelta, most: timedelta) -> Tuned:
    return Tuned(_duration, least, most, _seconds)


OF_COLLECTOR: Final[Mapping[str, Rule]] = {
    "heartbeat": _time(timedelta(seconds=1), timedelta(minutes=10)),
    "bandwidth": Lowered(_bandwidth, 1_024, _rate),
    "windows": Narrowed(),
}
OF_AGENT: Final[Mapping[str, tuple[str, Rule]]] = {
    "log.level": ("log_level", Chosen(model.LOG_LEVELS)),
    "agent.maintenance": ("maintenance", Joined()),
}
"""path -> field of AgentConfig and its rule"""

OF_SOURCE: Final[Mapping[str, Rule]] = {
    "poll_interval": _time(timedelta(milliseconds=50), timedelta(days=1)),
    "linger": _time(timedelta(0), timedelta(seconds=10)),
    "batch_rows": Tuned(_number, 100, limits.MAX_ROWS),
    "chunk_time": _time(timedelta(milliseconds=50), timedelta(minutes=1)),
    "max_rows_per_second": Lowered(_number, 100),
    "snapshot_windows": Narrowed(),
    "paused": Paused(),
}
OF_TABLE: Final[Mapping[str, Rule]] = {
    "priority": Tuned(_number, 1, 9),
    "paused": Paused(),
}
MASKS: Final = "masks"
EXCLUDE: Final = "exclude"


def of_agent(files: AgentConfig, config: AgentConfig, path: str, value: object) -> AgentConfig:
    """`config` with one setting of agent.toml. Raises Unfit."""
    section, _, name = path.partition(".")
    if section == "collector" and name in OF_COLLECTOR:
        return replace(config, collector=_ruled(OF_COLLECTOR, files.collector, config.collector, name, value))
    if path in OF_AGENT:
        name, rule = OF_AGENT[path]
        return replace(config, **{name: rule(getattr(files, name), value)})
    _not_the_centres(path, [*OF_AGENT, *(f"collector.{each}" for each in OF_COLLECTOR)])
    raise AssertionError("always refused")


def of_source(own: SourceConfig, source: SourceConfig, name: str, value: object) -> SourceConfig:
    """`source` with one setting of its file. Raises Unfit."""
    return _ruled(OF_SOURCE, own, source, name, value)


def of_table(own: TableConfig, table: TableConfig, path: tuple[str, ...], value: object) -> TableConfig:
    """`table` with one setting of its entry. Raises Unfit."""
    if path[0] == MASKS and len(path) == 2:
        return _masked(own, table, path[1], value)
    if path == (EXCLUDE,):
        return _without(own, table, value)
    return _ruled(OF_TABLE, own, table, ".".join(path), value)


def _ruled(rules: Mapping[str, Rule], own: Section, section: Section, name: str, value: object) -> Section:
    if name not in rules:
        _not_the_centres(name, [*rules, *((MASKS, EXCLUDE) if rules is OF_TABLE else ())])
    return replace(section, **{name: rules[name](getattr(own, name), value)})


def _not_the_centres(name: str, known: list[str]) -> None:
    hint = nearest(name, known)
    raise Unfit(f"is not the centre's to set{f'; {hint}' if hint else ''}", _DEPARTMENTS)


def _masked(own: TableConfig, table: TableConfig, column: str, value: object) -> TableConfig:
    kind = Chosen(model.MASK_KINDS)("", value)
    before = next((mask.kind for mask in own.masks if mask.column == column), "")
    if before == kind:
        return table
    if before:
        raise Unfit(f"the department masks {column} as {before} already", "A mask of the department's is not replaced.")
    _refuse_leading(own, column, "masked", "its values stand in checkpoints and positions")
    if not _is_read(table, column):
        raise Unfit(f"{column} is not read at all", "Leave the mask out.")
    return replace(table, masks=(*table.masks, model.MaskConfig(column, kind)))


def _without(own: TableConfig, table: TableConfig, value: object) -> TableConfig:
    """Columns that are left out beside the department's own. What is left out needs no mask."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise Unfit("is not a list of columns", 'Offer a list of names: `["photo"]`.')
    for column in value:
        _refuse_leading(own, column, "left out", "without it the table cannot be captured")
    gone = frozenset(value)
    kept = tuple(name for name in own.columns if name not in gone)
    if own.columns and not kept:
        raise Unfit("leaves no column", "Pause the table instead.")
    return replace(
        table,
        columns=kept,
        exclude=() if own.columns else tuple(dict.fromkeys((*own.exclude, *value))),
        masks=tuple(mask for mask in table.masks if mask.column not in gone),
        as_text=own.as_text - gone,
    )


def _refuse_leading(own: TableConfig, column: str, done: str, why: str) -> None:
    if column in own.key or column == own.cursor:
        raise Unfit(
            f"{column} is {'in the key' if column in own.key else 'the cursor'}: {why}", f"It cannot be {done}."
        )


def _is_read(table: TableConfig, column: str) -> bool:
    return column in table.columns if table.columns else column not in table.exclude
