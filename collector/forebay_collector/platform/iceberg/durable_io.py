"""Files that are on the disk before a commit names them (pyiceberg itself syncs nothing but its catalogue).

A commit writes data files, manifests and the manifest list, then the metadata file, and last moves the catalogue's
pointer to it in a synchronous transaction. When the metadata file is closed, every file of the table that was written
or linked before it is fsynced, several at a time (the file system's journal then takes them together, where one by one
each would wait for it), and then their folders. Folders are made durable when they are made.

Set as the catalogue's `py-io-impl`, a property of this process's catalogue object and never of a table: foreign readers
need nothing of Forebay.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pyiceberg.io import OutputFile, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

PY_IO_IMPL: Final = f"{__name__}.DurableFileIO"
_BUFFER_BYTES: Final = 1 << 20
_METADATA_SUFFIX: Final = ".metadata.json"


def sync(path: Path) -> None:
    """Makes a file's bytes, or a folder's entries, durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
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
    sync(folder.parent)


class _Unsynced:
    """Files closed but not yet synced, by table folder. Used by several threads."""

    def __init__(self) -> None:
        self._paths: dict[Path, set[Path]] = {}
        self._lock = threading.Lock()
        self._syncers = ThreadPoolExecutor(8, "fsync")

    def add(self, path: Path) -> None:
        with self._lock:
            self._paths.setdefault(_table_folder(path), set()).add(path)

    def sync(self, table: Path) -> None:
        """Syncs everything of the table that is not. Raises OSError; then all of it is still to be synced."""
        with self._lock:
            paths = set(self._paths.get(table, ()))
        self._sync_all(paths)
        self._sync_all({path.parent for path in paths})
        with self._lock:
            held = self._paths.get(table, set())
            held -= paths
            if not held:
                self._paths.pop(table, None)

    def _sync_all(self, paths: Iterable[Path]) -> None:
        list(self._syncers.map(_sync_if_there, paths))


def _sync_if_there(path: Path) -> None:
    try:
        sync(path)
    except FileNotFoundError:
        return  # of a load that failed, and removed since; nothing can name it


def _table_folder(path: Path) -> Path:
    """A table's files are in `data` and `metadata` below its folder."""
    return path.parent.parent


_UNSYNCED: Final = _Unsynced()


class _NewFile(io.FileIO):
    """A new file that is synced before the metadata file that follows it is closed; a metadata file with its closing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self._path = path

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        _UNSYNCED.add(self._path)
        if self._path.name.endswith(_METADATA_SUFFIX):
            _UNSYNCED.sync(_table_folder(self._path))


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
        return io.BufferedWriter(_NewFile(path), _BUFFER_BYTES)

    def link_from(self, other: Path) -> None:
        """Makes this file another name of `other`. Raises OSError where the file system has no hard links."""
        path = Path(self._path)
        make_folders(path.parent)
        os.link(other, path)
        _UNSYNCED.add(path)


class DurableFileIO(PyArrowFileIO):
    """pyiceberg's FileIO for a warehouse on a local (or mounted) file system."""

    def new_output(self, location: str) -> DurableFile:
        return DurableFile(location=location, path=local_path(location), fs=self.fs_by_scheme("file", None))

    def delete(self, location: str | Any | OutputFile) -> None:
        Path(local_path(location if isinstance(location, str) else location.location)).unlink()


def local_path(location: str) -> str:
    """The path of a location that this warehouse names (Hadoop's readers write `file:/x` for `/x`)."""
    return location.removeprefix("file://") if location.startswith("file://") else location.removeprefix("file:")
