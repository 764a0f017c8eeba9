"""Posting over HTTP: TLS verified, no redirects, no proxy from the environment, bounded in time and size."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from forebay_collector.alerts.channels.contract import authorities_of
from forebay_collector.errors import NotSent

TIMEOUT_S: Final = 10.0
LONGEST_S: Final = 30.0
MOST_BYTES: Final = 64 << 10


class Poster:
    """Posts to one host. Raises ConfigurationError when the authorities' file cannot be used."""

    def __init__(self, folder: Path, authorities: str) -> None:
        self._http = httpx.Client(
            verify=authorities_of(folder, authorities), timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
        """-> status, and the beginning of the answer. Raises NotSent, which does not repeat the address."""
        told = {"content-type": "application/json; charset=utf-8", "user-agent": "forebay-collector", **headers}
        ends = time.monotonic() + LONGEST_S
        try:
            with self._http.stream("POST", url, content=body, headers=told) as answer:
                content = b""
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) >= MOST_BYTES or time.monotonic() > ends:
                        break
                return answer.status_code, content[:MOST_BYTES]
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            raise NotSent(reason_of(error)) from None

    def close(self) -> None:
        self._http.close()


def reason_of(error: BaseException) -> str:
    """Why a connection failed, without what the error's text may hold."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"the server's certificate is refused: {inner.verify_message}"
        if isinstance(inner, OSError) and inner.strerror and not isinstance(inner, ssl.SSLError):
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return "no answer in time"
    return type(error).__name__


def host_in(url: str) -> str:
    return urlsplit(url).hostname or ""
