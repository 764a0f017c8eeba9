"""docs/reference/settings.md: every key of every file, from the very objects that read them.

Of the agent's files it is what the loader asks for when it reads one that is nearly empty (`Section.known`); of collector.toml the
dataclasses with the parsers and bounds that its loader goes by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_origin, get_type_hints

from forebay_agent.config import model
from forebay_agent.config.load import read_agent
from forebay_agent.config.section import Key, Problems, Section
from forebay_agent.config.source_file import read_source
from forebay_agent.transform import masks
from forebay_collector import settings as collector
from forebay_collector.setting_template import about, keys, sections, written
from forebay_collector.setting_texts import (
    OneOf,
    address,
    address_or_none,
    departments_group,
    duration_text,
    roles_group,
    size,
    size_text,
)

_HEAD: Final = """\
# Settings

[中文](zh-CN/settings.md)

Every key of every file: what it means, what is written there, what holds without it, and its bounds. This page is written from
what reads the files (`make reference`), and a test compares them. An unknown key, and a value of another form or out of its
bounds, is refused with file, key, reason and remedy.

Durations are texts such as `"500ms"`, `"15s"`, `"2m"`, `"1h"`, `"7d"`; sizes `"64KiB"`, `"512MiB"`, `"10GiB"`; a bandwidth `"2MiB/s"`;
daily times `["22:00-06:00"]`, in the machine's own time.

What a masked column becomes:

{masks}
"""
_AGENT: Final = """
## agent.toml

On the appliance, `/etc/forebay-agent/agent.toml`. A change takes force without a restart when all files are valid as a whole; otherwise
the one before stays in force and the refusal is reported.
"""
_SOURCE: Final = """
## sources.d

On the appliance, one file for each database: `/etc/forebay-agent/sources.d/NAME.toml`. What no file names never leaves.
"""
_COLLECTOR: Final = """
## collector.toml

At the centre, `/var/lib/forebay-collector/collector.toml`, made by `forebay-collector init`. A change takes a restart.
"""
Row = tuple[str, str, str, str, str]
"""key, what it means, form, default, bounds"""


def text() -> str:
    table = "\n".join(line for line in (masks.__doc__ or "").splitlines() if line.startswith("|"))
    return "".join(
        (_HEAD.format(masks=table), _AGENT, *_of_agent(), _SOURCE, *_of_source(), _COLLECTOR, *_of_collector())
    )


# --- the agent's files ------------------------------------------------------------------------------------------------


def _of_agent() -> Iterator[str]:
    top = Section({"agent": {"state": "/"}}, Path("/etc/forebay-agent/agent.toml"), "", Problems())
    read_agent(top)
    for name, section in top.inner.items():
        yield _table(f"[{name}]", [_row(key, section) for key in section.known])


def _of_source() -> Iterator[str]:
    file = Path("/etc/forebay-agent/sources.d/NAME.toml")
    content: dict[str, object] = {"kind": "sqlite", "path": "/", "table": [{"name": "t"}]}
    top = Section(content, file, "", Problems(), model.meanings(model.SourceConfig))
    read_source(top)
    yield _table("the file's top", [_row(key, top) for key in top.known if key not in ("table", "canary")])
    yield _table("[canary]", [_row(key, top.inner["canary"]) for key in top.inner["canary"].known])
    yield _table("[[table]]", [_row(key, top.inner["table[1]"]) for key in top.inner["table[1]"].known])


def _row(name: str, section: Section) -> Row:
    """Raises KeyError for a key of which the model does not say what it means."""
    key = section.known[name]
    return name, section.means[name], key.form, _default_of(key), _bounds_of(name, key)


def _bounds_of(name: str, key: Key) -> str:
    return ", ".join(f"`{kind}`" for kind in model.MASK_KINDS) if name == "masks" else key.bounds


def _default_of(key: Key) -> str:
    if key.default is None:
        return "must be there"
    if key.form == "size" and isinstance(key.default, int):
        return f"`{size_text(key.default)}`"
    nothing = key.default in ("", (), {}) or (key.default == 0 and key.form in ("whole number", "bandwidth"))
    return "" if nothing else f"`{_plain(key.default)}`"


# --- collector.toml ---------------------------------------------------------------------------------------------------


def _of_collector() -> Iterator[str]:
    for prefix, section in sections():
        means, kinds = collector.meanings(section), get_type_hints(section)
        rows = [_collector_row(prefix + name, means[name], kinds[name], default) for name, default in keys(section)]
        title = f"[{prefix.rstrip('.')}]" if prefix else "the file's top"
        yield _table(title, rows, about(section) if prefix else "")


def _collector_row(key: str, means: str, kind: Any, default: Any) -> Row:
    parse = collector.PARSERS.get(key)
    bounds = [", ".join(f"`{word}`" for word in parse.words)] if isinstance(parse, OneOf) else []
    bounds += [f"at least {_bare(key, collector.LEAST[key])}"] if key in collector.LEAST else []
    bounds += [f"at most {_bare(key, collector.MOST[key])}"] if key in collector.MOST else []
    shown = "must be there" if default is MISSING else "" if default in ("", ()) else f"`{written(key, default)}`"
    return key.rpartition(".")[2], means, _form(parse, kind), shown, ", ".join(bounds)


def _bare(key: str, bound: Any) -> str:
    return written(key, bound).strip('"')


def _form(parse: Any, kind: Any) -> str:
    if parse in (roles_group, departments_group):
        return 'list of `"GROUP=…"`'
    if get_origin(kind) is tuple:
        return "list of texts"
    if parse is size:
        return "size"
    if parse in (address, address_or_none):
        return "`host:port`"
    return {timedelta: "duration", bool: "true or false", int: "whole number"}.get(kind, "text")


# --- both -------------------------------------------------------------------------------------------------------------


def _table(title: str, rows: list[Row], about: str = "") -> str:
    lines = [f"\n### {title if title[0] != '[' else f'`{title}`'}", *(["", about] if about else [])]
    lines += ["", "| key | what | form | without it | bounds |", "|---|---|---|---|---|"]
    lines += [f"| `{row[0]}` | {' | '.join(part.replace('|', '&#124;') for part in row[1:])} |" for row in rows]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """As it would stand in a file, without quotes."""
    return duration_text(value) if isinstance(value, timedelta) else json.dumps(value, ensure_ascii=False).strip('"')
