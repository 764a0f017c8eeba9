"""What went wrong, as the loader must know it: whether trying again can help."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError
from sqlalchemy.exc import SQLAlchemyError

from forebay_collector.platform.contract import PlatformError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """Raises PlatformError for what the disk, the catalogue or Arrow raise inside; by type and errno, never by text."""
    try:
        yield
    except PlatformError:
        raise
    except FileNotFoundError as error:
        raise PlatformError(
            f"{where}: a file of the platform is missing: {error}", code="FB-PLATFORM-FILE-MISSING", permanent=False
        ) from error
    except OSError as error:
        code = "FB-PLATFORM-DISK-FULL" if error.errno in _FULL else "FB-PLATFORM-DISK"
        raise PlatformError(f"{where}: {error}", code=code, permanent=False) from error
    except (SQLAlchemyError, NoSuchTableError) as error:
        raise PlatformError(f"{where}: catalogue: {error}", code="FB-PLATFORM-CATALOGUE", permanent=False) from error
    except pa.ArrowException as error:
        raise PlatformError(
            f"{where}: a value does not fit the platform's column: {error}", code="FB-PLATFORM-VALUE", permanent=True
        ) from error
