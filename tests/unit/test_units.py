"""The units as they are shipped: systemd itself has nothing to say against them, and finds them closed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_is_exposed_at_most_1_5(name: str) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", str(UNITS / name))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= 1.5
    assert done.returncode == 0


def test_systemd_verifies_every_unit_without_a_word(tmp_path: Path) -> None:
    """The programs and the guide that the units name are there, as they are where the package is installed."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]:
        text = unit.read_text("utf-8")
        assert "Documentation=man:" not in text  # there are no manual pages
        for name in ("forebay-agent", "forebay-collector"):
            text = text.replace(f"ExecStart=/usr/bin/{name}", f"ExecStart={tmp_path / name}")
        (tmp_path / unit.name).write_text(text, "utf-8")
    for name in ("forebay-agent", "forebay-collector"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    whole = [str(path) for path in sorted(tmp_path.glob("forebay-*.*")) if "@" not in path.name]
    done = analyze("verify", "--man=no", *whole, str(tmp_path / "forebay-collector@receive.service"))
    said = [line for line in (done.stdout + done.stderr).splitlines() if "forebay" in line]
    assert not said
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["forebay-agent.service", "forebay-collector.service", "forebay-collector@.service"])
def test_a_daemon_is_watched_brought_back_and_held_to_a_budget(name: str) -> None:
    text = (UNITS / name).read_text("utf-8")
    for setting in (
        "Type=notify",
        "WatchdogSec=",
        "TimeoutAbortSec=",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "StateDirectory=",
        "LoadCredential=",
        "CPUWeight=",
        "MemoryMax=",
        "IOWeight=",
        "TasksMax=",
    ):
        assert re.search(f"^{setting}", text, re.MULTILINE), setting
