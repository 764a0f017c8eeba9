"""The agent's identity: `<state>/identity/` with `agent.key`, `agent.pem`, `authority.pem` and `identity.json`.

Key and certificate belong together, so the folder is replaced as a whole: a new one is made as `identity.new`, is whole
once its `identity.json` is there (written last), and then takes the name. A crash in between is completed by `load`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from forebay_agent import durable
from forebay_agent.errors import CertificateRefused, StateFolderUnusable

FOLDER: Final = "identity"
NEW_FOLDER: Final = "identity.new"
KEY_FILE: Final = "agent.key"
CERTIFICATE_FILE: Final = "agent.pem"
AUTHORITY_FILE: Final = "authority.pem"
NAMES_FILE: Final = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM as files hold it. addresses: the collectors that the token named."""

    agent: str
    department: str
    addresses: tuple[str, ...]
    key: bytes = field(repr=False)
    certificate: bytes
    authority: bytes
    folder: Path

    @property
    def expires_at(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    def check_dates(self, now: datetime | None = None) -> None:
        """Raises CertificateRefused when the certificate is not valid now."""
        now = now or datetime.now(UTC)
        certificate = x509.load_pem_x509_certificate(self.certificate)
        if now > certificate.not_valid_after_utc:
            raise CertificateRefused(
                f"the certificate of agent {self.agent} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
            )
        if now < certificate.not_valid_before_utc:
            raise CertificateRefused(
                f"the certificate of agent {self.agent} is valid only from"
                f" {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
                remedy="Set the appliance's clock right.",
            )


def load(state: Path) -> Identity:
    """The identity in the state folder. Raises CertificateRefused when there is none or it cannot be used."""
    folder = state / FOLDER
    try:
        _complete(state)
        names = json.loads((folder / NAMES_FILE).read_text("utf-8"))
        identity = Identity(
            str(names["agent"]),
            str(names["department"]),
            tuple(str(address) for address in names["addresses"]),
            (folder / KEY_FILE).read_bytes(),
            (folder / CERTIFICATE_FILE).read_bytes(),
            (folder / AUTHORITY_FILE).read_bytes(),
            folder,
        )
        x509.load_pem_x509_certificate(identity.certificate)
    except FileNotFoundError:
        raise CertificateRefused(
            f"{folder}: the agent is not enrolled", remedy="Enrol: `forebay-agent enroll TOKENFILE`."
        ) from None
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CertificateRefused(f"{folder}: the identity cannot be read") from None
    return identity


def prepare(state: Path, key: bytes) -> Path:
    """Begins a new identity with its private key, durably. -> its folder. Raises StateFolderUnusable."""
    folder = state / NEW_FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
        _complete(state)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        durable.write(folder / KEY_FILE, key)
        durable.sync_folder(state)
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None
    return folder


def finish(
    state: Path, *, agent: str, department: str, addresses: tuple[str, ...], certificate: bytes, authority: bytes
) -> Identity:
    """Puts a prepared identity, now with its certificate, in force. Raises StateFolderUnusable."""
    folder = state / NEW_FOLDER
    names = {"agent": agent, "department": department, "addresses": addresses}
    try:
        durable.write(folder / CERTIFICATE_FILE, certificate, mode=0o644)
        durable.write(folder / AUTHORITY_FILE, authority, mode=0o644)
        durable.write(folder / NAMES_FILE, json.dumps(names, ensure_ascii=False, indent=1).encode(), mode=0o644)
        _complete(state)
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None
    return load(state)


def _complete(state: Path) -> None:
    new, folder = state / NEW_FOLDER, state / FOLDER
    if not (new / NAMES_FILE).exists():
        return
    if folder.exists():
        shutil.rmtree(folder)
    new.rename(folder)
    durable.sync_folder(state)
