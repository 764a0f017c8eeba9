"""What a client certificate says: agent (CN), department (O), and whether it is good for enrolment only (OU).

RFC 5280 bounds both names to 64 characters (`ub-common-name`, `ub-organization-name`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from forebay_collector.errors import IdentityRefused, NotPossible

SERVER_NAME: Final = "forebay-collector"
"""What every collector's certificate is valid for; agents ask for this name whatever address they dial."""
ENROLMENT: Final = "enrolment"
COMPLETENESS_NAME: Final = "forebay completeness"
"""Who signs certificates of completeness, and nothing else."""
LONGEST: Final = 64
UNREADABLE: Final = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What reading a certificate, or a request for one, raises of bytes that are none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The subject of a client certificate, its serial in lower-case hexadecimal, and its end (microseconds UTC)."""

    agent: str
    department: str
    serial: str
    enrolment: bool
    expires_at: int

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Identity:
        """Raises IdentityRefused when the subject is not one that this collector's authority gives out."""
        subject = certificate.subject
        agents = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        departments = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        if len(agents) != 1 or len(departments) != 1:
            raise IdentityRefused("certificate names no agent and department")
        enrolment = any(unit.value == ENROLMENT for unit in units)
        return cls(
            _text(agents[0]), _text(departments[0]), serial_text(certificate), enrolment, expires_at_us(certificate)
        )


def subject(agent: str, department: str, *, enrolment: bool = False) -> x509.Name:
    """The subject for these names. Raises NotPossible when they cannot stand in a certificate."""
    for what, name in (("agent", agent), ("department", department)):
        if not name or len(name) > LONGEST or name != name.strip() or "/" in name or not name.isprintable():
            raise NotPossible(
                f"{what} name {name!r} cannot be used",
                remedy=f"Give the {what} a name of 1 to {LONGEST} printable characters, without '/' and outer spaces.",
            )
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, department)]
    if enrolment:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ENROLMENT))
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, agent))
    return x509.Name(attributes)


def serial_text(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"


def expires_at_us(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp() * 1_000_000)


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
