"""The table of faults: one file for each family, all of them in `FAULTS`."""

from __future__ import annotations

from typing import Final

from tests.faults.fault import Fault
from tests.faults.kinds import clocks, damage, databases, identity, links, logs, messages, processes, recovery, storage

_FAMILIES: Final = (processes, links, messages, storage, clocks, databases, logs, identity, damage, recovery)

FAULTS: Final[dict[str, type[Fault]]] = {kind.name: kind for family in _FAMILIES for kind in family.KINDS}
