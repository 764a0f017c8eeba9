"""Reading what may be damaged: text that is no UTF-8 any more must still be read, to be named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Text that is no UTF-8 any more is read all the same, as text that has another digest."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    driver.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = str
