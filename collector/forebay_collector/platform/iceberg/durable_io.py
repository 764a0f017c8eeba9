"""Files that are on the disk before a commit names them (pyiceberg itself syncs nothing but its catalogue).

Every file is fsynced when it is closed, and so are its folder and each parent folder that had to be created for it. A
data file, its manifest, the manifest list and the metadata file are closed in this order before the catalogue's own
(synchronous) transaction points to the metadata file, so whatever the catalogue names is complete.

Set as the catalogue's `py-io-impl`, a property of this process's catalogue object and never of a table: foreign readers
need nothing of Forebay.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, Final

from pyiceberg.io import OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

PY_IO_IMPL: Final = f"{__name__}.DurableFileIO"
_BUFFER_BYTES: Final = 1 << 20


def sync_folder(folder: Path) -> None:
    """Makes the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Creates the folder and its parents, each durable in its parent."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


class _SyncedFile(io.FileIO):
    """A new file that is durable once closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._path = path

    def close(self) -> None:
        if self.closed:
            return
        try:
            os.fsync(self.fileno())
        finally:
            super().close()
        sync_folder(self._path.parent)


class DurableFile(PyArrowFile):
    """A local file; reading is pyarrow's, writing is synced."""

    def create(self, overwrite: bool = False) -> OutputStream:
        """Opens a new file for writing.

        Raises:
            FileExistsError: it exists and `overwrite` is not set.
        """
        path = Path(self._path)
        make_folders(path.parent)
        if overwrite:
            path.unlink(missing_ok=True)
        return io.BufferedWriter(_SyncedFile(path), _BUFFER_BYTES)

    def link_from(self, other: Path) -> None:
        """Makes this file another name of `other`, durably. Raises OSError where the file system has no hard links."""
        path = Path(self._path)
        make_folders(path.parent)
        os.link(other, path)
        sync_folder(path.parent)


class DurableFileIO(PyArrowFileIO):
    """pyiceberg's FileIO for a warehouse on a local (or mounted) file system."""

    def new_output(self, location: str) -> DurableFile:
        return DurableFile(location=location, path=local_path(location), fs=self.fs_by_scheme("file", None))

    def delete(self, location: str | Any | OutputFile) -> None:
        Path(local_path(location if isinstance(location, str) else location.location)).unlink()


def local_path(location: str) -> str:
    """The path of a location that this warehouse names (Hadoop's readers write `file:/x` for `/x`)."""
    return location.removeprefix("file://") if location.startswith("file://") else location.removeprefix("file:")
