"""The installation, as `doctor` looks at it: who owns what, whether the kept state is whole, whether the service runs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from forebay_agent import identity
from forebay_agent.capture.source import Severity
from forebay_agent.check.checked import Checked
from forebay_agent.errors import AgentError, StateFolderUnusable
from forebay_agent.outbox.file import FILE_NAME, check_whole, open_for_reading

_SERVICE: Final = "service"
_STATE: Final = "state"


def check_service(told: Mapping[str, str]) -> Iterator[Checked]:
    """What systemd says of the unit. told: its properties by name; empty where there is no systemd."""
    active = told.get("ActiveState", "")
    if not active:
        yield Checked(_SERVICE, Severity.NOTE, "systemd", "does not run here")
        return
    status = told.get("StatusText", "")
    if active == "active":
        yield Checked.fine(_SERVICE, "state", f"active{f': {status}' if status else ''}")
    else:
        yield Checked(
            _SERVICE,
            Severity.ERROR,
            "state",
            f"{active} ({told.get('SubState', '')}, ended by {told.get('Result', '')})",
            "Mend what is said below, then: systemctl enable --now forebay-agent; "
            "`journalctl -u forebay-agent -n 50` tells what it said last.",
            exit_code=1,
        )
    restarts = int(told.get("NRestarts") or 0)
    if restarts:
        yield Checked(
            _SERVICE,
            Severity.WARNING,
            "restarts",
            f"systemd started it again {restarts} times since the machine started",
            "`journalctl -u forebay-agent` tells why it ended.",
        )


def check_ownership(state: Path) -> Iterator[Checked]:
    """Everything in the state folder belongs to who owns the folder: what root left there, the agent cannot use."""
    try:
        owner = state.stat().st_uid
        strangers = [path for path in sorted(state.rglob("*")) if path.lstat().st_uid != owner]
    except FileNotFoundError:
        return
    except OSError as error:
        yield Checked.of_error(_STATE, "owner", StateFolderUnusable(f"{error.filename}: {error.strerror}"))
        return
    name = _name_of(owner)
    if not strangers:
        yield Checked.fine(_STATE, "owner", f"everything belongs to {name}")
        return
    failure = StateFolderUnusable(
        f"{strangers[0]} does not belong to {name}{f', nor do {len(strangers) - 1} others' if strangers[1:] else ''}",
        remedy=f"Run: chown -R {name}: {state}",
    )
    yield Checked.of_error(_STATE, "owner", failure)


def check_kept(state: Path) -> Iterator[Checked]:
    """Whether outbox and identity are whole. The whole outbox is read."""
    path = state / FILE_NAME
    if path.exists():
        try:
            connection = open_for_reading(path)
            try:
                check_whole(connection, path)
            finally:
                connection.close()
            yield Checked.fine(_STATE, "outbox", f"{path} is whole")
        except AgentError as error:
            yield Checked.of_error(_STATE, "outbox", error)
    if (state / identity.FOLDER).exists():
        try:
            identity.load(state)
        except AgentError as error:
            yield Checked.of_error(_STATE, "identity", error)


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def readable(folder: Path) -> Iterator[Checked]:
    """Whether this process, which has the agent's rights, may read the configuration."""
    for path in (folder, *sorted(folder.rglob("*"))) if os.access(folder, os.R_OK | os.X_OK) else (folder,):
        if path.is_symlink() or os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            continue
        failure = StateFolderUnusable(
            f"{path} cannot be read by {_name_of(os.geteuid())}",
            remedy=f"Run: chgrp -R forebay-agent {folder}; chmod -R g+rX {folder}",
        )
        yield Checked.of_error("configuration", "rights", failure)
