"""The console's cookies: who it is, what was just done, and how the person likes the page.

session   the session's token; a browser that is not logged in yet has a token all the same, so that the log-in form too is
          bound to the browser that asked for it
oidc      a secret of a log-in at an identity provider that is under way; another site sends the browser back with it, so
          this one cookie is Lax
flash     the messages of the deed before, signed by that token, shown once
language, theme   what the person chose
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from forebay_collector.console.answers import Message
from forebay_collector.console.language import LANGUAGES, Trouble

SESSION: Final = "forebay_session"
VISIT: Final = "forebay_visit"
OIDC: Final = "forebay_oidc"
FLASH: Final = "forebay_flash"
LANGUAGE: Final = "forebay_language"
THEME: Final = "forebay_theme"
THEMES: Final = ("auto", "light", "dark")
_YEAR_S: Final = int(timedelta(days=365).total_seconds())
_FLASH_S: Final = 120
_OIDC_S: Final = 600
_FLASH_MESSAGES: Final = 8
_FLASH_TEXT: Final = 300
_SALT: Final = "forebay flash 1"


def session_token(request: Request) -> str:
    return request.cookies.get(SESSION, "")


def visit_token(request: Request) -> str:
    """The token of a browser that is not logged in; empty when it has none yet."""
    return request.cookies.get(VISIT, "")


def new_visit_token() -> str:
    return secrets.token_urlsafe(32)


def put(response: Response, name: str, value: str, *, secure: bool, seconds: int | None = None) -> None:
    """Sets a cookie that no script reads and no other site sends; seconds: how long it is kept, None: with the browser."""
    response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")


def put_oidc(response: Response, value: str, *, secure: bool) -> None:
    """Keeps the browser's secret of a log-in at an identity provider, for as long as that may take."""
    response.set_cookie(OIDC, value, max_age=_OIDC_S, path="/login", secure=secure, httponly=True, samesite="lax")


def drop_oidc(response: Response, *, secure: bool) -> None:
    response.delete_cookie(OIDC, path="/login", secure=secure, httponly=True, samesite="lax")


def drop(response: Response, name: str, *, secure: bool) -> None:
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def put_flash(response: Response, token: str, messages: Sequence[Message], *, secure: bool) -> None:
    """Keeps the messages for the next page. More than a few are counted in the text of whoever makes them."""
    told: list[dict[str, Any]] = []
    for message in messages[:_FLASH_MESSAGES]:
        entry: dict[str, Any] = {"k": message.kind, "t": message.text[:_FLASH_TEXT]}
        if message.trouble is not None:
            trouble = message.trouble
            parts = (trouble.code, trouble.what, trouble.why, trouble.remedy, trouble.english)
            entry["x"] = [part[:_FLASH_TEXT] for part in parts]
        told.append(entry)
    value = _signer(token).dumps(told)
    # a browser keeps about 4 KiB under one name
    while len(value) > 3_500 and told:
        told.pop()
        value = _signer(token).dumps(told)
    put(response, FLASH, value if isinstance(value, str) else value.decode(), secure=secure, seconds=_FLASH_S)


def take_flash(request: Request, token: str) -> list[Message]:
    """The messages that were kept for this browser; none when they are not its own, or too old."""
    kept = request.cookies.get(FLASH, "")
    if not kept or not token:
        return []
    try:
        told = _signer(token).loads(kept, max_age=_FLASH_S)
    except BadData:
        return []
    return [Message(entry["k"], entry["t"], Trouble(*entry["x"]) if "x" in entry else None) for entry in told]


def language(request: Request) -> str:
    """What the person chose; empty when nothing was."""
    chosen = request.cookies.get(LANGUAGE, "")
    return chosen if chosen in LANGUAGES else ""


def theme(request: Request) -> str:
    chosen = request.cookies.get(THEME, "")
    return chosen if chosen in THEMES else THEMES[0]


def put_choice(response: Response, name: str, value: str, *, secure: bool) -> None:
    put(response, name, value, secure=secure, seconds=_YEAR_S)


def _signer(token: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(token, salt=_SALT)
