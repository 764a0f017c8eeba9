"""Channels: how a message gets to people. Each is one file that could be taken out.

    open_channel(name, settings, folder) -> Channel        Channel.send(wording) -> outcome, or raises NotSent

An outcome is a few words of the other end. Neither it nor any error or log line holds an address's key, a secret or a
password.
"""

from __future__ import annotations

from pathlib import Path

from forebay_collector.alerts.channels.contract import Channel
from forebay_collector.alerts.settings import (
    AlertSettings,
    DingtalkSettings,
    MailSettings,
    WebhookSettings,
    WecomSettings,
)

__all__ = ["Channel", "open_channel"]


def open_channel(name: str, settings: AlertSettings, folder: Path) -> Channel:
    """The channel of this name, which is on. folder: from where files are named.

    Raises ConfigurationError when a file cannot be used; KeyError for a name that is not on.
    """
    # imported when it is opened: whoever only lists alerts does without
    from forebay_collector.alerts.channels.dingtalk import DingtalkChannel
    from forebay_collector.alerts.channels.mail import MailChannel
    from forebay_collector.alerts.channels.webhook import WebhookChannel
    from forebay_collector.alerts.channels.wecom import WecomChannel

    match settings.channels[name]:
        case WebhookSettings() as webhook:
            return WebhookChannel(webhook, folder, settings.authorities)
        case DingtalkSettings() as dingtalk:
            return DingtalkChannel(dingtalk, folder, settings.authorities)
        case WecomSettings() as wecom:
            return WecomChannel(wecom, folder, settings.authorities)
        case MailSettings() as mail:
            return MailChannel(mail, folder, settings.authorities)
