"""Enrolling without a line: the same request as on one, sealed with the certificate inside the token, and its answer.

    request   the key is made and kept in the state folder; a file with the token's secret and the signing request goes out
    take      the centre's answer: the certificate, which comes into force with that key, or why there is none

Whoever holds the file can do what whoever holds the token can, until the centre has taken one of the two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from forebay_agent import asked, enrollment, identity
from forebay_agent.asked import Asked
from forebay_agent.clock import Clock
from forebay_agent.enrollment import Token
from forebay_agent.errors import CertificateRefused, FerryUnusable
from forebay_agent.ferry.seal import answers, check_issued, opened, signing
from forebay_agent.identity import UNREADABLE, Identity
from forebay_wire.ferry import SUFFIX, FerryWriter
from forebay_wire.v1 import enroll_pb2, ferry_pb2

REQUEST: Final = "enroll-"
"""what the names of requests begin with"""


def ask(token: Token, state: Path, addresses: tuple[str, ...] = ()) -> Asked:
    """Makes and keeps the key, and what the answer is judged by. With one token, always the same. As who owns the state
    folder. addresses: in place of the token's, should a line come. Raises StateFolderUnusable."""
    about = {
        "agent": token.agent,
        "department": token.department,
        "addresses": list(addresses or token.addresses),
        "authority": token.authority,
        "token": hashlib.sha256(token.secret.encode()).hexdigest(),
    }
    return asked.ask(state, asked.ENROLMENT, about)


def request(token: Token, waiting: Asked, folder: Path, clock: Clock) -> Path:
    """Writes the file. Raises FerryUnusable; CertificateRefused when the token's own certificate cannot be used."""
    try:
        sign = signing(token.key.encode())
    except UNREADABLE:
        raise CertificateRefused("the token is damaged", remedy=enrollment.ASK_ANEW) from None
    signing_request = enrollment.signing_request(token.agent, token.department, waiting.key)
    path = folder / f"{REQUEST}{token.agent}{SUFFIX}"
    head = ferry_pb2.FerryHead(agent=token.agent, department=token.department, made_at_us=clock.now_us())
    try:
        writer = FerryWriter(path, head)
        try:
            writer.add(ferry_pb2.FerryRecord(enroll=enrollment.request_of(token, signing_request)))
            writer.seal(token.certificate.encode(), sign)
        finally:
            writer.give_up()
    except OSError as error:
        raise FerryUnusable(f"{folder}: cannot be written: {error.strerror}") from None
    return path


@dataclass(frozen=True, slots=True)
class _Found:
    """What the answers in a folder say. unusable: of those that cannot be used, the newest."""

    given: enroll_pb2.EnrollResponse | None = None
    refused: ferry_pb2.FerryRefused | None = None
    unusable: FerryUnusable | None = None


def take(state: Path, folder: Path) -> Identity:
    """Puts the certificate in force that an answer in the folder brings.

    Raises:
        FerryUnusable: there is no answer, or it is damaged, for another agent, or from another centre than the token's.
        CertificateRefused: nothing was asked; the centre refuses the token; the certificate is not the one that was asked for.
        StateFolderUnusable: the identity cannot be written.
    """
    waiting = asked.find(state, asked.ENROLMENT)
    if waiting is None:
        raise CertificateRefused(
            "no enrolment waits for an answer: it was taken, or nothing was asked",
            remedy="`forebay-agent status` shows the certificate; ask with `forebay-agent enroll TOKENFILE --export DIR`.",
        )
    found = _look(folder, waiting)
    if found.given is not None:
        own = _put_in_force(state, found.given, waiting)
        asked.forget(state, asked.ENROLMENT)
        enrollment.forget_refusal(state)
        return own
    if found.refused is not None:
        error = CertificateRefused(f"{found.refused.code}: {found.refused.reason}", remedy=enrollment.ASK_ANEW)
        enrollment.note_refusal(state, error)
        raise error
    raise found.unusable or FerryUnusable(
        f"{folder}: no answer to the enrolment", remedy="`forebay-collector import` leaves it there."
    )


def _look(folder: Path, waiting: Asked) -> _Found:
    """A certificate for this key counts before a refusal, which may be of a later try with the same token."""
    given, refused, unusable = None, None, None
    for path in answers(folder):
        try:
            for record in opened(path, waiting.about["agent"], waiting.about["authority"].encode()).records():
                if record.HasField("enrolled") and (given is None or _fits(record.enrolled, waiting)):
                    given = record.enrolled
                elif record.HasField("refused") and not record.refused.serial:
                    refused = record.refused
        except FerryUnusable as error:
            unusable = error
    return _Found(given, refused, unusable)


def _fits(given: enroll_pb2.EnrollResponse, waiting: Asked) -> bool:
    try:
        return x509.load_pem_x509_certificate(given.certificate).public_key() == waiting.key.public_key()
    except UNREADABLE:
        return False


def _put_in_force(state: Path, given: enroll_pb2.EnrollResponse, waiting: Asked) -> Identity:
    about = waiting.about
    if (given.agent, given.department) != (about["agent"], about["department"]):
        raise CertificateRefused(f"the answer is for agent {given.agent} of department {given.department}")
    authority = about["authority"].encode()
    check_issued(given.certificate, authority)
    if not _fits(given, waiting):
        raise CertificateRefused(
            "the answer is to another request than the last",
            remedy="Ask the centre for a new token, and ask anew with it.",
        )
    identity.prepare(state, enrollment.key_pem(waiting.key))
    own = identity.finish(
        state,
        agent=given.agent,
        department=given.department,
        addresses=tuple(about["addresses"]),
        certificate=given.certificate,
        authority=authority,
    )
    own.check_dates()
    return own
