"""Certificates and tokens: what they say, how long they live, and that secrets stay secret."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from forebay_collector.errors import DataFolderUnusable, IdentityRefused, NotPossible, TokenRefused
from forebay_collector.identity.authority import Authority, host_of, new_key
from forebay_collector.identity.names import Identity
from forebay_collector.identity.server import (
    RENEW_BEFORE,
    ServerCredentials,
    load_server_certificate,
    renew_server_certificate,
)
from forebay_collector.identity.token import PREFIX, Token, hash_secret, make_token
from forebay_collector.ledger import Ledger


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path)


def request(key: object = None, name: str = "somebody else") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = key or new_key()
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(signing, algorithm)  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.DER)


def test_the_authoritys_key_is_for_its_owner_only(authority: Authority, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "authority.key").stat().st_mode) == 0o600
    basic = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert authority.certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=3650)
    assert Authority.load(tmp_path).certificate == authority.certificate


def test_half_an_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Authority.create(other)
    (tmp_path / "authority.key").write_bytes((other / "authority.key").read_bytes())
    with pytest.raises(DataFolderUnusable):
        Authority.load(tmp_path)
    (tmp_path / "authority.key").unlink()
    with pytest.raises(DataFolderUnusable):
        Authority.load(tmp_path)


def test_an_agents_names_come_from_us_and_not_from_its_request(authority: Authority) -> None:
    certificate = authority.agent_certificate(request(name="admin"), "scjg-01", "市监局")
    certificate.verify_directly_issued_by(authority.certificate)
    identity = Identity.of(certificate)
    assert (identity.agent, identity.department, identity.enrolment) == ("scjg-01", "市监局", False)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    life = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=397) < life <= timedelta(days=398)


def test_a_request_that_its_own_key_did_not_sign_is_refused(authority: Authority) -> None:
    forged = bytearray(request())
    forged[-1] ^= 1
    with pytest.raises(IdentityRefused):
        authority.agent_certificate(bytes(forged), "a", "d")
    with pytest.raises(IdentityRefused):
        authority.agent_certificate(b"no request", "a", "d")


def test_weak_or_unknown_keys_are_refused(authority: Authority) -> None:
    for key in (rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()):
        with pytest.raises(IdentityRefused):
            authority.agent_certificate(request(key), "a", "d")
    for good in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        authority.agent_certificate(request(good), "a", "d")


@pytest.mark.parametrize("name", ["", "a" * 65, "a/b", " a", "a\nb", "a\x00"])
def test_names_that_cannot_stand_in_a_certificate_are_refused(authority: Authority, name: str) -> None:
    with pytest.raises(NotPossible):
        authority.agent_certificate(request(), name, "d")
    with pytest.raises(NotPossible):
        authority.agent_certificate(request(), "a", name)


def test_the_server_is_valid_for_its_name_and_its_addresses(authority: Authority) -> None:
    certificate, _ = authority.server_certificate(["collector.city.example:7443", "10.0.0.5:7443", "[2001:db8::5]:1"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["forebay-collector", "collector.city.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.5", "2001:db8::5"]


def test_the_host_of_an_address() -> None:
    hosts = ["a", "a:1", "10.0.0.5:1", "[2001:db8::5]:1", "2001:db8::5"]
    assert [host_of(host) for host in hosts] == ["a", "a", "10.0.0.5", "2001:db8::5", "2001:db8::5"]


def test_the_server_certificate_is_renewed_when_its_time_is_near(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_collector.identity.authority.SERVER_LIFE", RENEW_BEFORE - timedelta(days=1))
    short = renew_server_certificate(tmp_path, authority, ["a"])
    monkeypatch.undo()
    ServerCredentials(tmp_path, authority, ["a"])
    renewed = load_server_certificate(tmp_path)
    assert renewed.expires > short.expires + timedelta(days=300)
    ServerCredentials(tmp_path, authority, ["a"])
    assert load_server_certificate(tmp_path) == renewed


def test_a_token_says_all_an_agent_needs_and_the_ledger_keeps_only_a_hash(authority: Authority, tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    token = make_token(ledger, authority, agent="a1", department="市监局", addresses=["h:1"], who="root")
    text = token.to_text()
    assert text.startswith(PREFIX)
    assert Token.from_text(f" {text}\n") == token
    assert token.secret not in repr(token)
    assert token.key not in repr(token)
    kept = ledger.tokens.find(hash_secret(token.secret))
    assert kept is not None
    assert (kept.agent, kept.department, kept.used_at, kept.created_by) == ("a1", "市监局", 0, "root")
    ledger.close()
    for path in tmp_path.glob("ledger.db*"):
        assert token.secret.encode() not in path.read_bytes()
    bootstrap = x509.load_pem_x509_certificate(token.certificate.encode())
    assert Identity.of(bootstrap).enrolment
    assert abs(bootstrap.not_valid_after_utc.timestamp() * 1e6 - token.expires_at) < 1_000_001


@pytest.mark.parametrize("text", ["", "fbt1.", "fbt1.!!!", "fbt1.e30", "fbt1." + "A" * 50])
def test_what_is_not_a_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        Token.from_text(text)
    assert text == "" or text not in str(refused.value)
