"""Small files that are replaced as a whole: written beside, then renamed; synced where they must survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o600, synced: bool = True) -> None:
    """Replaces the file as a whole; when it returns, content and name are on the disk, if `synced`. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        if synced:
            os.fsync(file.fileno())
    new.replace(path)
    if synced:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names made, changed or removed in the folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
