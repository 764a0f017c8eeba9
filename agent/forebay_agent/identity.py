"""The agent's identity: `<state>/identity/` with `agent.key`, `agent.pem`, `authority.pem` and `identity.json`.

Key and certificate belong together, so the folder is replaced as a whole.

    enrolment   made as `identity.new`, which is whole once its `identity.json` is there (written last), and then takes the
                name
    renewal     made under another name and renamed to `identity.next`, so that this one is always whole; it is kept beside
                the one in force until a collector has confirmed it, and then takes its place by two renames

A crash in between is completed by `load`: at every moment there is an identity in one piece.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from forebay_agent import durable
from forebay_agent.errors import CertificateRefused, StateFolderUnusable

FOLDER: Final = "identity"
NEW_FOLDER: Final = "identity.new"
NEXT_FOLDER: Final = "identity.next"
OLD_FOLDER: Final = "identity.old"
KEY_FILE: Final = "agent.key"
CERTIFICATE_FILE: Final = "agent.pem"
AUTHORITY_FILE: Final = "authority.pem"
NAMES_FILE: Final = "identity.json"
LOCK_FILE: Final = ".identity.lock"
UNREADABLE: Final = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What reading a certificate raises of bytes that are none."""
_UNFINISHED: Final = ".identity.next.new"

_threads = threading.Lock()


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

    @property
    def serial(self) -> str:
        """The certificate's, in lower-case hexadecimal, as the centre has it."""
        return f"{x509.load_pem_x509_certificate(self.certificate).serial_number:x}"

    @property
    def life(self) -> timedelta:
        """From the certificate's first moment to its last."""
        certificate = x509.load_pem_x509_certificate(self.certificate)
        return certificate.not_valid_after_utc - certificate.not_valid_before_utc

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
        with _alone(state):
            _complete(state)
            return _read(folder)
    except FileNotFoundError:
        raise CertificateRefused(
            f"{folder}: the agent is not enrolled", remedy="Enrol: `forebay-agent enroll TOKENFILE`."
        ) from None
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None
    except (*UNREADABLE, KeyError):
        raise CertificateRefused(f"{folder}: the identity cannot be read") from None


def load_next(state: Path) -> Identity | None:
    """The renewed identity that no collector has confirmed yet; None when there is none, or it cannot be used."""
    try:
        with _alone(state):
            _complete(state)
            return _read(state / NEXT_FOLDER)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFolderUnusable(f"{state / NEXT_FOLDER}: {error.strerror}") from None
    except (*UNREADABLE, KeyError):
        return None


def prepare(state: Path, key: bytes) -> Path:
    """Begins a new identity with its private key, durably. -> its folder. Raises StateFolderUnusable."""
    folder = state / NEW_FOLDER
    try:
        state.mkdir(parents=True, exist_ok=True)
        with _alone(state):
            _complete(state)
            _begin(folder, key)
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
        with _alone(state):
            _write(folder, certificate, authority, names)
            _complete(state)
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None
    return load(state)


def keep_next(state: Path, own: Identity, *, key: bytes, certificate: bytes, authority: bytes) -> Identity:
    """Keeps a renewed identity beside the one in force; one that was kept before goes. Raises StateFolderUnusable."""
    folder, unfinished = state / NEXT_FOLDER, state / _UNFINISHED
    names = {"agent": own.agent, "department": own.department, "addresses": own.addresses}
    try:
        with _alone(state):
            _complete(state)
            _begin(unfinished, key)
            _write(unfinished, certificate, authority, names)
            if folder.exists():
                shutil.rmtree(folder)
            unfinished.rename(folder)
            durable.sync_folder(state)
            return _read(folder)
    except OSError as error:
        raise StateFolderUnusable(f"{folder}: {error.strerror}") from None


def discard_next(state: Path) -> None:
    """The renewed identity is good for nothing. Raises StateFolderUnusable."""
    try:
        with _alone(state):
            if (state / NEXT_FOLDER).exists():
                shutil.rmtree(state / NEXT_FOLDER)
                durable.sync_folder(state)
    except OSError as error:
        raise StateFolderUnusable(f"{state / NEXT_FOLDER}: {error.strerror}") from None


def promote(state: Path) -> Identity:
    """Puts the renewed identity in the place of the one in force. Raises StateFolderUnusable."""
    try:
        with _alone(state):
            _complete(state)
            if (state / NEXT_FOLDER).exists():
                (state / FOLDER).rename(state / OLD_FOLDER)
                durable.sync_folder(state)
            _complete(state)
    except OSError as error:
        raise StateFolderUnusable(f"{state / NEXT_FOLDER}: {error.strerror}") from None
    return load(state)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Folders are read and replaced by one thread of one process at a time. Who may not lock may not replace them either."""
    with _threads:
        try:
            descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _complete(state: Path) -> None:
    """Goes on where a crash has left off."""
    new, folder, following, old = (state / name for name in (NEW_FOLDER, FOLDER, NEXT_FOLDER, OLD_FOLDER))
    if (new / NAMES_FILE).exists():
        for replaced in (following, folder):  # a new enrolment overtakes a renewal
            if replaced.exists():
                shutil.rmtree(replaced)
        new.rename(folder)
        durable.sync_folder(state)
    if old.exists():
        if not folder.exists():
            (following if following.exists() else old).rename(folder)
            durable.sync_folder(state)
        shutil.rmtree(old, ignore_errors=True)


def _begin(folder: Path, key: bytes) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    durable.write(folder / KEY_FILE, key)
    durable.sync_folder(folder.parent)


def _write(folder: Path, certificate: bytes, authority: bytes, names: Mapping[str, object]) -> None:
    durable.write(folder / CERTIFICATE_FILE, certificate, mode=0o644)
    durable.write(folder / AUTHORITY_FILE, authority, mode=0o644)
    durable.write(folder / NAMES_FILE, json.dumps(names, ensure_ascii=False, indent=1).encode(), mode=0o644)


def _read(folder: Path) -> Identity:
    """Raises FileNotFoundError, OSError; KeyError or one of UNREADABLE when it cannot be used."""
    names = json.loads((folder / NAMES_FILE).read_text("utf-8"))
    read = Identity(
        str(names["agent"]),
        str(names["department"]),
        tuple(str(address) for address in names["addresses"]),
        (folder / KEY_FILE).read_bytes(),
        (folder / CERTIFICATE_FILE).read_bytes(),
        (folder / AUTHORITY_FILE).read_bytes(),
        folder,
    )
    x509.load_pem_x509_certificate(read.certificate)
    return read
