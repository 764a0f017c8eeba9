"""Wall clocks that jump, forwards and backwards, by the preloaded library; monotonic clocks go on as they do."""

from __future__ import annotations

from typing import ClassVar, Final

from tests.faults.fault import Fault

_JUMPS_S: Final = (90, 3_600, 30 * 86_400)


class _Jump(Fault):
    way: ClassVar[int]

    def inject(self) -> None:
        self._before = self.member.shim.get("clocks_read")
        self._seconds = self.way * self.draw.choice(_JUMPS_S)
        self.member.shim.set("clock_offset", self._seconds)

    def struck(self) -> str:
        read = self.member.shim.get("clocks_read") - self._before
        return f"{self._seconds} s, read {read} times" if read else ""

    def heal(self) -> None:
        self.member.shim.set("clock_offset", 0)


class ClockForward(_Jump):
    name = "clock jumps forward"
    way = 1


class ClockBack(_Jump):
    name = "clock jumps back"
    way = -1


KINDS: Final = (ClockForward, ClockBack)
