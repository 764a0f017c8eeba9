"""The ledger's tables as queries see them. What creates them stands in `migrations/`; a test compares the two."""

from __future__ import annotations

from typing import Final

from forebay_collector.ledger import account_tables, alert_tables, verify_tables  # noqa: F401  make METADATA whole
from forebay_collector.ledger.columns import METADATA
from forebay_collector.ledger.columns import content as _bytes
from forebay_collector.ledger.columns import number as _number
from forebay_collector.ledger.columns import serial as _serial
from forebay_collector.ledger.columns import table as _table
from forebay_collector.ledger.columns import text as _text

__all__ = ["METADATA"]

agent: Final = _table(
    "agent",
    _text("name", key=True),
    _text("department"),
    _text("serial"),
    _number("expires_at"),
    _number("enrolled_at"),
    _number("revoked_at"),
    _number("last_seen_at"),
    _text("version"),
    _text("hostname"),
    _text("instance"),
    _text("health"),
    _number("connected_since"),
    _number("heartbeat_ms"),
    _number("two_places_at"),
)

token: Final = _table(
    "token",
    _bytes("secret_sha256", key=True),
    _text("department"),
    _text("agent"),
    _number("created_at"),
    _text("created_by"),
    _number("expires_at"),
    _number("used_at"),
)

stream: Final = _table(
    "stream",
    _serial("id"),
    _text("department"),
    _text("source"),
    _text("table_name"),
    _text("agent"),
    _number("epoch"),
    _number("durable_seq"),
    _bytes("durable_chain"),
    _number("loaded_epoch"),
    _number("loaded_seq"),
    _text("held_code"),
    _text("held_reason"),
    _number("held_at"),
    _number("held_epoch"),
    _number("held_seq"),
)

schema: Final = _table(
    "schema",
    _number("stream_id", key=True),
    _bytes("fingerprint", key=True),
    _bytes("content"),
    _number("received_at"),
)

dictionary: Final = _table(
    "dictionary",
    _number("stream_id", key=True),
    _text("dictionary_id", key=True),
    _bytes("content"),
    _number("received_at"),
)

batch: Final = _table(
    "batch",
    _number("stream_id", key=True),
    _number("epoch", key=True),
    _number("seq", key=True),
    _bytes("header"),
    _number("row_count"),
    _number("reads"),
    _number("inserts"),
    _number("updates"),
    _number("deletes"),
    _number("bytes"),
    _text("first_position"),
    _text("last_position"),
    _number("first_committed_at"),
    _number("last_committed_at"),
    _number("captured_at"),
    _number("received_at"),
    _number("loaded_at"),
    _number("expired_at"),
    _number("snapshot"),
    _number("last_of_snapshot"),
    _text("state"),
    _text("code"),
    _text("reason"),
    _number("attempts"),
    _text("brought_by"),
    _bytes("digest"),
)

audit: Final = _table(
    "audit",
    _serial("id"),
    _number("at"),
    _text("who"),
    _text("action"),
    _text("subject"),
    _text("why"),
    _text("detail"),
    _text("department"),
    _bytes("previous"),
    _bytes("digest"),
)

command: Final = _table(
    "command",
    _text("id", key=True),
    _text("agent"),
    _text("kind"),
    _text("parameters"),
    _text("created_by"),
    _number("created_at"),
    _number("expires_at"),
    _text("state"),
    _text("code"),
    _text("reason"),
    _number("ended_at"),
    _text("why"),
    _text("effect"),
    _number("sent_at"),
)

command_part: Final = _table(
    "command_part",
    _text("command_id", key=True),
    _number("part", key=True),
    _bytes("content"),
)

proposal: Final = _table(
    "proposal",
    _text("department", key=True),
    _text("source", key=True),
    _text("table_name", key=True),
    _text("agent"),
    _text("columns"),
    _text("key_columns"),
    _text("mode"),
    _text("guarantee"),
    _text("update_cycle"),
    _text("code"),
    _text("reason"),
    _number("first_seen_at"),
    _number("changed_at"),
    _number("gone_at"),
    _text("closed"),
    _text("closed_by"),
    _number("closed_at"),
    _text("closed_why"),
    _number("revision"),
)

approval: Final = _table(
    "approval",
    _text("department", key=True),
    _text("source", key=True),
    _text("table_name", key=True),
    _text("column_name", key=True),
    _text("mask", key=True),
    _text("state"),
    _text("decided_by"),
    _number("decided_at"),
    _text("why"),
)

approval_state: Final = _table(
    "approval_state",
    _number("one", key=True),
    _text("mode"),
    _number("revision"),
)

approval_revision: Final = _table(
    "approval_revision",
    _text("agent", key=True),
    _number("revision"),
)

certificate: Final = _table(
    "certificate",
    _text("serial", key=True),
    _text("agent"),
    _number("issued_at"),
    _number("expires_at"),
    _number("ended_at"),
    _text("ended_by"),
)

audit_head: Final = _table(
    "audit_head",
    _number("one", key=True),
    _number("entries"),
    _bytes("digest"),
    _number("expired"),
    _bytes("anchor"),
)

agent_stream: Final = _table(
    "agent_stream",
    _text("agent", key=True),
    _text("stream", key=True),
    _text("code"),
    _text("state"),
    _number("reported_at"),
)

agent_place: Final = _table(
    "agent_place",
    _text("agent", key=True),
    _text("instance", key=True),
    _text("hostname", key=True),
    _text("peer"),
    _number("first_seen_at"),
    _number("last_seen_at"),
)

canary: Final = _table(
    "canary",
    _text("agent", key=True),
    _text("source", key=True),
    _text("kind"),
    _number("made_at"),
    _number("loaded_at"),
    _number("round_trip"),
    _text("code"),
    _text("reason"),
)

health_sample: Final = _table(
    "health_sample",
    _text("agent", key=True),
    _number("at", key=True),
    _number("cpu_permille"),
    _number("load_percent"),
    _number("memory_used_permille"),
    _number("disk_free"),
    _number("agent_rss"),
    _number("outbox_batches"),
    _number("outbox_bytes"),
    _number("clock_offset"),
    _number("streams_troubled"),
    _number("round_trip"),
)

rollout: Final = _table(
    "rollout",
    _serial("id"),
    _text("settings"),
    _text("created_by"),
    _number("created_at"),
    _text("why"),
    _number("trial"),
    _text("state"),
    _text("reason"),
    _number("healthy_since"),
    _number("ended_at"),
)

completeness: Final = _table(
    "completeness",
    _serial("id"),
    _text("department"),
    _text("day"),
    _number("issued_at"),
    _text("issued_by"),
    _number("tables"),
    _text("statement"),
    _bytes("content"),
)

offer: Final = _table(
    "offer",
    _text("agent", key=True),
    _number("revision", key=True),
    _number("rollout_id"),
    _number("is_first"),
    _text("state"),
    _text("reason"),
    _text("troubles"),
    _text("command_id"),
    _number("sent_at"),
    _number("decided_at"),
    _text("configuration"),
)

verification: Final = _table(
    "verification",
    _serial("id"),
    _number("stream_id"),
    _text("asked_by"),
    _text("via"),
    _text("why"),
    _number("asked_at"),
    _number("started_at"),
    _number("touched_at"),
    _number("ended_at"),
    _text("state"),
    _text("progress"),
    _text("code"),
    _text("reason"),
    _text("remedy"),
    _text("result"),
)
