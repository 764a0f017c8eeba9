"""An OpenID Connect provider, as this console's client sees it: where it is, its keys, and what its ID tokens say.

Code flow with PKCE. Nothing of an ID token is believed before its signature, made with one of the provider's published
asymmetric keys, and issuer, audience, nonce and times are right. Answers are bounded in size and time. No error repeats a
code, a token or a secret.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, import_key

from forebay_collector.errors import ConfigurationError, OidcRefused, OidcUnreachable
from forebay_collector.setting_texts import web_address
from forebay_collector.settings import OidcSettings

BACK: Final = "/login/oidc/back"
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Asymmetric ones only: a public key must never pass for a shared secret."""
_LEEWAY_S: Final = 60
_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 1 << 20
_KNOWN_FOR_S: Final = 3_600.0
_KEYS_AGAIN_S: Final = 30.0
Claims = Mapping[str, Any]


class Provider:
    """Safe to use from any thread; every method may wait for the network. `clock`: seconds since 1970."""

    def __init__(self, settings: OidcSettings, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigurationError when what is set does not make a client."""
        for key in ("issuer", "client", "address"):
            if not getattr(settings, key):
                raise ConfigurationError("is missing", key=f"console.oidc.{key}")
        if not settings.roles:
            raise ConfigurationError("is empty: nobody would have a role", key="console.oidc.roles")
        if "openid" not in settings.scopes:
            raise ConfigurationError('does not hold "openid"', key="console.oidc.scopes")
        self.settings = settings
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, Claims] | None = None
        self._keys: tuple[float, KeySet] | None = None
        # no redirects, no proxy from the environment: the provider is who is set
        self._http = httpx.Client(verify=self._trust(), timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        self._http.close()

    @property
    def back(self) -> str:
        """Where the provider sends browsers back to."""
        return self.settings.address.rstrip("/") + BACK

    def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to log in. Raises OidcUnreachable, OidcRefused."""
        asked = {
            "response_type": "code",
            "client_id": self.settings.client,
            "redirect_uri": self.back,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        endpoint = str(self._about()["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def claims(self, code: str, nonce: str, verifier: str) -> Claims:
        """What the provider says of whoever came back with this code. Raises OidcUnreachable, OidcRefused."""
        answer = self._exchange(code, verifier)
        token = self._verified(answer, nonce)
        lacking = {self.settings.name, self.settings.groups} - token.keys()
        if lacking and isinstance(endpoint := self._about().get("userinfo_endpoint"), str):
            return {**self._user_info(endpoint, answer, token["sub"]), **token}
        return token

    def _exchange(self, code: str, verifier: str) -> Claims:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.back, "code_verifier": verifier}
        secret = self._secret()
        basic: httpx.BasicAuth | None = None
        methods = self._about().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if not secret:
            form["client_id"] = self.settings.client
        elif "client_secret_basic" in methods:
            basic = httpx.BasicAuth(_form_quoted(self.settings.client), _form_quoted(secret))
        else:
            form |= {"client_id": self.settings.client, "client_secret": secret}
        return self._answer("POST", str(self._about()["token_endpoint"]), data=form, auth=basic)

    def _verified(self, answer: Claims, nonce: str) -> Claims:
        raw = answer.get("id_token")
        if not isinstance(raw, str):
            raise OidcRefused("the provider gave no ID token")
        try:
            token = self._decoded(raw)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self.settings.issuer},
                    "aud": {"essential": True, "value": self.settings.client},
                },
                {"nonce": nonce, "client_id": self.settings.client, "access_token": answer.get("access_token")},
            )
            claims.validate(int(self._clock()), _LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            # what the token says of itself stays out of the message
            kind = error.error if isinstance(error, JoseError) else type(error).__name__
            raise OidcRefused(f"the provider's ID token is not valid: {kind}") from None
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise OidcRefused("the provider's ID token names no subject")
        return dict(claims)

    def _decoded(self, raw: str) -> jwt.Token:
        try:
            return jwt.decode(raw, self._key_set(0), algorithms=list(ALGORITHMS))
        except InvalidKeyIdError:
            # the provider signs with a new key
            return jwt.decode(raw, self._key_set(self._clock() - _KEYS_AGAIN_S), algorithms=list(ALGORITHMS))

    def _user_info(self, endpoint: str, answer: Claims, subject: str) -> Claims:
        headers = {"Authorization": f"Bearer {answer.get('access_token', '')}"}
        told = self._answer("GET", _checked(endpoint), headers=headers)
        if told.get("sub") != subject:
            raise OidcRefused("the provider's user information is somebody else's")
        return told

    def _about(self) -> Claims:
        """The provider's description of itself."""
        with self._lock:
            if self._metadata is None or self._clock() - self._metadata[0] > _KNOWN_FOR_S:
                told = self._answer("GET", get_well_known_url(self.settings.issuer, external=True))
                if told.get("issuer") != self.settings.issuer:
                    raise OidcRefused("the provider names itself otherwise than `issuer` in `[console.oidc]`")
                for key in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _checked(told.get(key))
                self._metadata = (self._clock(), told)
            return self._metadata[1]

    def _key_set(self, newer_than: float) -> KeySet:
        about = self._about()
        with self._lock:
            limit = max(newer_than, self._clock() - _KNOWN_FOR_S)
            if self._keys is None or self._keys[0] <= limit:
                told = self._answer("GET", str(about["jwks_uri"])).get("keys")
                keys = [key for one in told if (key := _signing_key(one))] if isinstance(told, list) else []
                if not keys:
                    raise OidcRefused("the provider publishes no key that could have signed")
                self._keys = (self._clock(), KeySet(keys))
            return self._keys[1]

    def _answer(self, method: str, url: str, **asked: Any) -> Claims:
        """A JSON object. Raises OidcUnreachable, OidcRefused."""
        body = bytearray()
        try:
            with self._http.stream(
                method, url, headers={"Accept": "application/json"} | asked.pop("headers", {}), **asked
            ) as got:
                for piece in got.iter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise OidcRefused("the provider's answer is too long")
                status = got.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OidcUnreachable(f"{self.settings.issuer}: {type(error).__name__}") from None
        if status >= 500:
            raise OidcUnreachable(f"{self.settings.issuer} answers {status}")
        if status != 200:
            raise OidcRefused(f"the provider answers {status}")
        try:
            told = json.loads(body)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise OidcRefused("the provider's answer is no JSON object")
        return told

    def _secret(self) -> str:
        """Read anew at each use, so that it can be changed while the console runs. Raises ConfigurationError."""
        if not self.settings.secret:
            return ""
        path = self._folder / self.settings.secret
        try:
            secret = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            secret = ""
        if not secret:
            raise ConfigurationError(f"{path} cannot be read, or is empty", key="console.oidc.secret")
        return secret

    def _trust(self) -> ssl.SSLContext:
        path = self._folder / self.settings.authorities if self.settings.authorities else None
        try:
            return ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(f"{path} holds no certificates", key="console.oidc.authorities") from None


def _signing_key(one: Any) -> Key | None:
    """A published key that can verify; None for one of another kind or use."""
    if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") not in ("RSA", "EC"):
        return None
    try:
        return import_key(one)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _checked(url: object) -> str:
    """An address that the provider named. Raises OidcRefused."""
    try:
        if isinstance(url, str) and url:
            web_address(url.partition("?")[0])
            return url
    except ValueError:
        pass
    raise OidcRefused("the provider names an address that is not https")


def _form_quoted(text: str) -> str:
    """As RFC 6749 2.3.1 wants name and secret within HTTP's basic authentication."""
    return urlencode({"": text})[1:]
