"""Languages: the texts of the console, one catalogue per language, all with the same keys (a test compares them).

`words/<language>.toml` holds the texts; nested tables make dotted keys. `words/troubles.<language>.toml` says, by code,
what a trouble is and, where it is not English, what to do about it; `english` holds the remedies that this one translates. A remedy that is another
one, because it is this very case's, is shown beside it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from forebay_collector.errors import CollectorError
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import PlatformError
from forebay_collector.policy import remedy_of

DEFAULT: Final = "zh-CN"
LANGUAGES: Final = ("zh-CN", "en")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A trouble as a person reads it. remedy is in the page's language, `english` what else the remedy says, if anything."""

    code: str
    what: str
    why: str
    remedy: str
    english: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one language."""

    language: str
    texts: Mapping[str, str]
    troubles: Mapping[str, Mapping[str, Any]]

    def __call__(self, key: str, **values: object) -> str:
        """The text with its values put in. Raises KeyError for a key that is not there."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, number: int, **values: object) -> str:
        """The text for so many: `key.one` or `key.other`, with {count} put in."""
        form = "one" if number == 1 else "other"
        return self(f"{key}.{form}", count=f"{number:,}", **values)

    def named(self, group: str, name: str) -> str:
        """The text for a name out of a program: `group.name`; the name itself when there is none."""
        return self.texts.get(f"{group}.{name.replace(' ', '_').replace('-', '_')}", name)

    def progress(self, text: str) -> str:
        """How far long work is, as the worker says it: `what it does`, or `what it does: a count`."""
        what, _, rest = text.partition(":")
        counted = " / ".join(part for part in rest.split() if part.isdigit())
        said = self.named("progress", what) if what else ""
        return f"{said} {counted}" if counted else said

    def trouble(self, code: str, why: str = "", remedy: str = "") -> Trouble:
        """What is said of a trouble with this code. `remedy`: the English one that came with it."""
        known = self.troubles.get(code, {})
        said = known.get("remedy", "")
        kind = _kinds().get(code)
        what = known.get("what") or (str(kind.__doc__).partition("\n")[0] if kind else "")
        if not said:
            return Trouble(code, what, why, remedy)
        return Trouble(code, what, why, said, "" if remedy in known.get("english", ()) else remedy)

    def of_error(self, error: CollectorError | PlatformError) -> Trouble:
        remedy = remedy_of(error) if isinstance(error, CollectorError) else remedy_of_hold(error.code)
        return self.trouble(error.code, str(error), remedy)


@cache
def words_of(language: str) -> Words:
    """Raises KeyError for a language that is not there."""
    if language not in LANGUAGES:
        raise KeyError(language)
    folder = files("forebay_collector.console") / "words"
    texts = _flat(tomllib.loads((folder / f"{language}.toml").read_text("utf-8")))
    troubles = folder / f"troubles.{language}.toml"
    told = tomllib.loads(troubles.read_text("utf-8")) if troubles.is_file() else {}
    return Words(language, texts, told)


def preferred(wanted: str, accepted: str) -> str:
    """The language to answer in: what the person chose, else the first that the browser accepts, else the default."""
    if wanted in LANGUAGES:
        return wanted
    for part in accepted.split(","):
        tag = part.partition(";")[0].strip().lower()
        for language in LANGUAGES:
            if tag and (language.lower() == tag or language.lower().split("-")[0] == tag.split("-")[0]):
                return language
    return DEFAULT


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@cache
def _kinds() -> dict[str, type[CollectorError]]:
    """Every kind of trouble that the collector knows, by code."""
    found: dict[str, type[CollectorError]] = {}
    waiting: list[type[CollectorError]] = [CollectorError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found.setdefault(kind.code, kind)
    return found
