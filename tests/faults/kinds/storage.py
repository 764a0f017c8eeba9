"""Disks that are full, fail, or lose their power.

Full and without power are real: each member has an ext4 of its own in a loop device. Failing writes and fsyncs come from
the preloaded library of `shim.c`, for want of dm-flakey: the calls return EIO and do nothing.
"""

from __future__ import annotations

import signal
from typing import ClassVar, Final

from tests.faults.fault import Fault


class DiskFull(Fault):
    """Not a byte is left on the member's disk."""

    name = "disk full"

    def inject(self) -> None:
        self._before = self.member.shim.get("no_room")
        self.member.disk.fill()

    def struck(self) -> str:
        refused = self.member.shim.get("no_room") - self._before
        return f"{refused} writes found no room" if refused else ""

    def heal(self) -> None:
        self.member.disk.free()


class _Failing(Fault):
    """switch, counter: of the preloaded library."""

    switch: ClassVar[str]
    counter: ClassVar[str]

    def inject(self) -> None:
        self._before = self.member.shim.get(self.counter)
        self.member.shim.set(self.switch, 1)

    def struck(self) -> str:
        failed = self.member.shim.get(self.counter) - self._before
        return f"{failed} calls failed" if failed else ""

    def heal(self) -> None:
        self.member.shim.set(self.switch, 0)


class WriteFails(_Failing):
    """Every write to the member's disk returns EIO."""

    name = "EIO"
    switch, counter = "write_fails", "writes_failed"


class FsyncFails(_Failing):
    """Every fsync and fdatasync of the member's disk returns EIO, and syncs nothing."""

    name = "failed fsync"
    switch, counter = "fsync_fails", "fsyncs_failed"


class PowerCut(Fault):
    """What was not synced is gone. The process never hears of it: it is frozen before, and killed after."""

    name = "power cut"

    def inject(self) -> None:
        frozen = self.member.signal(signal.SIGSTOP)
        self.member.disk.cut_power()
        self.member.kill()
        self._proof = "ext4 shut down under the running process" if frozen else ""

    def struck(self) -> str:
        return self._proof

    def heal(self) -> None:
        self.member.disk.power_up()
        self.member.start()


KINDS: Final = (DiskFull, WriteFails, FsyncFails, PowerCut)
