"""Runs a command as a whole process and takes the operating system's own account of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    """Wall and CPU seconds (user + system), and what the command printed."""

    seconds: float
    cpu_seconds: float
    output: str


def peak_rss_mb(pid: int) -> float:
    """The peak resident memory of a process since it began its program, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def account(command: Sequence[str], *, environment: Mapping[str, str] | None = None, keep: bool = False) -> Account:
    """`keep`: return what it prints; else that goes to /dev/null. Raises RuntimeError when it does not exit 0."""
    sink = subprocess.PIPE if keep else subprocess.DEVNULL
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=sink, text=True, env={**os.environ, **(environment or {})})
    output = process.stdout.read() if process.stdout is not None else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} exited {process.returncode}")
    return Account(seconds, usage.ru_utime + usage.ru_stime, output)
