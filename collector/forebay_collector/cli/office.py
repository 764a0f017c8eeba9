"""Office: what a command works with — the data folder, opened piece by piece as it is needed, and where it prints."""

from __future__ import annotations

import getpass
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from forebay_collector.cli.owner import give_back
from forebay_collector.cli.progress import Progress
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.service.actor import Actor
from forebay_collector.settings import DataFolder, Settings, load_settings


class Office:
    """The collector in a data folder, as one command sees it. What it opened, `close` closes."""

    def __init__(self, data: Path, out: TextIO, err: TextIO) -> None:
        self.data = data
        self.out = out
        self.progress = Progress(err)
        self._open = ExitStack()
        self._settings: Settings | None = None
        self._ledger: Ledger | None = None
        self._platform: Platform | None = None

    def settings(self) -> Settings:
        """Raises DataFolderUnusable when there is no collector in the folder; ConfigurationError."""
        if self._settings is None:
            self._settings = load_settings(self.data)
        return self._settings

    def ledger(self) -> Ledger:
        """Raises as `settings`; LedgerUnavailable, LedgerDamaged, LedgerVersion."""
        if self._ledger is None:
            self._ledger = Ledger.open(self.settings().data.ledger)
            self._open.callback(self._ledger.close)
        return self._ledger

    def platform(self) -> Platform:
        """Raises as `settings`; PlatformError."""
        if self._platform is None:
            # imported here: it takes half a second, which listings need not wait for
            from forebay_collector.platform.iceberg.platform import IcebergPlatform

            self._platform = IcebergPlatform(self.settings().data.platform)
            self._open.callback(self._platform.close)
        return self._platform

    def who(self) -> str:
        """The person at the keyboard, for the audit: the user of the system, also behind sudo."""
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = f"uid {os.getuid()}"
        behind = os.environ.get("SUDO_USER")
        return f"{behind} (as {name})" if behind and behind != name else name

    def actor(self) -> Actor:
        """The same person as someone who may do everything: they may read the data folder."""
        return Actor.local(self.who())

    def close(self) -> None:
        self._open.close()
        # keys are made when they are first needed, by whichever command that is
        give_back(DataFolder(self.data).identity, self.data)
