"""The appliance itself, as `check` looks at it: the state folder and its disk."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from forebay_agent.capture.source import Severity
from forebay_agent.check.checked import Checked
from forebay_agent.config.model import AgentConfig
from forebay_agent.errors import StateFolderUnusable

_PLACE: Final = "state"
_REMEDIES: Final = {
    errno.EROFS: "The disk was mounted read-only, often after an error of the disk: `dmesg` says why. Mend it, then "
    "`mount -o remount,rw` it; or move the state folder with `[agent] state`.",
    errno.ENOSPC: "The disk is full: free space on it (`df`, `du -x`); nothing is lost meanwhile, capture waits.",
    errno.EDQUOT: "The agent's user has used up its quota of the disk: raise it.",
}


def check_state(config: AgentConfig, file: str) -> Iterator[Checked]:
    """Whether the state folder can be written, and whether the disk has room for what `[outbox]` promises.

    Makes nothing that stays: a folder that is not there yet is made by the first `enroll` or `run`.
    """
    state = config.state
    folder = next(parent for parent in (state, *state.parents) if parent.exists())
    try:
        _try_to_write(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        failure = StateFolderUnusable(
            f"{state} cannot be written: {reason} ({folder})"
            if folder != state
            else f"{state} cannot be written: {reason}",
            remedy=_REMEDIES.get(error.errno or 0, ""),
        )
        yield Checked.of_error(_PLACE, "folder", failure, file=file, key="agent.state")
        return
    if folder == state:
        yield Checked.fine(_PLACE, "folder", f"{state} can be written")
    else:
        yield Checked(_PLACE, Severity.NOTE, "folder", f"{state} is not there yet; `enroll` and `run` make it")
    yield _disk(config, folder, file)


def _try_to_write(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.write(b"forebay")
        stream.flush()
        os.fsync(stream.fileno())


def _disk(config: AgentConfig, folder: Path, file: str) -> Checked:
    free = shutil.disk_usage(folder).free
    room = free - config.outbox.free_disk
    shown = f"{free / (1 << 30):.1f} GiB free on its disk"
    if room <= 0:
        failure = StateFolderUnusable(
            f"{shown}; `[outbox] free_disk` keeps {config.outbox.free_disk / (1 << 30):.1f} GiB free, so nothing can be taken",
            remedy="Free disk space, or lower `[outbox] free_disk`.",
        )
        return Checked.of_error(_PLACE, "disk", failure, file=file, key="outbox.free_disk")
    if room < config.outbox.cap:
        return Checked(
            _PLACE,
            Severity.WARNING,
            "disk",
            f"{shown}: less than `[outbox] cap` ({config.outbox.cap / (1 << 30):.1f} GiB) and `free_disk` together",
            "Give the outbox a larger disk, or lower `[outbox] cap`; capture waits when the disk runs short.",
            file=file,
            key="outbox.free_disk",
        )
    return Checked.fine(_PLACE, "disk", shown)
