"""WeCom: a robot of a group, with a Markdown message.

    POST https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…
    {"msgtype": "markdown", "markdown": {"content": "…"}}

content: at most 4,096 bytes of UTF-8. A robot takes 20 messages a minute. Its answer is 200 with an `errcode`, 0 when it
took the message.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from forebay_collector.alerts.channels.http import Poster, host_in, robot_outcome
from forebay_collector.alerts.channels.robot import address_of
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import WecomSettings

MOST_BYTES: Final = 4_096


class WecomChannel:
    """Raises ConfigurationError."""

    def __init__(self, settings: WecomSettings, folder: Path, authorities: str) -> None:
        self._url = address_of(folder, settings.robot, "alerts.wecom.robot")
        self._poster = Poster(folder, authorities)

    @property
    def place(self) -> str:
        return host_in(self._url)

    def send(self, wording: Wording) -> str:
        said = {"content": wording.markdown(MOST_BYTES)}
        body = json.dumps({"msgtype": "markdown", "markdown": said}, ensure_ascii=False).encode()
        return robot_outcome(*self._poster.post(self._url, body))

    def close(self) -> None:
        self._poster.close()
