"""One table of a TOML file, read key by key: what is wrong is collected, what is not asked for is refused.

A reader takes every key that it knows; `finish` then refuses the rest with the nearest known key. A key with a wrong
value gives its default and a problem, so that one run reports everything. No message repeats the value of a secret. What was
asked for stays in `known` and `inner`: docs/reference/settings.md is written from it.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from forebay_agent.config import values, windows
from forebay_agent.config.model import DailyWindow
from forebay_agent.config.secret import Secret, credential_file
from forebay_agent.errors import ConfigurationError

T = TypeVar("T")

_KEEP_IT_ELSEWHERE = (
    'Keep it in a file that only the agent can read: `{key} = {{ file = "/etc/forebay-agent/secrets/NAME" }}`, '
    'in a variable: `{key} = {{ env = "NAME" }}`, or in the folder that the unit hands over: `{key} = {{ credential = "NAME" }}`.'
)


class Problems:
    """What is wrong with one configuration as a whole."""

    def __init__(self) -> None:
        self._found: list[ConfigurationError] = []

    def add(self, file: Path, key: str, message: str, remedy: str = "") -> None:
        self._found.append(ConfigurationError(message, file=str(file), key=key, remedy=remedy))

    def raise_if_any(self) -> None:
        """Raises the first ConfigurationError with the others as its further `problems`."""
        if self._found:
            first, *rest = self._found
            raise ConfigurationError(
                first.args[0], file=first.file, key=first.key, remedy=first.remedy, also=rest
            ) from None


def nearest(name: str, known: Sequence[str]) -> str:
    """`did you mean …?` for a name that is nearly one of the known ones, else empty."""
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f"did you mean `{folded[close[0]]}`?" if close else ""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a reader knows: what is written there, what holds without it (None: it has to be there), and its bounds, in
    words."""

    form: str
    default: object
    bounds: str = ""


@dataclass
class Section:
    """The keys of one TOML table; `place` is its dotted path, empty for the file's top. means: what each key means.

    known, inner: the keys and the tables within it that were asked for.
    """

    content: dict[str, object]
    file: Path
    place: str
    problems: Problems
    means: Mapping[str, str] = field(default_factory=dict)
    known: dict[str, Key] = field(default_factory=dict)
    inner: dict[str, Section] = field(default_factory=dict)

    def where(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def refuse(self, key: str, message: str, remedy: str = "") -> None:
        self.problems.add(self.file, self.where(key) if key else self.place, message, remedy)

    def has(self, key: str) -> bool:
        return key in self.content

    def text(self, key: str, default: str = "", *, choices: Sequence[str] = (), required: bool = False) -> str:
        value = self._take(key, "text", None if required else default, _listed(choices))
        if value is None:
            return default
        if not isinstance(value, str):
            self._refuse_type(key, value, "a text in quotes")
        elif required and not value.strip():
            self.refuse(key, "is empty", f"Write a value for `{key}`.")
        elif choices and value not in choices:
            hint = nearest(value, choices)
            self.refuse(key, f"{value!r} is not known{'; ' + hint if hint else ''}", f"Use one of: {_listed(choices)}.")
        elif any(ord(character) < 32 for character in value):
            self.refuse(key, "holds a control character", "Write the value on one line without escapes.")
        else:
            return value
        return default

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self._take(key, "whole number", default, f"{low} to {high}")
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self._refuse_type(key, value, "a whole number without quotes")
        elif not low <= value <= high:
            self.refuse(key, f"{value} is out of range", f"Use a number from {low} to {high}.")
        else:
            return value
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key, "true or false", default)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._refuse_type(key, value, "`true` or `false` without quotes")
            return default
        return value

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        value = self._take(key, "list of texts", None if required else ())
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self._refuse_type(key, value, 'a list of texts: `["one", "two"]`')
            return ()
        if required and not value:
            self.refuse(key, "is empty", f"Name at least one in `{key}`.")
        for name in sorted({name for name in value if value.count(name) > 1}):
            self.refuse(key, f"names {name!r} twice", "Name it once.")
        return tuple(dict.fromkeys(value))

    def pairs(self, key: str) -> dict[str, str]:
        """A table of texts: `{ COLUMN = "kind" }`."""
        value = self._take(key, "table of texts", {})
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            self._refuse_type(key, value, 'a table of texts: `{ NAME = "value" }`')
            return {}
        return dict(value)

    def duration(self, key: str, default: timedelta, *, least: timedelta = timedelta(0)) -> timedelta:
        bounds = f"at least {least / timedelta(milliseconds=1):g}ms" if least else ""
        value = self._quantity(key, "duration", values.duration, default, bounds)
        if value < least:
            self.refuse(key, "is too short", f'Use at least "{least / timedelta(milliseconds=1):g}ms".')
            return default
        return value

    def size(self, key: str, default: int, *, least: int = 0) -> int:
        value = self._quantity(key, "size", values.size, default, f"at least {least // 1024}KiB" if least else "")
        if value < least:
            self.refuse(key, "is too small", f'Use at least "{least // 1024}KiB".')
            return default
        return value

    def bandwidth(self, key: str, default: int) -> int:
        return self._quantity(key, "bandwidth", values.bandwidth, default)

    def windows(self, key: str) -> tuple[DailyWindow, ...]:
        """Daily windows: `["22:00-06:00"]`."""
        read = []
        for text in self.texts(key):
            try:
                read.append(windows.window(text))
            except ValueError as error:
                self.refuse(key, f"{text!r} cannot be read", f"{str(error)[0].upper()}{str(error)[1:]}.")
        self.known[key] = Key("daily times", (), f"at most {windows.MOST}")
        if len(read) > windows.MOST:
            self.refuse(key, f"names {len(read)} windows", f"Name at most {windows.MOST}.")
        return tuple(read)

    def path(self, key: str, *, required: bool = False) -> Path | None:
        """A path, relative to the file's folder when it is not absolute."""
        text = self.text(key, required=required)
        self.known[key] = Key("path", None if required else "")
        return self.file.parent / text if text else None

    def secret(self, key: str) -> Secret | None:
        """`{ file = … }`, `{ env = … }` or `{ credential = … }`; it must exist, and a file must not be readable by every
        user."""
        value = self._take(key, "`{ file = … }`, `{ env = … }` or `{ credential = … }`", "")
        if value is None:
            return None
        remedy = _KEEP_IT_ELSEWHERE.format(key=key)
        if not isinstance(value, dict):
            self.refuse(key, "a secret never stands in the file itself", remedy)
            return None
        inner = Section(value, self.file, self.where(key), self.problems)
        file, env, credential = inner.path("file"), inner.text("env"), inner.text("credential")
        inner.finish()
        if [file is not None, bool(env), bool(credential)].count(True) != 1:
            if not set(value) - {"file", "env", "credential"}:
                self.refuse(key, "names none or several of `file`, `env` and `credential`", remedy)
            return None
        if credential:
            if "/" in credential:
                inner.refuse("credential", "is a path, not a name", "Name a file of the folder `secrets`.")
                return None
            # sources.d/NAME.toml: the configuration's folder is one up
            file = credential_file(credential, self.file.parent.parent)
        if file is None:
            if not os.environ.get(env):
                inner.refuse("env", f"environment variable {env} is empty or not set", f"Set {env} for the agent.")
                return None
            return Secret(env=env)
        return Secret(file=file) if _secret_file_is_safe(inner, file) else None

    def section(self, key: str, means: Mapping[str, str]) -> Section:
        """`[key]`; empty when it is not there. means: what each of its keys means."""
        value = self._take(key, "section", {})
        if value is not None and not isinstance(value, dict):
            self._refuse_type(key, value, f"a table: write `[{key}]` on a line of its own")
            value = None
        content = value if isinstance(value, dict) else {}
        return self.inner.setdefault(key, Section(content, self.file, self.where(key), self.problems, means))

    def sections(self, key: str, means: Mapping[str, str]) -> list[Section]:
        """Every `[[key]]`, placed as `key[1]`, `key[2]`, … means: what each of their keys means."""
        value = self._take(key, "sections", ())
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self._refuse_type(key, value, f"written as `[[{key}]]`, once for each")
            return []
        made = {
            f"{key}[{number}]": Section(each, self.file, f"{self.where(key)}[{number}]", self.problems, means)
            for number, each in enumerate(value, 1)
        }
        self.inner.update(made)
        return list(made.values())

    def finish(self) -> None:
        """Refuses every key that nobody asked for."""
        for key in self.content:
            if key not in self.known:
                hint = nearest(key, list(self.known))
                self.refuse(
                    key,
                    f"unknown key{'; ' + hint if hint else ''}",
                    "Correct the spelling, or remove the key." if hint else f"Known here: {_listed(list(self.known))}.",
                )

    def _take(self, key: str, form: str, default: object, bounds: str = "") -> object | None:
        """The value, None when there is none. default: None when there has to be one."""
        self.known[key] = Key(form, default, bounds)
        if default is None and key not in self.content:
            under, meaning = f" under [{self.place}]" if self.place else "", self.means.get(key, "")
            self.refuse(key, "is missing", f"Add `{key} = …`{under}{': ' + meaning if meaning else ''}.")
        return self.content.get(key)

    def _quantity(self, key: str, form: str, parse: Callable[[str], T], default: T, bounds: str = "") -> T:
        value = self._take(key, form, default, bounds)
        if value is None:
            return default
        try:
            return parse(value if isinstance(value, str) else "")
        except ValueError as error:
            written = f" {value!r}" if isinstance(value, str | int | float) else ""
            self.refuse(key, f"{written.strip()} cannot be read".strip(), f"{str(error)[0].upper()}{str(error)[1:]}.")
            return default

    def _refuse_type(self, key: str, value: object, expected: str) -> None:
        self.refuse(key, f"is {_toml_type(value)}", f"Expected {expected}.")


def _secret_file_is_safe(section: Section, file: Path) -> bool:
    try:
        mode = file.stat().st_mode
        with file.open("rb") as stream:
            first = stream.read(1)
    except OSError as error:
        section.refuse(
            "file",
            f"secret file {file} cannot be read: {error.strerror}",
            "Create it, mode 0600, with only the secret in it.",
        )
        return False
    if mode & stat.S_IROTH:
        section.refuse(
            "file",
            f"secret file {file} is readable by every user (mode {stat.S_IMODE(mode):04o})",
            f"Run: chmod 0600 {file}",
        )
        return False
    if not first.strip():
        section.refuse("file", f"secret file {file} is empty", "Write the secret into it, nothing else.")
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _toml_type(value: object) -> str:
    names: dict[type, str] = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")
