"""The service as systemd has it: started by `setup`, looked at by `doctor`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

UNIT: Final = "forebay-agent.service"
_ACTIVE_SECONDS: Final = 60.0


def is_there() -> bool:
    """Whether systemd runs on this machine."""
    return Path("/run/systemd/system").is_dir()


def properties(*names: str) -> dict[str, str]:
    """Properties of the unit; empty where they cannot be had."""
    said = _said(_systemctl(), "show", UNIT, *(f"--property={name}" for name in names))
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def described() -> str:
    """The unit as it is in force, with what overrides it, and all its properties."""
    return f"{_said(_systemctl(), 'cat', UNIT)}\n{_said(_systemctl(), 'show', UNIT)}"


def journal(lines: int) -> str:
    """The unit's newest lines; of all starts, as far as this user may see them."""
    return _said(
        shutil.which("journalctl") or "/usr/bin/journalctl",
        "-u",
        UNIT,
        "-n",
        str(lines),
        "--no-pager",
        "-o",
        "short-iso",
    )


def _said(*command: str) -> str:
    """What a program of systemd says; empty where it cannot be had."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def start() -> int:
    """Enables and starts (or restarts) the service, and waits until it says that it is ready. -> exit code."""
    if not is_there():
        print("systemd does not run here: start the agent with `forebay-agent run`")
        return 0
    for words in (["enable", "--quiet", UNIT], ["enable", "--quiet", "--now", "forebay-agent-check.timer"]):
        subprocess.run([_systemctl(), *words], check=False)
    # not waited for by systemctl: a service that cannot start is tried again for ever
    done = subprocess.run([_systemctl(), "restart", "--no-block", UNIT], check=False)
    deadline = time.monotonic() + _ACTIVE_SECONDS
    state: dict[str, str] = {}
    while done.returncode == 0 and time.monotonic() < deadline:
        state = properties("ActiveState", "SubState", "StatusText", "NRestarts")
        if state.get("ActiveState") == "active":
            print("forebay-agent is running; next: forebay-agent status")
            return 0
        time.sleep(0.1)
    sys.stderr.write(
        f"error: the service does not start (it is {state.get('ActiveState', 'unknown')})\n"
        "  remedy: read `journalctl -u forebay-agent -n 50`, or run `forebay-agent doctor`\n"
    )
    return 1


def _systemctl() -> str:
    return shutil.which("systemctl") or "/usr/bin/systemctl"
