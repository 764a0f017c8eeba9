"""A process that sends a webhook's first message, and logs all that it can: `python -m … LEDGER FOLDER URL`."""

from __future__ import annotations

import sys
from pathlib import Path

from forebay_collector.alerts.sender import Sender
from forebay_collector.alerts.settings import AlertSettings, WebhookSettings
from forebay_collector.journal import start_log
from forebay_collector.ledger import Ledger

if __name__ == "__main__":
    start_log("debug")
    where, folder, url = sys.argv[1:]
    settings = AlertSettings(webhook=WebhookSettings(url=url))
    Sender(Ledger.open(Path(where)), "webhook", settings, Path(folder), lambda: True).step()
