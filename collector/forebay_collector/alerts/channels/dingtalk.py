"""DingTalk: a custom robot of a group, with a Markdown message.

    POST https://oapi.dingtalk.com/robot/send?access_token=…&timestamp=…&sign=…
    {"msgtype": "markdown", "markdown": {"title": "…", "text": "…"}}

timestamp: milliseconds. sign: HMAC-SHA256 with the robot's secret over `timestamp` ‖ "\\n" ‖ secret, Base64, URL-encoded.
A robot takes 20 messages a minute. Its answer is 200 with an `errcode`, 0 when it took the message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from forebay_collector.alerts.channels.contract import secret_of
from forebay_collector.alerts.channels.robot import Robot
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import DingtalkSettings

MOST_BYTES: Final = 16_000


class DingtalkChannel:
    """clock: seconds since 1970. Raises ConfigurationError."""

    def __init__(
        self, settings: DingtalkSettings, folder: Path, authorities: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._robot = Robot(folder, settings.robot, "alerts.dingtalk.robot", authorities)
        self._secret = secret_of(folder, settings.secret, "alerts.dingtalk.secret") if settings.secret else ""
        self._clock = clock

    @property
    def place(self) -> str:
        return self._robot.place

    def send(self, wording: Wording) -> str:
        said = {"title": wording.title[:200], "text": wording.markdown(MOST_BYTES)}
        more = ""
        if self._secret:
            at_ms = round(self._clock() * 1_000)
            more = urlencode({"timestamp": at_ms, "sign": sign(self._secret, at_ms)})
        return self._robot.post({"msgtype": "markdown", "markdown": said}, more, self._secret)

    def close(self) -> None:
        self._robot.close()


def sign(secret: str, at_ms: int) -> str:
    """Base64, not URL-encoded yet."""
    digest = hmac.new(secret.encode(), f"{at_ms}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
