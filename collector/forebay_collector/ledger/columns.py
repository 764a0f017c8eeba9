"""The kinds of columns that the ledger's tables are made of, as queries see them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

METADATA: Final = MetaData()
_SERIAL: Final = BigInteger().with_variant(Integer(), "sqlite")


def table(name: str, *columns: Column[object]) -> Table:
    return Table(name, METADATA, *columns)


def text(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, Text(), nullable=False, primary_key=key)


def number(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, BigInteger(), nullable=False, primary_key=key, autoincrement=False)


def content(name: str, *, key: bool = False) -> Column[object]:
    return Column(name, LargeBinary(), nullable=False, primary_key=key)


def serial(name: str) -> Column[object]:
    return Column(name, _SERIAL, primary_key=True, autoincrement=True)
