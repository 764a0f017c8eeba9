"""Renewing without a line: the same steps as `renewal.py` makes on one, each carried by the file that goes that way.

export        asks, when it is time to           acknowledge   keeps the certificate as `identity.next`
next export   is sealed with it: that confirms   acknowledge   hears that it is in force, and lets the old one go
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from forebay_agent import asked, enrollment, identity
from forebay_agent.errors import CertificateRefused
from forebay_agent.ferry.seal import check_issued
from forebay_agent.identity import Identity
from forebay_agent.renewal import check_given, is_due
from forebay_wire.v1 import enroll_pb2, ferry_pb2


def sealing(state: Path, own: Identity, now: datetime) -> Identity:
    """Which identity seals what is carried now: a renewed one that is not confirmed yet, for that confirms it.

    Raises CertificateRefused when the certificate is over; StateFolderUnusable.
    """
    following = identity.load_next(state)
    if following is not None and following.expires_at > now:
        return following
    try:
        own.check_dates(now)
    except CertificateRefused as error:
        remedy = error.remedy or "Enrol again with a new token: `forebay-agent enroll TOKENFILE --export DIR`."
        raise CertificateRefused(str(error), remedy=remedy) from None
    return own


def prepare(state: Path, own: Identity, now: datetime) -> None:
    """Makes the key that the next export asks a certificate for, when it is time to renew. As who owns the state folder.

    Raises StateFolderUnusable.
    """
    following = identity.load_next(state)
    if following is not None and following.expires_at <= now:
        identity.discard_next(state)
        following = None
    if following is None and is_due(own, now):
        asked.ask(state, asked.RENEWAL, {"present": own.serial})
    elif following is None:
        asked.forget(state, asked.RENEWAL)


def request(state: Path, own: Identity) -> enroll_pb2.RenewRequest | None:
    """What asks for it; None when nothing is to be asked, or it was given and waits to be confirmed. Raises
    StateFolderUnusable."""
    waiting = asked.find(state, asked.RENEWAL)
    if waiting is None or waiting.about != {"present": own.serial} or identity.load_next(state) is not None:
        return None
    key = waiting.key
    return enroll_pb2.RenewRequest(signing_request=enrollment.signing_request(own.agent, own.department, key))


def take(response: enroll_pb2.RenewResponse, state: Path) -> Iterator[str]:
    """Keeps the certificate that was asked for. One that nobody waits for any more is left.

    Raises CertificateRefused when it is for another key or agent; StateFolderUnusable.
    """
    own = identity.load(state)
    waiting = asked.find(state, asked.RENEWAL)
    if waiting is None or waiting.about != {"present": own.serial}:
        return
    check_given(response.certificate, own, waiting.key)
    check_issued(response.certificate, own.authority)
    following = identity.keep_next(
        state,
        own,
        key=enrollment.key_pem(waiting.key),
        certificate=response.certificate,
        authority=own.authority,
    )
    yield (
        f"a renewed certificate, good until {following.expires_at:%Y-%m-%d %H:%M} UTC: the next export is sealed with it, "
        "which confirms it"
    )


def settle(in_force: str, state: Path) -> Iterator[str]:
    """in_force: the serial of the certificate that is in force at the centre. Raises StateFolderUnusable."""
    following = identity.load_next(state)
    if following is None or following.serial != in_force:
        return
    own = identity.promote(state)
    asked.forget(state, asked.RENEWAL)
    yield f"the renewed certificate is in force, until {own.expires_at:%Y-%m-%d %H:%M} UTC"


def refused(message: ferry_pb2.FerryRefused, state: Path) -> CertificateRefused | None:
    """Why the centre takes nothing that the certificate in use seals; None when it speaks of another one. A renewed one that
    it refuses is good for nothing: the one before goes on, and asks anew. Raises StateFolderUnusable."""
    own, following = identity.load(state), identity.load_next(state)
    reason = f"{message.code}: {message.reason}"
    if following is not None and following.serial == message.serial:
        identity.discard_next(state)
        return CertificateRefused(reason, remedy="Export again: the certificate before goes on, and asks for another.")
    return CertificateRefused(reason) if own.serial == message.serial else None
