"""Offer: what the centre would have otherwise than the department's files say, and the configuration with it.

    {"collector.bandwidth": "1MiB/s",
     "source.civil.poll_interval": "5s",
     "source.civil.table.\"public.people\".masks.ID_NO": "citizen_id"}

Setting path -> value, both as they stand in the files; a name that holds a dot, a space, `=`, `#` or a quote stands in
double quotes. What may be set, and which way, is `tightening.py`'s. An offer is laid over the files as they are now, as a
whole or not at all, and never over an earlier offer: the newest good one is all that is in force.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn, TypeVar

from forebay_agent import kept
from forebay_agent.config import tightening
from forebay_agent.config.model import AgentConfig, SourceConfig, TableConfig
from forebay_agent.config.section import nearest
from forebay_agent.config.tightening import Unfit
from forebay_agent.errors import OfferRefused

MOST_BYTES: Final = 1 << 20
MOST_SETTINGS: Final = 10_000
MOST_LINES: Final = 20
MOST_LINE: Final = 500
_PART: Final = r"""(?:"(?:[^"\\\x00-\x1f]|\\["\\])+"|[^\s."=#\\\x00-\x1f]+)"""
_PATH: Final = re.compile(rf"{_PART}(?:\.{_PART})*")
_PARTS: Final = re.compile(_PART)
_HOW: Final = 'Write paths as in the files: `collector.bandwidth`, `source.civil.table."public.people".priority`.'

Named = TypeVar("Named", SourceConfig, TableConfig)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is wrong with one setting. `key`: its path as it was offered; empty: the offer as a whole."""

    key: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        """On one line."""
        text = f"{f'{self.key}: ' if self.key else ''}{self.reason}. {self.remedy}"
        return "".join(each if each.isprintable() else "?" for each in text)


def refused(refusals: Sequence[Refusal]) -> OfferRefused:
    """One line for each, of so many as can be read."""
    lines = [str(refusal)[:MOST_LINE] for refusal in refusals]
    more = len(lines) - MOST_LINES
    return OfferRefused("\n".join([*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]))


@dataclass(frozen=True, slots=True)
class Offer:
    """revision: grows with each offer to this agent. settings: path -> value as JSON has it."""

    revision: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, revision: int, text: str) -> Offer:
        """From JSON text; empty text: no settings. Raises OfferRefused."""
        if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
            _refuse("the offer is too long", f"An offer has at most {MOST_BYTES >> 10} KiB.")
        try:
            settings = json.loads(text or "{}", object_pairs_hook=_once_each, parse_constant=_no_constant)
        except RecursionError:
            _refuse("is nested too deep", _HOW)
        except ValueError as error:
            _refuse(f"is not JSON that an offer can be: {error}", "Offer a JSON object: setting path -> value.")
        if not isinstance(settings, dict):
            _refuse("is not a JSON object", "Offer a JSON object: setting path -> value.")
        if len(settings) > MOST_SETTINGS:
            _refuse(f"holds {len(settings)} settings", f"An offer has at most {MOST_SETTINGS}.")
        if revision < 1:
            _refuse("has no revision", "Revisions count from 1 on.")
        return cls(revision, settings)

    @property
    def digest(self) -> str:
        """The same for offers of the same settings."""
        return kept.digest(dict(self.settings))


def laid_over(files: AgentConfig, offer: Offer) -> AgentConfig:
    """The files' configuration with the offer. Raises OfferRefused, with a refusal for each setting that does not fit."""
    refusals: list[Refusal] = []
    config, taken = files, dict[tuple[str, ...], str]()
    for path, parts, value in _ordered(offer.settings, refusals):
        try:
            if parts in taken:
                raise Unfit(f"is set twice, as {taken[parts]} too", "Set it once.")
            taken[parts] = path
            config = _set(files, config, parts, value)
        except Unfit as unfit:
            refusals.append(Refusal(path, unfit.reason, unfit.remedy))
    if refusals:
        raise refused(refusals)
    return config


def effective_hash(files: AgentConfig, offer: Offer | None) -> str:
    """SM3 that changes when the files do, or what is laid over them."""
    if offer is None or not offer.settings:
        return files.hash
    return kept.digest([files.hash, dict(offer.settings)])


def parts_of(path: str) -> tuple[str, ...]:
    """`source.civil.table."public.people".paused` -> its parts. Raises Unfit."""
    if not _PATH.fullmatch(path):
        raise Unfit("is not a setting's path", _HOW)
    return tuple(
        re.sub(r'\\(["\\])', r"\1", part[1:-1]) if part.startswith('"') else part for part in _PARTS.findall(path)
    )


def _ordered(settings: Mapping[str, Any], refusals: list[Refusal]) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """In an order that does not depend on how the offer was written."""
    read = []
    for path, value in settings.items():
        try:
            read.append((parts_of(path), path, value))
        except Unfit as unfit:
            refusals.append(Refusal(path, unfit.reason, unfit.remedy))
    for parts, path, value in sorted(read, key=lambda each: each[:2]):
        yield path, parts, value


def _set(files: AgentConfig, config: AgentConfig, parts: tuple[str, ...], value: object) -> AgentConfig:
    if parts[0] != "source":
        return tightening.of_agent(files, config, ".".join(parts), value)
    if len(parts) < 3:
        raise Unfit("is not a setting's path", _HOW)
    source = _named(config.sources, parts[1], "source")
    own = _named(files.sources, parts[1], "source")
    if parts[2] != "table":
        changed = tightening.of_source(own, source, ".".join(parts[2:]), value)
    else:
        if len(parts) < 5:
            raise Unfit("is not a setting's path", _HOW)
        table = _named(source.tables, parts[3], "table")
        now = tightening.of_table(_named(own.tables, parts[3], "table"), table, parts[4:], value)
        changed = replace(source, tables=tuple(now if each is table else each for each in source.tables))
    return replace(config, sources=tuple(changed if each is source else each for each in config.sources))


def _named(those: Sequence[Named], name: str, what: str) -> Named:
    for each in those:
        if each.name == name:
            return each
    hint = nearest(name, [each.name for each in those])
    raise Unfit(
        f"the department's files name no {what} {name!r}{f'; {hint}' if hint else ''}",
        f"Name a {what} as the files do; only the department can add one.",
    )


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands in it twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse(reason: str, remedy: str) -> NoReturn:
    raise refused([Refusal("", reason, remedy)])
