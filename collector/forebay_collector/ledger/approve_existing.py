"""What was received before there were approvals is approved as it is: every column of every schema that the ledger holds.

Part of migration 4: it needs what stands in the schemas, which SQL cannot read.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from forebay_collector.ledger import proposal_rows as rows
from forebay_collector.ledger import tables
from forebay_collector.ledger.proposals import MIGRATION, Column, Decided, ProposalRecord, State
from forebay_wire.schema import MASK, ORIGIN, TableSchema
from forebay_wire.stream import StreamName

_WHY = "it was received before there were approvals"


def approve_existing(connection: Connection) -> None:
    """A proposal for every stream, as its newest schema has it, and approvals of all columns, under all masks they had."""
    streams = connection.execute(select(tables.stream)).mappings().all()
    for row in streams:
        stream = StreamName(row["department"], row["source"], row["table_name"])
        received = tables.schema.c.received_at
        query = select(tables.schema.c.content, tables.schema.c.fingerprint, received)
        schemas = connection.execute(query.where(tables.schema.c.stream_id == row["id"]).order_by(received)).all()
        if not schemas:
            continue
        described = [TableSchema.parse(content, fingerprint) for content, fingerprint, _ in schemas]
        last = described[-1]
        proposal = ProposalRecord(
            stream, row["agent"], tuple(_columns(last)), last.key, "", "", "", "", "", 0, 0, 0, Decided()
        )
        rows.put(connection, proposal, None, schemas[-1].received_at)
        had = {(column.name, column.mask): column for schema in described for column in _columns(schema)}
        rows.decide(connection, stream, had.values(), State.APPROVED, MIGRATION, _WHY, schemas[-1].received_at)
        rows.next_revision(connection, [stream], [row["agent"]], schemas[-1].received_at)


def _columns(schema: TableSchema) -> Iterator[Column]:
    for field in schema.columns:
        said = field.metadata or {}
        yield Column(field.name, said.get(ORIGIN, b"").decode(), str(field.type), said.get(MASK, b"").decode())
