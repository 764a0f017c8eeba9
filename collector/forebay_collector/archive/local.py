"""LocalArchive: one file per batch in a directory (layout: `names.py`; format: `file.py`).

A batch is written to a temporary file in `.incoming`; `sync` fsyncs each file, renames it to its place, and fsyncs once
every directory that gained a name, new parent directories included. So a name is only ever that of a whole file. What
a killed process left in `.incoming` was never promised and is removed at start.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from forebay_collector.archive import file, names
from forebay_collector.errors import ArchiveFull, ArchiveMissing, ArchiveUnavailable
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName

INCOMING: Final = ".incoming"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FSYNC_THREADS: Final = 8


class LocalArchive:
    """Batches as files under `root`, which is made when missing. `fsync` is given in by tests.

    writes: this process is the one that writes. Another that only reads leaves alone what is being written.
    """

    def __init__(self, root: Path, fsync: Callable[[int], None] = os.fsync, *, writes: bool = True) -> None:
        """Raises ArchiveUnavailable, ArchiveFull."""
        self.root = root
        self._fsync = fsync
        self._incoming = root / INCOMING
        self._staged: dict[str, str] = {}  # final path -> temporary file
        self._number = 0
        self._settled: set[Path] = set()  # directories whose own names this process has synced
        self._threads = ThreadPoolExecutor(_FSYNC_THREADS, thread_name_prefix="archive-fsync")
        with _named(root):
            self._incoming.mkdir(parents=True, exist_ok=True)
            for left_over in self._incoming.iterdir() if writes else ():
                left_over.unlink()

    def write(self, batch: SealedBatch) -> None:
        final = f"{self.root}/{names.batch_file(batch.stream, batch.epoch, batch.seq)}"
        self._number += 1
        temporary = f"{self._incoming}/{self._number}{names.SUFFIX}"
        replaced = self._staged.get(final)
        self._staged[final] = temporary
        with _named(self._incoming):
            if replaced is not None:
                os.unlink(replaced)  # noqa: PTH108 - paths as text: this is done for every batch
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write_all(descriptor, [file.preamble(batch) + batch.header, batch.payload])
            finally:
                os.close(descriptor)

    def sync(self) -> None:
        with _named(self.root):
            list(self._threads.map(self._sync_path, self._staged.values()))
            folders = {Path(folder) for folder in {os.path.dirname(final) for final in self._staged}}  # noqa: PTH120
            changed = folders | {above for folder in folders for above in self._make(folder)}
            for final, temporary in self._staged.items():
                os.replace(temporary, final)  # noqa: PTH105
            list(self._threads.map(self._sync_path, changed))
        self._settled |= changed
        self._staged.clear()

    def abort(self) -> None:
        for temporary in self._staged.values():
            with suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        self._staged.clear()

    def read(self, stream: StreamName, epoch: int, seq: int) -> SealedBatch:
        path = self._path(stream, epoch, seq)
        with _named(path):
            try:
                content = path.read_bytes()
            except FileNotFoundError as error:
                raise ArchiveMissing(f"archive file {path}: is not there") from error
        return file.parse(path, content, stream, epoch, seq)

    def delete(self, stream: StreamName, epoch: int, seq: int) -> None:
        path = self._path(stream, epoch, seq)
        with _named(path):
            path.unlink(missing_ok=True)

    def batches(self, stream: StreamName) -> Iterator[tuple[int, int]]:
        folder = self.root / names.stream_folder(stream)
        with _named(folder):
            for epoch in names.epochs(folder):
                for seq in names.seqs(folder / str(epoch)):
                    yield epoch, seq

    def streams(self) -> Iterator[StreamName]:
        with _named(self.root):
            for folder in self.root.glob("[!.]*/*/*"):
                paths = (
                    folder / str(epoch) / names.file_name(seq)
                    for epoch in names.epochs(folder)
                    for seq in names.seqs(folder / str(epoch))
                )
                # names may be cut on disk: the batches say whose they are
                said = (file.stream_in(path) for path in paths)
                found = next((stream for stream in said if stream is not None), None)
                if found is not None and names.stream_folder(found) == folder.relative_to(self.root).as_posix():
                    yield found

    def close(self) -> None:
        self.abort()
        self._threads.shutdown()

    def _path(self, stream: StreamName, epoch: int, seq: int) -> Path:
        return self.root / names.batch_file(stream, epoch, seq)

    def _make(self, folder: Path) -> Iterator[Path]:
        """Makes the folder; yields the directories that hold names which may not be on disk yet."""
        while folder != self.root and folder not in self._settled:
            folder.mkdir(parents=True, exist_ok=True)
            folder = folder.parent
            yield folder

    def _sync_path(self, path: Path | str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Gives an OSError its kind."""
    try:
        yield
    except OSError as error:
        kind = ArchiveFull if error.errno in _NO_ROOM else ArchiveUnavailable
        raise kind(f"archive {error.filename or path}: {error.strerror}") from error


def _write_all(descriptor: int, parts: list[bytes]) -> None:
    """The system takes what it can; the rest is offered again until it is all taken or refused."""
    views = [memoryview(part) for part in parts]
    while views:
        taken = os.writev(descriptor, views)
        while views and taken >= len(views[0]):
            taken -= len(views.pop(0))
        if views:
            views[0] = views[0][taken:]
