"""What systemd is told: READY, STATUS, WATCHDOG, STOPPING, as datagrams to NOTIFY_SOCKET (man sd_notify).

Without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> None:
    """Sends the lines (`READY=1`, `STATUS=…`). A socket that is not there is not an error: the service goes on."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
            client.sendto("\n".join(lines).encode(), address)
    except OSError:
        return
