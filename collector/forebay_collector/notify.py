"""The service manager's protocol (sd_notify(3)): READY, STATUS, WATCHDOG, STOPPING. Silent where there is none."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

_UNWATCHED: Final = 0.0


class ServiceManager:
    """Speaks to `NOTIFY_SOCKET`, when the environment names one."""

    def __init__(self, environment: dict[str, str] | os._Environ[str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environment.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1_000_000 if ours and microseconds.isdecimal() else _UNWATCHED
        """After how many seconds without `alive` the service manager ends the process; 0 when it does not watch."""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # the manager may be gone; that is no reason for us to go too
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(message.encode(), self._address)
