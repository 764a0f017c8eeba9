"""Asked: a key for which a certificate was asked on a disk, kept in the state folder until the answer comes.

Asked again, the same key is named, so that whichever answer comes back, to whichever of the files, fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forebay_agent import kept
from forebay_agent.enrollment import key_pem, new_key
from forebay_agent.errors import StateFolderUnusable
from forebay_agent.identity import UNREADABLE

ENROLMENT: Final = "enrolment.asked"
RENEWAL: Final = "renewal.asked"


@dataclass(frozen=True, slots=True)
class Asked:
    """about: what the answer is judged by."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    about: Mapping[str, Any]


def ask(state: Path, what: str, about: Mapping[str, Any]) -> Asked:
    """The key to ask with: the one that was asked with before when it was about the same, else a new one, durable.

    Raises StateFolderUnusable.
    """
    before = find(state, what)
    if before is not None and before.about == about:
        return before
    asked = Asked(new_key(), about)
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateFolderUnusable(f"{state} cannot be made: {error.strerror}") from None
    kept.write(state / what, {"key": key_pem(asked.key).decode("ascii"), "about": dict(about)})
    return asked


def find(state: Path, what: str) -> Asked | None:
    """None: nothing was asked, or it was answered. Raises StateFolderUnusable."""
    content = kept.read(state / what, without="the certificate is asked for anew")
    if content is None:
        return None
    try:
        key = serialization.load_pem_private_key(content["key"].encode("ascii"), None)
        return Asked(cast(ec.EllipticCurvePrivateKey, key), content["about"])
    except (*UNREADABLE, KeyError) as error:
        raise StateFolderUnusable(f"{state / what} is damaged", remedy="Remove it, and ask anew.") from error


def forget(state: Path, what: str) -> None:
    """It was answered, or is of no use any more. Raises StateFolderUnusable."""
    try:
        (state / what).unlink(missing_ok=True)
    except OSError as error:
        raise StateFolderUnusable(f"{state / what} cannot be removed: {error.strerror}") from None
