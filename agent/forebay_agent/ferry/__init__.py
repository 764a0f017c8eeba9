"""Ferry: what goes on a disk, where no line leads to the centre, and what the centre answered.

    outbox, proposals ── export ──> files, sealed with the agent's key ── carried ──> `forebay-collector import`
    outbox, approvals <── acknowledge ── the answer, sealed with the collector's key ── carried back ──┘

Nothing leaves the outbox by being exported: only what the answer says is durable is deleted, as on a line. A batch may go
both ways, or twice: the collector takes it once. `enrolling` is how it begins, `renewing` how it does not end.
"""

from forebay_agent.ferry.acknowledge import Acknowledged, Taken, acknowledge
from forebay_agent.ferry.export import Exported, export

__all__ = ["Acknowledged", "Exported", "Taken", "acknowledge", "export"]
