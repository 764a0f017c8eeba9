"""A robot of a group: its address holds its key, and so stands in a file; it takes JSON, and answers 200 with an `errcode`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import httpx

from forebay_collector.alerts.channels.contract import secret_of
from forebay_collector.alerts.channels.http import Poster, host_in
from forebay_collector.alerts.settings import hook_address
from forebay_collector.errors import ConfigurationError, NotSent

_LONGEST: Final = 200


class Robot:
    """name: the file with its address. key: the setting that names it. Raises ConfigurationError, which does not repeat it."""

    def __init__(self, folder: Path, name: str, key: str, authorities: str) -> None:
        try:
            self._url = hook_address(secret_of(folder, name, key))
        except ValueError as error:
            raise ConfigurationError(f"{name}: {error}", key=key) from None
        self._poster = Poster(folder, authorities)

    @property
    def place(self) -> str:
        return host_in(self._url)

    def post(self, message: Any, more: str = "", secret: str = "") -> str:
        """more: what is added to the address's query. secret: what the answer may repeat, besides the key.

        -> what the robot said. Raises NotSent unless it took the message.
        """
        url = self._url if not more else f"{self._url}{'&' if '?' in self._url else '?'}{more}"
        status, content = self._poster.post(url, json.dumps(message, ensure_ascii=False).encode())
        if status != httpx.codes.OK:
            raise NotSent(f"HTTP {status}")
        try:
            answer: Any = json.loads(content)
            code, said = int(answer["errcode"]), str(answer.get("errmsg", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotSent("the answer is not a robot's") from None
        for hidden in (secret, *(value for _, value in parse_qsl(urlsplit(url).query))):
            said = said.replace(hidden, "…") if hidden else said
        told = f"errcode {code}: {said[:_LONGEST]}"
        if code != 0:
            raise NotSent(told)
        return told

    def close(self) -> None:
        self._poster.close()
