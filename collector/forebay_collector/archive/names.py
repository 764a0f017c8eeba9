"""Where a batch lies under the archive's root: `<department>/<source>/<table>/<epoch>/<seq, 12 digits>.batch`.

Names are percent-encoded (RFC 3986) to plain ASCII without `/`; a leading dot is encoded too, so that no name is `.` or
`..`. What would be longer than a file system takes is cut and ends in `%%` and a digest of the whole name.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

from forebay_wire import limits
from forebay_wire.stream import StreamName

SUFFIX: Final = ".batch"
_LONGEST: Final = 200
_DIGEST_CHARACTERS: Final = 32


def encode(name: str) -> str:
    """One part of a stream's name as one part of a path. Different names never share one."""
    encoded = quote(name, safe="")
    if encoded.startswith("."):
        encoded = "%2E" + encoded[1:]
    if len(encoded) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        encoded = f"{encoded[: _LONGEST - _DIGEST_CHARACTERS - 2]}%%{digest}"
    return encoded


@lru_cache(maxsize=limits.MAX_STREAMS)
def stream_folder(stream: StreamName) -> str:
    return f"{encode(stream.department)}/{encode(stream.source)}/{encode(stream.table)}"


def batch_file(stream: StreamName, epoch: int, seq: int) -> str:
    return f"{stream_folder(stream)}/{epoch}/{file_name(seq)}"


def file_name(seq: int) -> str:
    return f"{seq:012d}{SUFFIX}"


def epochs(folder: Path) -> list[int]:
    """Of the batches in a stream's folder, which need not be there; in order. Raises OSError."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir())


def seqs(folder: Path) -> list[int]:
    """Of the batches in an epoch's folder, in order. Raises OSError."""
    found = (entry for entry in folder.iterdir() if entry.suffix == SUFFIX and entry.stem.isdecimal())
    return sorted(int(entry.stem) for entry in found)
