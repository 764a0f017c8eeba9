"""Every limit of the wire contract, in one place; both ends enforce them before they allocate."""

from __future__ import annotations

from typing import Final

MAX_ROWS: Final = 1_000_000
"""rows in one batch"""

MAX_PAYLOAD_BYTES: Final = 128 << 20
"""compressed payload of one batch"""

MAX_RAW_BYTES: Final = 512 << 20
"""Arrow message of one batch, decompressed"""

MAX_HEADER_BYTES: Final = 64 << 10
"""serialised BatchHeader"""

MAX_COLUMNS: Final = 2_000
"""columns of one table, those that every row carries included"""

MAX_NAME_BYTES: Final = 256
"""a department, source, schema, table or column name in UTF-8"""

MAX_SCHEMA_BYTES: Final = 4 << 20
"""serialised Arrow schema"""

MAX_DICTIONARY_BYTES: Final = 1 << 20
"""trained zstandard dictionary"""

MAX_POSITION_BYTES: Final = 8 << 10
"""one position in text"""

MAX_BOUND_BYTES: Final = 256
"""one bound of a key range in text"""

MAX_STREAMS: Final = 10_000
"""streams of one agent"""

PART_BYTES: Final = 1 << 20
"""payload in one BatchPart"""

MAX_MESSAGE_BYTES: Final = MAX_SCHEMA_BYTES + (1 << 20)
"""one gRPC message in either direction"""

WINDOW_BYTES: Final = 64 << 20
"""payload that an agent may have unacknowledged, unless the collector says otherwise"""
