"""A port on loopback that nobody listens on."""

from __future__ import annotations

import socket


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
