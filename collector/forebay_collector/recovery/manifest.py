"""The manifest of a backup, `manifest.json`: what belongs to it, and the digest of each file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from forebay_collector.errors import BackupUnusable

FILE: Final = "manifest.json"
FORMAT: Final = "forebay backup 1"
LEDGER: Final = "ledger.db"
CATALOGUE: Final = "catalog.db"


@dataclass(frozen=True, slots=True)
class Manifest:
    """made_at: microseconds. version: of the program. files: name within the backup -> its SHA-256, hexadecimal."""

    made_at: int
    version: str
    files: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The backup's, after every file of it was found to be what it was. Raises BackupUnusable."""
        try:
            said: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
            if said["format"] != FORMAT:
                raise BackupUnusable(f"{folder}: a backup of a format that is not known here: {said['format']!r}")
            files = {str(name): str(digest) for name, digest in said["files"].items()}
            found = cls(int(said["made_at_us"]), str(said["version"]), files)
            for name, digest in files.items():
                if name.startswith("/") or ".." in Path(name).parts:
                    raise BackupUnusable(f"{folder}: names a file outside of itself: {name!r}")
                if digest_of(folder / name) != digest:
                    raise BackupUnusable(f"{folder / name}: is not what was backed up")
        except OSError as error:
            raise BackupUnusable(f"{error.filename or folder}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BackupUnusable(f"{folder / FILE}: is no manifest of a backup") from None
        if LEDGER not in files:
            raise BackupUnusable(f"{folder}: holds no ledger")
        return found

    def write(self, folder: Path) -> None:
        said = {"format": FORMAT, "made_at_us": self.made_at, "version": self.version, "files": dict(self.files)}
        (folder / FILE).write_text(json.dumps(said, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
