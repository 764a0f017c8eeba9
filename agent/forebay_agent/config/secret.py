"""Secret: a value that never prints. Configuration names where it is kept, never the value itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from forebay_agent.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is kept: `{ file = "/etc/forebay/x" }` or `{ env = "NAME" }`. Read anew at each use."""

    file: Path | None = None
    env: str = ""

    def reveal(self) -> str:
        """The secret itself. Raises ConfigurationError when the file or variable is not there or is empty."""
        if self.file is not None:
            try:
                value = self.file.read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise ConfigurationError(f"secret file {self.file} cannot be read: {reason}") from None
        else:
            value = os.environ.get(self.env, "")
        if not value:
            raise ConfigurationError(f"secret {self} is empty or not set")
        return value

    def __str__(self) -> str:
        return f"file {self.file}" if self.file is not None else f"environment variable {self.env}"
