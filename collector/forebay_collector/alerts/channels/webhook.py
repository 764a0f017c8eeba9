"""Webhook: the message as JSON (`Wording.json`), posted and signed.

    Forebay-Notification: 1042                     the same in every attempt: what came twice can be told
    Forebay-Signature: t=1764300000,v1=5257a869…   HMAC-SHA256, hexadecimal, over `t` ‖ "." ‖ the body

Whoever receives it computes the signature anew with the shared key, compares in constant time, and refuses a `t` that is
more than a few minutes away. Any answer 2xx means that it was taken.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path

from forebay_collector.alerts.channels.contract import secret_of
from forebay_collector.alerts.channels.http import Poster, host_in
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import WebhookSettings
from forebay_collector.errors import NotSent


class WebhookChannel:
    """clock: seconds since 1970. Raises ConfigurationError."""

    def __init__(
        self, settings: WebhookSettings, folder: Path, authorities: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = settings.url
        self._secret = secret_of(folder, settings.secret, "alerts.webhook.secret") if settings.secret else ""
        self._clock = clock
        self._poster = Poster(folder, authorities)

    @property
    def place(self) -> str:
        return host_in(self._url)

    def send(self, wording: Wording) -> str:
        body = json.dumps(wording.json(), ensure_ascii=False).encode()
        headers = {"Forebay-Notification": str(wording.note.id)}
        if self._secret:
            headers["Forebay-Signature"] = signature(self._secret, int(self._clock()), body)
        status, _ = self._poster.post(self._url, body, headers)
        if not 200 <= status < 300:
            raise NotSent(f"HTTP {status}")
        return f"HTTP {status}"

    def close(self) -> None:
        self._poster.close()


def signature(secret: str, at_s: int, body: bytes) -> str:
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"
