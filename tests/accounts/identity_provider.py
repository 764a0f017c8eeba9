"""A small OpenID Connect provider on loopback: real HTTP, real RS256, code flow with PKCE, and any lie that a test tells.

It checks what a provider checks: client, secret, redirect address, that a code is used once, and PKCE. The tokens are
signed with `cryptography` alone, so that they are an independent oracle of what the console's client accepts.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

Json = dict[str, Any]
CLIENT: Final = "forebay-console"
SECRET: Final = "client secret / with + signs"


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@functools.cache
def private_key(which: str) -> rsa.RSAPrivateKey:
    """One of the few keys that a test run makes: each takes a while."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


class Key:
    """An RSA key with its id; `which`: another key under the same id."""

    def __init__(self, kid: str, which: str = "") -> None:
        self.kid = kid
        self.private = private_key(which or kid)

    def public(self) -> Json:
        numbers = self.private.public_key().public_numbers()
        size = (numbers.n.bit_length() + 7) // 8
        modulus, exponent = b64(numbers.n.to_bytes(size, "big")), b64(numbers.e.to_bytes(3, "big"))
        return {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256", "n": modulus, "e": exponent}

    def signed(self, claims: Json, header: Json | None = None) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": self.kid} | (header or {})
        content = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{content}.{b64(self.private.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class IdentityProvider:
    """user: the claims of whoever logs in. tell_claims, tell_token, tell: what a test makes of the ID token's claims, of the token
    itself, and of any answer by its path; secret: "" for a public client."""

    def __init__(self, port_of: ThreadingHTTPServer) -> None:
        self.issuer = f"http://127.0.0.1:{port_of.server_port}/realm"
        self.key = Key("k1")
        self.published = [self.key.public()]
        self.secret = SECRET
        self.user: Json = {"sub": "248289761001", "preferred_username": "Zhang", "groups": ["ops"]}
        self.user_info: Json = {}
        self.tell_claims: Callable[[Json], Json] = lambda claims: claims
        self.tell_token: Callable[[Json], str] = lambda claims: self.key.signed(claims)
        self.tell: dict[str, tuple[int, bytes]] = {}
        self.metadata: Json = {}
        self.asked: list[str] = []
        self._codes: dict[str, Json] = {}

    def about(self) -> Json:
        here = self.issuer
        return {
            "issuer": here,
            "authorization_endpoint": f"{here}/authorize",
            "token_endpoint": f"{here}/token",
            "userinfo_endpoint": f"{here}/userinfo",
            "jwks_uri": f"{here}/keys",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.metadata,
        }

    def authorize(self, asked: dict[str, str]) -> tuple[int, str]:
        """Where the browser is sent back to; whoever asks is logged in already."""
        wanted = {"response_type": "code", "client_id": CLIENT, "code_challenge_method": "S256"}
        if any(asked.get(name) != value for name, value in wanted.items()) or "openid" not in asked.get("scope", ""):
            return 400, ""
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**asked}
        return 302, f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, Json]:
        begun = self._codes.pop(form.get("code", ""), None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if not self._is_client(form, authorization):
            return 401, {"error": "invalid_client"}
        if (
            begun is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != begun["redirect_uri"]
            or challenge != begun["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        access = secrets.token_urlsafe(16)
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": begun["nonce"], **self.user}
        claims["at_hash"] = b64(hashlib.sha256(access.encode()).digest()[:16])
        id_token = self.tell_token(self.tell_claims(claims))
        return 200, {"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": id_token}

    def _is_client(self, form: dict[str, str], authorization: str) -> bool:
        if not self.secret:
            return form.get("client_id") == CLIENT and not authorization
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            return (unquote_plus(name), unquote_plus(secret)) == (CLIENT, self.secret)
        return (form.get("client_id"), form.get("client_secret")) == (CLIENT, self.secret)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """Runs a provider until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/realm")
            provider.asked.append(path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if path in provider.tell:
                self._send(*provider.tell[path])
            elif path == "/.well-known/openid-configuration":
                self._send(200, json.dumps(provider.about()).encode())
            elif path == "/keys":
                self._send(200, json.dumps({"keys": provider.published}).encode())
            elif path == "/authorize":
                status, target = provider.authorize(asked)
                self._send(status, b"", target)
            elif path == "/userinfo" and self.headers.get("Authorization", "").startswith("Bearer "):
                self._send(200, json.dumps(provider.user_info).encode())
            else:
                self._send(404, b"{}")

        def do_POST(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/realm")
            provider.asked.append(path)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            if path in provider.tell:
                self._send(*provider.tell[path])
                return
            form = {name: values[0] for name, values in parse_qs(body).items()}
            status, answer = provider.token(form, self.headers.get("Authorization", ""))
            self._send(status, json.dumps(answer).encode())

        def _send(self, status: int, body: bytes, location: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = IdentityProvider(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def browse(url: str) -> dict[str, str]:
    """A browser that goes to the provider; -> what it is sent back to the console with."""
    with httpx.Client(trust_env=False) as browser:
        answer = browser.get(url)
    assert answer.status_code == 302, answer.text
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    return {name: values[0] for name, values in asked.items()}
