"""The libpq that psycopg has loaded: addresses of the few functions that psycopg does not offer, or not fast enough.

`PQgetCopyData` gives one row at a time; asked for through psycopg, each row is a Python object. `PQsetErrorVerbosity`
makes libpq tell the SQLSTATE of a refused connection, which it tells in no other way.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any, cast

from psycopg import pq

VERBOSE = 2
"""PQERRORS_VERBOSE: messages begin with their SQLSTATE"""
DEFAULT = 1
"""PQERRORS_DEFAULT"""


@functools.cache
def _library() -> ctypes.CDLL:
    # a handle of the extension module also finds the functions of the libpq that it is linked with
    module = sys.modules[pq.PGconn.__module__]
    return ctypes.CDLL(module.__file__)


@functools.cache
def copy_functions() -> tuple[int, int, int, int]:
    """What `CopyDecoder.drain` asks for."""
    get_copy_data, free_memory, consume_input, socket = (
        ctypes.cast(getattr(_library(), name), ctypes.c_void_p).value or 0
        for name in ("PQgetCopyData", "PQfreemem", "PQconsumeInput", "PQsocket")
    )
    return get_copy_data, free_memory, consume_input, socket


def address(pgconn: pq.abc.PGconn) -> int:
    """Where libpq's PGconn is; 0 when the connection is closed."""
    return cast("Any", pgconn).pgconn_ptr or 0


def set_verbosity(pgconn: pq.abc.PGconn, verbosity: int) -> None:
    _library().PQsetErrorVerbosity(ctypes.c_void_p(address(pgconn)), ctypes.c_int(verbosity))
