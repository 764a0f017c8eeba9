"""The `collector.toml` that a new collector gets: every key with what it means, and its default commented out.

It is made of the settings themselves, so that it cannot say something else than they do; docs/reference/settings.md walks the same
way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from inspect import getdoc
from pathlib import Path
from textwrap import wrap
from typing import Any, Final, get_type_hints

from forebay_collector.setting_texts import duration_text, size, size_text
from forebay_collector.settings import PARSERS, Settings, meanings

_WIDTH: Final = 110
_HEAD: Final = "# Forebay's collector. What is commented out shows the default. Unknown keys are refused; a change takes a restart.\n"


def template(given: Mapping[str, object]) -> str:
    """given: by dotted path, what is not commented out."""
    lines = [_HEAD.rstrip()]
    for prefix, section in sections():
        means = meanings(section)
        if prefix:
            lines += ["", f"[{prefix.rstrip('.')}]", *(f"# {line}" for line in wrap(about(section), _WIDTH))]
        for name, default in keys(section):
            key = prefix + name
            value = given.get(key, default)
            lines += [*([] if prefix else [""]), f"# {means[name]}"]
            lines.append(f"{'' if key in given else '#'}{name} = {written(key, value)}")
    return "\n".join(lines) + "\n"


def sections(prefix: str = "", section: type[Any] = Settings) -> Iterator[tuple[str, type[Any]]]:
    """Every section of the file with the dotted path before its keys, the file's top first."""
    yield prefix, section
    for name, kind in get_type_hints(section).items():
        if isinstance(kind, type) and is_dataclass(kind):
            yield from sections(f"{prefix}{name}.", kind)


def keys(section: type[Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a section that are no sections themselves, with their defaults (MISSING: there has to be one)."""
    kinds = get_type_hints(section)
    for field in fields(section):
        if not is_dataclass(kinds[field.name]) and kinds[field.name] is not Path:
            yield field.name, field.default


def about(section: type[Any]) -> str:
    """What a section is for, as far as its keys do not say so."""
    said = re.sub(r"^`[^`]*`[.:]?\s*", "", getdoc(section) or "")
    return " ".join((said[:1].upper() + said[1:]).split())


def written(key: str, value: Any) -> str:
    """A value as it stands in the file."""
    if isinstance(value, timedelta):
        return f'"{duration_text(value)}"'
    if PARSERS.get(key) is size:
        return f'"{size_text(value)}"'
    return json.dumps(value, ensure_ascii=False)
