"""The wire contract: what an agent seals, the collector archives and the loader opens.

Read in this order: `stream` (names), `columns` (what a row carries beside its values), `schema` (how a table is
described once), `seal` (the batch), `key_range` (what a ranged snapshot covers), `codec` (its payload), `canary` (the
sign of life), `canonical` (digests of rows, for comparing), `limits`.
"""

__version__ = "0.1.0"

PROTOCOL = 1
"""The version of forebay.v1 that both ends say in their hello."""
