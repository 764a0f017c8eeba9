"""Failing disks and wrong clocks for one process: `shim.c`, compiled when the harness starts and preloaded.

dm-flakey and dm-error would fail a whole device; they are not in every kernel. A preloaded library fails the very calls.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("shim.c")
_FIELDS: Final = (
    "clock_offset",
    "fsync_fails",
    "write_fails",
    "fsyncs_failed",
    "writes_failed",
    "clocks_read",
    "no_room",
)
_NUMBER: Final = struct.Struct("=q")


def compile_shim(folder: Path) -> Path:
    library = folder / "shim.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


class Shim:
    """The switches of one process, which outlive it. folder: the files whose writes and fsyncs may fail."""

    def __init__(self, library: Path, switches: Path, folder: Path) -> None:
        switches.write_bytes(bytes(len(_FIELDS) * _NUMBER.size))
        with switches.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.environment = (
            f"LD_PRELOAD={library}",
            f"FOREBAY_FAULTS={switches}",
            f"FOREBAY_FAULTS_FOLDER={folder}",
        )

    def set(self, field: str, value: int) -> None:
        _NUMBER.pack_into(self._map, _FIELDS.index(field) * _NUMBER.size, value)

    def get(self, field: str) -> int:
        return int(_NUMBER.unpack_from(self._map, _FIELDS.index(field) * _NUMBER.size)[0])
