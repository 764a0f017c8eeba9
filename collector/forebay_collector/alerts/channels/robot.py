"""A robot's address: it holds the robot's key, and so stands in a file."""

from __future__ import annotations

from pathlib import Path

from forebay_collector.alerts.channels.contract import secret_of
from forebay_collector.alerts.settings import hook_address
from forebay_collector.errors import ConfigurationError


def address_of(folder: Path, name: str, key: str) -> str:
    """Raises ConfigurationError, which does not repeat the address."""
    try:
        return hook_address(secret_of(folder, name, key))
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}", key=key) from None
