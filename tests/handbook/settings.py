"""docs/reference/settings.md: every key of every file, from the very objects that read them.

Of the agent's files it is what the loader asks for when it reads one that is nearly empty (`Section.known`); of collector.toml the
dataclasses with the parsers and bounds that its loader goes by.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from inspect import getdoc
from pathlib import Path
from typing import Any, Final, get_origin, get_type_hints

from forebay_agent.config import model
from forebay_agent.config.load import read_agent
from forebay_agent.config.section import Key, Problems, Section
from forebay_agent.config.source_file import read_source
from forebay_agent.transform import masks
from forebay_collector import settings as collector
from forebay_collector.setting_texts import OneOf, address, address_or_none, departments_group, roles_group, size

_HEAD: Final = """\
# Settings

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
_SIZE_UNITS: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_TIME_UNITS: Final = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000))
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
        return f"`{_size(key.default)}`"
    nothing = key.default in ("", (), {}) or (key.default == 0 and key.form in ("whole number", "bandwidth"))
    return "" if nothing else f"`{_plain(key.default)}`"


# --- collector.toml ---------------------------------------------------------------------------------------------------


def _of_collector() -> Iterator[str]:
    for prefix, settings in _sections("", collector.Settings):
        means = collector.meanings(settings)
        defaults = {field.name: field.default for field in fields(settings)}
        rows = [_collector_row(prefix + name, means[name], kind, defaults[name]) for name, kind in _own(settings)]
        about = (getdoc(settings) or "").partition("\n\n")[2].replace("\n", " ") if prefix else ""
        yield _table(f"[{prefix.rstrip('.')}]" if prefix else "the file's top", rows, about)


def _sections(prefix: str, settings: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    yield prefix, settings
    for name, kind in get_type_hints(settings).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _sections(f"{prefix}{name}.", kind)


def _own(settings: type[Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a section that are none themselves, with their types."""
    for name, kind in get_type_hints(settings).items():
        if not is_dataclass(kind) and kind is not Path:
            yield name, kind


def _collector_row(key: str, means: str, kind: Any, default: Any) -> Row:
    parse = collector.PARSERS.get(key)
    is_size = parse is size
    bounds = ", ".join(f"`{word}`" for word in parse.words) if isinstance(parse, OneOf) else ""
    if key in collector.LEAST:
        bounds = f"at least {_measured(collector.LEAST[key], is_size)}"
    if key in collector.MOST:
        bounds = ", ".join(part for part in (bounds, f"at most {_measured(collector.MOST[key], is_size)}") if part)
    if default is MISSING:
        shown = "must be there"
    elif default in ("", ()):
        shown = ""
    else:
        shown = f"`{_measured(default, is_size)}`"
    return key.rpartition(".")[2], means, _form(parse, kind), shown, bounds


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


def _measured(value: Any, is_size: bool) -> str:
    return _size(value) if is_size else _plain(value)


def _size(count: int) -> str:
    return next((f"{count // unit}{name}" for unit, name in _SIZE_UNITS if count and count % unit == 0), str(count))


def _plain(value: Any) -> str:
    """As it would stand in a file, without quotes."""
    if isinstance(value, timedelta):
        micros = value // timedelta(microseconds=1)
        return (
            next((f"{micros // unit}{name}" for name, unit in _TIME_UNITS if micros % unit == 0), f"{micros}us")
            if micros
            else "0s"
        )
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
