"""The demo's programs as real processes: `forebay-collector serve` and one `forebay-agent run` per department."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


class DemoFailed(Exception):
    """The demo cannot go on. The message says what failed and where its log is."""


def program(name: str) -> str:
    """The command beside this interpreter. Raises DemoFailed when it is not installed."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise DemoFailed(f"{path} is not there: install {name} into the same environment")
    return str(path)


def run(arguments: Sequence[str], log: Path) -> str:
    """Runs a command to its end and returns what it printed. Raises DemoFailed when it does not exit 0."""
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(arguments)}\n{ended.stdout}{ended.stderr}")
    if ended.returncode != 0:
        last = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:] or ["it printed nothing"]
        raise DemoFailed(f"{Path(arguments[0]).name} {arguments[-1]} exited {ended.returncode}: {last[0]} (log: {log})")
    return ended.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Daemon:
    """A long-running process that can be killed and started again; its output goes to one log file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.arguments = arguments
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as file:
            # a session of its own: Ctrl-C in the terminal is for whoever runs us, who then stops this process in order
            self.process = subprocess.Popen(
                self.arguments, stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after 20 seconds."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def check(self) -> None:
        """Raises DemoFailed when the process ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise DemoFailed(f"{self.name} ended by itself with {self.process.returncode} (log: {self.log})")

    def wait_for_port(self, port: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise DemoFailed(f"{self.name} does not listen on port {port} after {seconds:.0f} s (log: {self.log})")
