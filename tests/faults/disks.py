"""A disk of one's own for a process: ext4 in a file, mounted by a loop device. It can be full, and lose its power."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import threading
import time
from pathlib import Path
from typing import Final

from tests.faults.clock import CLOCK
from tests.faults.network import run

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = 2
"""what the journal holds and was not synced is lost, as when the power goes"""
_FILLER: Final = "filler"
_CLONE_NEWNS: Final = 0x00020000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def keep_mounts_private() -> None:
    """What this thread and those that it starts mount from now on is seen by nobody else: a container that somebody starts
    meanwhile would hold a copy of each mount, and a disk that lost its power would stay without until that one ends."""
    if _LIBC.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    run("mount", "--make-rslave", "/")


class Disk:
    """Mounted at `folder`. Whoever reads its files from the harness holds `reading`, so that it can be unmounted."""

    def __init__(self, image: Path, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        self.reading = threading.RLock()
        self._image = image
        folder.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(mebibytes << 20)
        # Many small files; and a block is a page, as on disks of any size: where it is less, SQLite cannot be sure of the
        # room for its shared memory, and whoever touches that on a full disk ends with SIGBUS.
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-i", "4096", str(image))
        self._mount()

    def fill(self) -> None:
        """Takes all the room there is."""
        with (self.folder / _FILLER).open("wb") as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)

    def free(self) -> None:
        (self.folder / _FILLER).unlink(missing_ok=True)

    def cut_power(self) -> None:
        """Nothing reaches the disk from now on."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def power_up(self) -> None:
        """Mounts what was on the disk; its processes have ended. Raises OSError when it is still without power."""
        with self.reading:
            self._unmount()
            self._mount()
            (self.folder / _FILLER).touch()
            self.free()

    def close(self) -> None:
        with self.reading:
            self._unmount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", str(self._image), str(self.folder))

    def _unmount(self) -> None:
        deadline = CLOCK.now + 20
        while True:
            try:
                run("umount", str(self.folder))
                return
            except RuntimeError:
                if CLOCK.now > deadline:
                    raise
                time.sleep(0.1)
