"""Events as journald keeps them: each field under a name of its own (`FOREBAY_STREAM`), for `journalctl FOREBAY_STREAM=…`.

Only where standard error leads to journald (`JOURNAL_STREAM`, man systemd.exec). The message is the same line as elsewhere.
Protocol: one datagram, `NAME=value\\n`, or `NAME\\n`, the length in eight bytes, the value and `\\n` where it has lines.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOCKET: Final = Path("/run/systemd/journal/socket")
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


def leads_there(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard error is journald's own stream."""
    try:
        told = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM", "") == f"{told.st_dev}:{told.st_ino}"


class JournaldHandler(logging.Handler):
    """Sends records with their `fields`; what journald does not take goes to standard error."""

    def __init__(self, formatter: logging.Formatter, path: Path = SOCKET) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            self._socket.sendto(datagram(record, line), self._path)
        except OSError:
            sys.stderr.write(line + "\n")

    def close(self) -> None:
        self._socket.close()
        super().close()


def datagram(record: logging.LogRecord, line: str) -> bytes:
    """A record as journald reads it. A batch is named `epoch/seq`."""
    fields: dict[str, object] = getattr(record, "fields", {})
    named = {_name(name): str(value) for name, value in fields.items()}
    if "epoch" in fields and "seq" in fields:
        named["FOREBAY_BATCH"] = f"{fields['epoch']}/{fields['seq']}"
    priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
    entry = {
        "MESSAGE": line,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "forebay-agent",
        "FOREBAY_EVENT": record.getMessage(),
        **named,
    }
    return b"".join(_encoded(name, value) for name, value in entry.items())


def _name(field: str) -> str:
    return "FOREBAY_" + re.sub(r"[^A-Z0-9]", "_", field.upper())


def _encoded(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "replace")[:8_000]
    if b"\n" in content:
        return name.encode() + b"\n" + len(content).to_bytes(8, "little") + content + b"\n"
    return name.encode() + b"=" + content + b"\n"
