"""Commands that are run to their end, by the harness's own clock."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence

from tests.faults.clock import CLOCK


def ended(arguments: Sequence[str], seconds: float, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """given: its standard input. Raises TimeoutExpired; the command is killed then."""
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = CLOCK.now + seconds
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                waits, given = given, None  # a second call goes on with what the first was given
                told, complained = process.communicate(waits, timeout=1.0)
                return subprocess.CompletedProcess(list(arguments), process.returncode, told, complained)
            if CLOCK.now > deadline:
                raise subprocess.TimeoutExpired(list(arguments), seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
