"""Names of streams as people type them."""

from __future__ import annotations

import argparse

from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName


def stream_name(text: str) -> StreamName:
    """`department/source/schema.table`. Raises ArgumentTypeError."""
    try:
        return StreamName.parse(text)
    except WireError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
