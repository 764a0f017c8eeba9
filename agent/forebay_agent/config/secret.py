"""Secret: a value that never prints. Configuration names where it is kept, never the value itself.

`{ credential = "NAME" }` is what the service manager hands over (LoadCredential=, man systemd.exec): the file `secrets_NAME`
of `$CREDENTIALS_DIRECTORY`. A person at a shell has no such folder; then it is the file that the service manager would take
it from, `secrets/NAME` beside `agent.toml`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_agent.errors import ConfigurationError

FOLDER: Final = "secrets"
"""beside agent.toml; also the name under which the unit hands the folder over"""


def credential_file(name: str, configuration: Path) -> Path:
    """Where a credential is to be read now. configuration: the folder of agent.toml."""
    handed_over = os.environ.get("CREDENTIALS_DIRECTORY", "")
    if handed_over and (found := Path(handed_over, f"{FOLDER}_{name}")).exists():
        return found
    return configuration / FOLDER / name


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
