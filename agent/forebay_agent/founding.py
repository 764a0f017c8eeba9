"""What `setup` writes: `agent.toml`, one file of `sources.d/` and its password, valid as a whole before any of it is in place.

Files belong to whoever owns the folder's group: root writes them, the agent may read them, nobody else may.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay_agent.config.load import AGENT_FILE, SOURCES_FOLDER, load
from forebay_agent.config.model import AgentConfig, SourceConfig, TableConfig
from forebay_agent.config.secret import FOLDER as SECRETS_FOLDER
from forebay_agent.errors import ConfigurationError, StateFolderUnusable


@dataclass(frozen=True, slots=True)
class Founded:
    """What is to be written. password: of the source's user, empty when there is none. line: whether one leads to the
    centre."""

    state: Path
    addresses: tuple[str, ...]
    source: SourceConfig
    password: str
    line: bool = True


def agent_toml(state: Path, addresses: Sequence[str], line: bool) -> str:
    return (
        "# Forebay's agent: reference/settings.md says what else can stand here. Unknown keys are refused.\n"
        f"[agent]\nstate = {_text(str(state))}\n\n"
        f"[collector]\naddresses = {json.dumps(list(addresses), ensure_ascii=False)}\n"
        + ("" if line else "# all is carried on a disk; where a line comes, remove this:\nline = false\n")
    )


def source_toml(source: SourceConfig, *, with_password: bool) -> str:
    """The source's file; only what differs from the defaults."""
    lines = [f"kind = {_text(source.kind)}"]
    if source.path is not None:
        lines.append(f"path = {_text(str(source.path))}")
    elif source.socket:
        lines.append(f"socket = {_text(source.socket)}")
    else:
        lines.append(f"host = {_text(source.host)}")
        if source.port:
            lines.append(f"port = {source.port}")
    named = {"database": source.database, "user": source.user, "charset": source.charset}
    lines += [f"{key} = {_text(value)}" for key, value in named.items() if value]
    if with_password:
        lines.append(f"password = {{ credential = {_text(source.name)} }}")
    if source.tls != SourceConfig.__dataclass_fields__["tls"].default:
        lines.append(f"tls = {_text(source.tls)}")
    if source.tls_ca is not None:
        lines.append(f"tls_ca = {_text(str(source.tls_ca))}")
    for table in source.tables:
        lines += ["", "[[table]]", *_table(table)]
    return "\n".join(lines) + "\n"


def write(folder: Path, founded: Founded) -> AgentConfig:
    """Writes what is missing in the configuration's folder; an `agent.toml` that is there stays as it is.

    Raises:
        ConfigurationError: a source of that name is there already, or what would be written is refused as a whole.
        StateFolderUnusable: a file cannot be written.
    """
    source_file = folder / SOURCES_FOLDER / f"{founded.source.name}.toml"
    if source_file.exists():
        raise ConfigurationError(
            "is there already", file=str(source_file), remedy="Choose another --source, or remove that file first."
        )
    try:
        _make(folder)
        # tried in a copy: nothing that is refused ever stands where the daemon looks
        with tempfile.TemporaryDirectory(prefix=".setup-", dir=folder) as place:
            trial = Path(place)
            for part in (AGENT_FILE, SOURCES_FOLDER, SECRETS_FOLDER):
                if (folder / part).is_dir():
                    shutil.copytree(folder / part, trial / part)
                elif (folder / part).exists():
                    shutil.copy2(folder / part, trial / part)
            _lay(trial, founded)
            load(trial)
        _lay(folder, founded)
    except OSError as error:
        raise StateFolderUnusable(f"{error.filename or folder}: {error.strerror}") from None
    return load(folder)


def _make(folder: Path) -> None:
    for place in (folder, folder / SOURCES_FOLDER, folder / SECRETS_FOLDER):
        place.mkdir(parents=True, exist_ok=True, mode=0o750)


def _lay(folder: Path, founded: Founded) -> None:
    name = founded.source.name
    _make(folder)
    if founded.password:
        _put(folder / SECRETS_FOLDER / name, founded.password + "\n")
    if not (folder / AGENT_FILE).exists():
        _put(folder / AGENT_FILE, agent_toml(founded.state, founded.addresses, founded.line))
    _put(folder / SOURCES_FOLDER / f"{name}.toml", source_toml(founded.source, with_password=bool(founded.password)))


def _put(file: Path, text: str) -> None:
    """Whole or not at all, readable by the folder's group."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o640)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), 0, file.parent.stat().st_gid)
        new.rename(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _table(table: TableConfig) -> list[str]:
    lines = [f"name = {_text(table.name)}", f"mode = {_text(table.mode)}"]
    if table.cursor:
        lines.append(f"cursor = {_text(table.cursor)}")
    if table.install:
        lines.append("install = true")
    return lines


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's as well, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
