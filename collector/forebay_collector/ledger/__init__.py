"""The ledger: the collector's SQL record of every agent, stream and batch, and of everything done to them.

One home for each durable fact: what is durable, what is loaded, what is held and why, who may come in, who did what.
`Ledger` puts the nouns together, one file each; `records.py` has what they return; `database.py` the transactions;
`migrations/` the tables. A stream's marks only ever advance: every update of them says so in its WHERE clause.
"""

from forebay_collector.ledger.database import Database, now_us
from forebay_collector.ledger.ledger import Ledger
from forebay_collector.ledger.records import (
    AgentRecord,
    Arrival,
    AuditRecord,
    BatchRecord,
    BatchState,
    Hold,
    StreamRecord,
    TokenRecord,
)

__all__ = [
    "AgentRecord",
    "Arrival",
    "AuditRecord",
    "BatchRecord",
    "BatchState",
    "Database",
    "Hold",
    "Ledger",
    "StreamRecord",
    "TokenRecord",
    "now_us",
]
