"""Links between a department and the centre that break, break in one direction, or are slow and lossy.

The kernel does it: nftables drops packets, `tc tbf` holds them to a rate behind a short queue.
"""

from __future__ import annotations

from typing import Final

from tests.faults.fault import AGENTS, Fault


class Partition(Fault):
    """No packet passes, in either direction."""

    name = "partition"
    on = AGENTS

    def inject(self) -> None:
        self.fleet.network.add(self.place, "up", "down")

    def struck(self) -> str:
        packets = self.fleet.network.packets(self.place, "up", "down")
        return f"{packets} packets dropped" if packets else ""

    def heal(self) -> None:
        self.fleet.network.remove(self.place, "up", "down")


class OneWayPartition(Fault):
    """Packets pass in one direction only."""

    name = "one-way partition"
    on = AGENTS

    def inject(self) -> None:
        self._way = self.draw.choice(("up", "down"))
        self.fleet.network.add(self.place, self._way)

    def struck(self) -> str:
        packets = self.fleet.network.packets(self.place, self._way)
        return f"{packets} packets on the way {self._way} dropped" if packets else ""

    def heal(self) -> None:
        self.fleet.network.remove(self.place, self._way)


class SlowLossy(Fault):
    """15 of 100 packets are lost, the rest pass at a modem's rate."""

    name = "slow and lossy link"
    on = AGENTS

    def inject(self) -> None:
        self.fleet.network.slow(self.place, self.draw.choice(("64kbit", "256kbit")))
        self.fleet.network.add(self.place, "lossy")

    def struck(self) -> str:
        lost = self.fleet.network.packets(self.place, "lossy")
        held = self.fleet.network.overlimits(self.place)
        return f"{lost} packets lost, {held} held up" if lost and held else ""

    def heal(self) -> None:
        self.fleet.network.remove(self.place, "lossy")
        self.fleet.network.quick(self.place)


KINDS: Final = (Partition, OneWayPartition, SlowLossy)
