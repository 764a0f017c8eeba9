"""WeCom: a robot of a group, with a Markdown message.

    POST https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…
    {"msgtype": "markdown", "markdown": {"content": "…"}}

content: at most 4,096 bytes of UTF-8. A robot takes 20 messages a minute. Its answer is 200 with an `errcode`, 0 when it
took the message.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from forebay_collector.alerts.channels.robot import Robot
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import WecomSettings

MOST_BYTES: Final = 4_096


class WecomChannel:
    """Raises ConfigurationError."""

    def __init__(self, settings: WecomSettings, folder: Path, authorities: str) -> None:
        self._robot = Robot(folder, settings.robot, "alerts.wecom.robot", authorities)

    @property
    def place(self) -> str:
        return self._robot.place

    def send(self, wording: Wording) -> str:
        return self._robot.post({"msgtype": "markdown", "markdown": {"content": wording.markdown(MOST_BYTES)}})

    def close(self) -> None:
        self._robot.close()
