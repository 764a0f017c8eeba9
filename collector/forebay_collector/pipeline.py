"""The collector, from end to end. Read this first.

    agents ── TLS ──> receive ──> archive + ledger ──> load ──> platform
                         │               │               │
                         └── durable ────┘── loaded ─────┘        (acks, back to the agents)

1. `receive` takes sealed batches from agents (`receive/upload.py`), checks whose they are, that what is in them is
   approved (`receive/approved.py`), their digests and their place in the chain (`receive/lanes.py`), and hands them to the
   committer.
2. The committer (`receive/commit.py`) writes what waits of all agents into the archive, syncs it, and records it in the
   ledger in one transaction. Only then the agents hear `durable` and may delete their copies.
3. The loader (`load/loader.py`) takes each stream's durable batches in order into the platform; the platform's own commit
   carries the mark, so a crash between the two is settled by asking it. The agents hear `loaded`.
4. The console (`console/`) shows all of it, and takes what people decide; comparisons of source and platform that they ask
   for are carried out beside it.
5. Alerts (`alerts/`): what is the matter with any of it is found, recorded, and told to people where they are.
6. When a day is over, certificates of completeness are issued (`completeness/daily.py`).
7. Beside them: enrolment (`identity/enroll.py`), control of the agents (`control/service.py`), retention, which removes
   from the archive what was loaded long ago, and metrics, for which the stages count batches (`metrics/tally.py`).

Stages share the ledger and the archive and nothing else; none imports another. This file is where they are put together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from forebay_collector.alerts.host import AlertHost
from forebay_collector.archive import LocalArchive
from forebay_collector.archive.retention import Retention
from forebay_collector.archive.schemas import SchemaLog
from forebay_collector.completeness.daily import Daily
from forebay_collector.console.host import ConsoleHost, Once
from forebay_collector.control.approving import Approving
from forebay_collector.control.service import ControlServicer
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.enroll import EnrollServicer
from forebay_collector.identity.handshakes import Handshakes
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.retention import AlertRetention, AuditRetention
from forebay_collector.load.group import GroupSize
from forebay_collector.load.loader import Loader
from forebay_collector.load.pool import LoaderPool
from forebay_collector.metrics.host import MetricsHost
from forebay_collector.metrics.tally import Tally
from forebay_collector.platform.contract import Platform
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.commit import Committer
from forebay_collector.receive.loaded import LedgerNews, LoadedMarks
from forebay_collector.receive.upload import UploadServicer
from forebay_collector.settings import APPROVE_ALL, Settings
from forebay_collector.workers import Died, Periodic, Worker
from forebay_wire.v1 import control_pb2_grpc, enroll_pb2_grpc, upload_pb2_grpc

_COMMIT_WAITS_S: Final = 1.0
_NEWS_EVERY_S: Final = 1.0
_REFUSALS_EVERY_S: Final = 5.0
_RETENTION_EVERY_S: Final = 60.0
_ALERT_RETENTION_EVERY_S: Final = 3_600.0
_CERTIFICATES_EVERY_S: Final = 60.0
_STOP_S: Final = 60.0
_log = logging.getLogger("forebay.pipeline")


class Role(StrEnum):
    """What a process does. One process does all of it unless told otherwise."""

    RECEIVE = "receive"
    LOAD = "load"
    CONSOLE = "console"


class Pipeline:
    """One collector's parts, opened and composed. `died` hears of a thread that ended by itself."""

    def __init__(
        self, settings: Settings, roles: frozenset[Role], open_platform: Callable[[], Platform], died: Died
    ) -> None:
        """Raises LedgerUnavailable, LedgerDamaged, LedgerVersion, ArchiveUnavailable, DataFolderUnusable, PlatformError."""
        self._settings = settings
        self._stopping = threading.Event()
        self.workers: list[Worker] = []
        self.ledger = Ledger.open(settings.data.ledger)
        self.archive = LocalArchive(settings.data.archive, writes=Role.RECEIVE in roles)
        self.loaded = LoadedMarks()
        self.tally = Tally()
        self.committer = Committer(self.archive, self.ledger, settings.receive.group, self.tally)
        self.approved = Approved(self.ledger, automatic=settings.approval.mode == APPROVE_ALL)
        self.handshakes = Handshakes(self.ledger)
        self.pool: LoaderPool | None = None
        self._upload: UploadServicer | None = None
        self._platform = Once(open_platform)
        self.metrics = MetricsHost(
            settings,
            self.ledger,
            self.tally,
            roles=[*roles],
            workers=self.workers,
            connections=lambda: self._upload.connections if self._upload is not None else 0,
            died=died,
        )
        self.console: ConsoleHost | None = None
        if Role.CONSOLE in roles:
            beside = [self.metrics.route()]
            self.console = ConsoleHost(settings, self.ledger, self.archive, self._platform, died, beside)
        if Role.RECEIVE in roles:
            self.ledger.approvals.note_mode(settings.approval.mode)
            news = LedgerNews(self.ledger, self.loaded)
            self.workers.append(Worker("commit", self._commit, died))
            for name, every_s, step in (
                ("news", _NEWS_EVERY_S, news.step),
                ("approvals", _NEWS_EVERY_S, self.approved.step),
                ("refusals", _REFUSALS_EVERY_S, self._settle_refusals),
            ):
                self.workers.append(Worker(name, Periodic(every_s, step, self._stopping), died))
        if Role.LOAD in roles:
            platform = self._platform()
            retention = Retention(self.archive, self.ledger, settings.archive.retention, self.tally.count_removed)
            keeping = Periodic(_RETENTION_EVERY_S, retention.step, self._stopping)
            self.workers.append(Worker("retention", keeping, died))
            audit_keeping = AuditRetention(self.ledger, settings.audit.retention)
            alert_keeping = AlertRetention(self.ledger, settings.audit.retention)
            daily = Daily(self.ledger, settings.data.identity, settings.certificates, settings.verify.cover)
            for name, every_s, keep in (
                ("certificates", _CERTIFICATES_EVERY_S, daily.step),
                ("audit retention", _RETENTION_EVERY_S, audit_keeping.step),
                ("alert retention", _ALERT_RETENTION_EVERY_S, alert_keeping.step),
            ):
                self.workers.append(Worker(name, Periodic(every_s, keep, self._stopping), died))
            size = GroupSize(settings.load.group, settings.load.linger.total_seconds())
            told, count = self.loaded.publish, self.tally.count_loaded
            loader = Loader(self.ledger, self.archive, platform, told, size=size, count=count)
            self.pool = LoaderPool(loader, self.ledger, on_death=died, threads=settings.load.threads)
        self._alerts = AlertHost(settings, self.ledger)
        for name, every_s, watch in self._alerts.steps():
            self.workers.append(Worker(name, Periodic(every_s, watch, self._stopping), died))

    def add_services(self, server: Any) -> tuple[UploadServicer, ControlServicer]:
        """Adds what agents call to a gRPC server, within its event loop."""
        receive = self._settings.receive
        upload = UploadServicer(
            self.ledger,
            self.committer,
            self.loaded,
            self.approved,
            schemas=SchemaLog(self._settings.data.archive),
            window=receive.window,
            memory=receive.memory,
        )
        self._upload = upload
        approving = Approving(self.ledger, self._settings.approval.mode)
        control = ControlServicer(self.ledger, approving, self._settings.control)
        enroll = EnrollServicer(self.ledger, Authority.load(self._settings.data.identity))
        upload_pb2_grpc.add_UploadServiceServicer_to_server(upload, server)
        control_pb2_grpc.add_ControlServiceServicer_to_server(control, server)
        enroll_pb2_grpc.add_EnrollServiceServicer_to_server(enroll, server)
        return upload, control

    def start(self) -> None:
        """Starts the threads; the loader first settles the ledger by the platform's marks. Raises PlatformError."""
        for worker in self.workers:
            worker.start()
        if self.pool is not None:
            self.pool.start()
        self.metrics.start()
        if self.console is not None:
            self.console.start()

    def stop(self) -> None:
        """Commits what was received, ends the step that is loading, and closes everything."""
        self._stopping.set()
        self.metrics.stop()
        if self.console is not None:
            self.console.stop()
        self.committer.stop()
        ended = [worker.join(_STOP_S) for worker in self.workers]
        if self.pool is not None:
            ended.append(self.pool.stop(_STOP_S))
        if not all(ended):
            # what they hold stays open for them until the process ends
            _log.warning("a thread did not end within %.0f s", _STOP_S)
            return
        self._alerts.stop()
        self._platform.close()
        self.archive.close()
        self.ledger.refusals.settle(everything=True)
        self.ledger.close()

    def _settle_refusals(self) -> None:
        self.handshakes.settle()
        self.ledger.refusals.settle()

    def _commit(self) -> bool:
        return self.committer.step(_COMMIT_WAITS_S) is not None
