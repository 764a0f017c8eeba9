"""The log of schemas and dictionaries beside the batches: what opens them, so that an archive can be read without a ledger.

`.schemas.jsonl` under the archive's root, one line each, only ever added to:

    {"content":"…base64…","key":"…","kind":"schema","stream":"…","sum":"…"}

`key` is the schema's fingerprint in hexadecimal, or the dictionary's id; `sum` the SHA-256 of the line's other values as JSON with
sorted keys. A line that was cut short by a crash, or damaged, is passed over: nothing was promised on it, or its sum says so.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from forebay_collector.errors import ArchiveFull, ArchiveUnavailable
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName

FILE: Final = ".schemas.jsonl"
SCHEMA: Final = "schema"
DICTIONARY: Final = "dictionary"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger(__name__)


class Kept(NamedTuple):
    """key: of a schema its fingerprint, of a dictionary its id."""

    stream: StreamName
    key: bytes | str
    content: bytes


class SchemaLog:
    """Used by several threads of the one process that receives. `fsync` is given in by tests."""

    def __init__(self, root: Path, fsync: Callable[[int], None] = os.fsync) -> None:
        self.path = root / FILE
        self._fsync = fsync
        self._lock = threading.Lock()

    def append(self, kept: Sequence[Kept]) -> None:
        """Adds them, durably. Raises ArchiveFull, ArchiveUnavailable."""
        lines = b"".join(_line(one) for one in kept)
        try:
            with self._lock:
                new = not self.path.exists()
                with self.path.open("a+b") as log:
                    if log.tell():
                        log.seek(-1, os.SEEK_END)
                        # what was cut short before stays a line of its own
                        lines = lines if log.read(1) == b"\n" else b"\n" + lines
                    log.write(lines)
                    log.flush()
                    self._fsync(log.fileno())
                if new:
                    self._sync_folder()
        except OSError as error:
            kind = ArchiveFull if error.errno in _NO_ROOM else ArchiveUnavailable
            raise kind(f"archive {error.filename or self.path}: {error.strerror}") from error

    def read(self) -> Iterator[Kept]:
        """Every whole line, in order. Raises ArchiveUnavailable."""
        try:
            with self.path.open("rb") as log:
                for number, line in enumerate(log, start=1):
                    kept = _parsed(line)
                    if kept is not None:
                        yield kept
                    else:
                        _log.warning("%s: line %d is damaged, and passed over", self.path, number)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArchiveUnavailable(f"archive {self.path}: {error.strerror}") from error

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)


def _line(one: Kept) -> bytes:
    is_schema = isinstance(one.key, bytes)
    values: dict[str, str] = {
        "content": base64.b64encode(one.content).decode(),
        "key": one.key.hex() if isinstance(one.key, bytes) else one.key,
        "kind": SCHEMA if is_schema else DICTIONARY,
        "stream": str(one.stream),
    }
    return json.dumps({**values, "sum": _sum(values)}, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def _parsed(line: bytes) -> Kept | None:
    try:
        values: dict[str, Any] = json.loads(line)
        said = values.pop("sum")
        if said != _sum(values):
            return None
        key = bytes.fromhex(values["key"]) if values["kind"] == SCHEMA else str(values["key"])
        return Kept(StreamName.parse(values["stream"]), key, base64.b64decode(values["content"], validate=True))
    except (ValueError, TypeError, KeyError, AttributeError, WireError):
        return None


def _sum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
