from collections.abc import Sequence

BYTES: int
INT32: int
INT64: int
DECIMAL: int
DATE: int
TIMESTAMP: int

Kind = tuple[int, int, int]
Buffers = tuple[bytes | None, bytes | None, bytes]

class TextRows:
    def __init__(
        self,
        kinds: Sequence[Kind],
        sequence: int,
        max_rows: int = 50_000,
        max_bytes: int = ...,
        max_row_bytes: int = ...,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def full(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def error(self) -> bytes | None: ...
    @property
    def unfit(self) -> tuple[int, int] | None: ...
    def feed(self, buffer: bytearray, start: int, end: int) -> int: ...
    def take(self) -> list[Buffers]: ...
