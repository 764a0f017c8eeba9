"""Ledger: one object with a noun for each kind of fact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from sqlalchemy.engine import URL, make_url

from forebay_collector.ledger.accounts import Accounts
from forebay_collector.ledger.agents import Agents
from forebay_collector.ledger.alerts import Alerts
from forebay_collector.ledger.api_tokens import ApiTokens
from forebay_collector.ledger.approvals import Approvals
from forebay_collector.ledger.audit import Audit
from forebay_collector.ledger.batches import Batches
from forebay_collector.ledger.canaries import Canaries
from forebay_collector.ledger.certificates import Certificates
from forebay_collector.ledger.commands import Commands
from forebay_collector.ledger.completeness import Completeness
from forebay_collector.ledger.coverage import Coverage
from forebay_collector.ledger.database import Database, now_us
from forebay_collector.ledger.digests import Digests
from forebay_collector.ledger.heartbeats import Heartbeats
from forebay_collector.ledger.history import History
from forebay_collector.ledger.maintenance import Maintenance
from forebay_collector.ledger.migrate import migrate
from forebay_collector.ledger.notifications import Notifications
from forebay_collector.ledger.offers import Offers
from forebay_collector.ledger.quarantine import Quarantine
from forebay_collector.ledger.refusals import Refusals
from forebay_collector.ledger.repairs import Repairs
from forebay_collector.ledger.schemas import Schemas
from forebay_collector.ledger.sessions import Sessions
from forebay_collector.ledger.streams import Streams
from forebay_collector.ledger.tokens import Tokens
from forebay_collector.ledger.verifications import Verifications


class Ledger:
    """The ledger, open and at the newest version. Safe to use from any thread.

    Every method raises LedgerUnavailable or LedgerDamaged when the database cannot do its part.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.agents = Agents(database)
        self.approvals = Approvals(database)
        self.certificates = Certificates(database)
        self.heartbeats = Heartbeats(database)
        self.history = History(database)
        self.canaries = Canaries(database)
        self.commands = Commands(database)
        self.offers = Offers(database)
        self.tokens = Tokens(database)
        self.streams = Streams(database)
        self.schemas = Schemas(database)
        self.batches = Batches(database)
        self.quarantine = Quarantine(database)
        self.audit = Audit(database)
        self.refusals = Refusals(database)
        self.verifications = Verifications(database)
        self.digests = Digests(database)
        self.repairs = Repairs(database)
        self.coverage = Coverage(database)
        self.completeness = Completeness(database)
        self.alerts = Alerts(database)
        self.notifications = Notifications(database)
        self.maintenance = Maintenance(database)
        self.accounts = Accounts(database)
        self.sessions = Sessions(database)
        self.api_tokens = ApiTokens(database)

    @classmethod
    def open(cls, where: Path | str, clock: Callable[[], int] = now_us) -> Self:
        """Opens the SQLite file (made when missing) or database URL, and takes it to the newest version.

        Raises LedgerVersion when it is newer than this program; LedgerUnavailable, LedgerDamaged.
        """
        url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else make_url(where)
        database = Database(url, clock)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        self.database.close()
