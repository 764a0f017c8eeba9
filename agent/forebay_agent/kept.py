"""Small facts that outlive the process: JSON in the state folder, replaced as a whole, with a format and a checksum.

    {"format": 1, "content": {…}, "digest": SM3 of the content's canonical JSON, hexadecimal}

A file that cannot be read is never taken for one that is not there: what is kept here restrains the agent (pauses, what
the centre tightened), and to forget it would let more leave than it should.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from forebay_agent import durable
from forebay_agent.errors import StateFolderUnusable

FORMAT: Final = 1


def write(path: Path, content: dict[str, Any]) -> None:
    """Durable when it returns. Raises StateFolderUnusable."""
    told = {"format": FORMAT, "content": content, "digest": digest(content)}
    try:
        durable.write(path, json.dumps(told, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise StateFolderUnusable(f"{path} cannot be written: {error.strerror}") from None


def read(path: Path, *, without: str) -> dict[str, Any] | None:
    """The content; None when there is no file. without: what is forgotten when somebody removes the file, for the remedy.

    Raises StateFolderUnusable when it is there and cannot be read as it was written.
    """
    try:
        told = json.loads(path.read_bytes())
        newer = told["format"] > FORMAT
        content = told["content"]
        whole = isinstance(content, dict) and told["digest"] == digest(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFolderUnusable(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        newer = whole = False
        content = {}
    if newer:
        raise StateFolderUnusable(
            f"{path}: written by a newer forebay-agent", remedy="Install the newer forebay-agent again."
        )
    if not whole:
        raise StateFolderUnusable(
            f"{path} is damaged", remedy=f"Bring the file back from a copy, or remove it: {without}."
        )
    return dict(content)


def canonical(content: object) -> str:
    """One text for equal content."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def digest(content: object) -> str:
    """SM3 of the canonical text, hexadecimal."""
    return hashlib.new("sm3", canonical(content).encode("utf-8", "surrogatepass")).hexdigest()
