"""The installation, as `doctor` looks at it: who owns what, whether the kept state is whole, whether the service runs."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from forebay_agent import enrollment, identity
from forebay_agent.capture.source import Severity
from forebay_agent.check.checked import Checked
from forebay_agent.errors import AgentError, StateFolderUnusable
from forebay_agent.outbox.file import FILE_NAME, check_whole, open_for_reading
from forebay_agent.report import STATUS_FILE

_SERVICE: Final = "service"
_STATE: Final = "state"
_APPLIANCE: Final = "appliance"
_CLOCK_SECONDS: Final = 60.0
"""certificates and delays bear a minute"""
_SET_CLOCK: Final = "Set the appliance's clock right, and keep it so (chrony, ntpd): `timedatectl` shows how it stands."


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


def check_clock(state: Path, now_us: int) -> Iterator[Checked]:
    """This machine's clock, beside the collector's when that was last heard, and beside what the agent itself wrote down."""
    try:
        told = json.loads((state / STATUS_FILE).read_bytes())
        written_us = int(told["written_at_us"])
        heard_us, ahead_us = (int(told["clock"][name]) for name in ("heard_at_us", "collector_ahead_us"))
    except (OSError, ValueError, KeyError, TypeError):
        return
    back_s = (written_us - now_us) / 1e6
    off_s = -ahead_us / 1e6 if heard_us else 0.0
    if back_s > _CLOCK_SECONDS:
        message = f"was set back: the agent wrote its status {_span(back_s)} from now"
    elif abs(off_s) > _CLOCK_SECONDS:
        message = f"is {_span(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} the centre's"
    else:
        if heard_us:
            yield Checked.fine(_APPLIANCE, "clock", f"differs from the centre's by {abs(off_s):.1f} s at most")
        return
    yield Checked(_APPLIANCE, Severity.ERROR, "clock", message, _SET_CLOCK, exit_code=1)


def check_enrolment(state: Path) -> Iterator[Checked]:
    """Why there is no certificate, where the centre's refusal of a token was noted."""
    refused = enrollment.last_refusal(state)
    if refused is not None and not (state / identity.FOLDER).exists():
        yield Checked.of_error("collector", "token", refused)


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


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


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
