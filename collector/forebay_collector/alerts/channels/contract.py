"""What a channel is, and what it reads from files."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Protocol

from forebay_collector.alerts.message import Wording
from forebay_collector.errors import ConfigurationError, NotSent

__all__ = ["Channel", "NotSent", "authorities_of", "secret_of"]
_LARGEST: Final = 64 << 10


class Channel(Protocol):
    """A way to people. Used by one thread at a time."""

    @property
    def place(self) -> str:
        """Where it leads: a host, and no more of the address."""
        ...

    def send(self, wording: Wording) -> str:
        """Sends, and waits until the other end has it; -> what that said. Takes at most about a minute. Raises NotSent."""
        ...

    def close(self) -> None: ...


def secret_of(folder: Path, name: str, key: str) -> str:
    """What stands in a file, without the white space around it. Raises ConfigurationError, which does not repeat it."""
    try:
        with (folder / name).open("rb") as file:
            text = file.read(_LARGEST).decode("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}", key=key) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}: is not UTF-8", key=key) from None
    if not text or not text.isprintable():
        raise ConfigurationError(
            f"{name}: holds nothing that can be used", key=key, remedy="Put the value on one line."
        )
    return text


def authorities_of(folder: Path, name: str) -> ssl.SSLContext:
    """Who vouches for servers: the authorities in the PEM file, or the system's. Raises ConfigurationError."""
    try:
        context = ssl.create_default_context(cafile=str(folder / name) if name else None)
    except OSError as error:
        reason = error.strerror or "holds no certificate"
        raise ConfigurationError(f"{name}: {reason}", key="alerts.authorities") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
