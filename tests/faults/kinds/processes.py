"""Processes that die or stand still."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from tests.faults.fault import Fault


class Kill(Fault):
    """SIGKILL: no chance to tidy up."""

    name = "kill -9"

    def inject(self) -> None:
        process = self.member.daemon.process
        self._proof = f"pid {process.pid}" if process is not None else ""
        self.member.kill()

    def struck(self) -> str:
        return self._proof

    def heal(self) -> None:
        self.member.start()


class Freeze(Fault):
    """SIGSTOP: the process stands still in the midst of whatever it did, its connections stay open."""

    name = "SIGSTOP"

    def inject(self) -> None:
        self._sent = self.member.signal(signal.SIGSTOP)

    def struck(self) -> str:
        process = self.member.daemon.process
        if not self._sent or process is None:
            return ""
        state = Path(f"/proc/{process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        return f"pid {process.pid} stopped" if state == "T" else ""

    def heal(self) -> None:
        self.member.signal(signal.SIGCONT)


KINDS: Final = (Kill, Freeze)
