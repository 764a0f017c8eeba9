"""A collector with something of every noun in it: what programs find when they ask."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from forebay_collector.identity.authority import Authority
from forebay_collector.ledger import alerts
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.alerts import Condition
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.heartbeats import Beat, StreamSaid
from forebay_collector.ledger.history import HealthSample, minute
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.platform.contract import PlatformError
from forebay_collector.service import alerts as service_alerts
from forebay_collector.service import approvals, commands, configuration, identity, verification
from forebay_collector.service.commands import Scope
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.loading.stage import AGENT, Moody, Stage
from tests.programs.program import CLI
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.receiving.collector import enrolled

HELD = StreamName(DEPARTMENT, "db", "main.permit")
SLASHED = StreamName(DEPARTMENT, "db", "main.a/b 表")
OTHER = StreamName("民政局", "救助库", "public.低保")
OTHERS_AGENT = "mzj-01"
PROPOSED = StreamName(DEPARTMENT, "db", "main.person")
REFUSAL = "column amount: 'ten' is not a number"
ARCHIVE = b"a redacted archive"


class Office:
    """stage: the collector's folder, open. What there is, by its number: command, rollout,
    verification, alert, window."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder)
        self.ledger = self.stage.ledger
        enrolled(self.stage.settings, self.ledger, AGENT)
        with self.ledger.database.write() as connection:
            put_certificate(connection, OTHERS_AGENT, OTHER.department, "1f", 2**55, 1, hostname="m", version="0")
        self._receive()
        self._hear()
        self._propose()
        self.command = self._ask()
        self.rollout = configuration.offer(self.ledger, CLI, [AGENT], {"outbox.cap": "2GiB"}, "more room")
        self.verification, *_ = verification.start(self.ledger, CLI, [STREAM, HELD], "a look")
        self.alert = self._alert()
        self.window = service_alerts.open_window(
            self.ledger, CLI, "agent", AGENT, lasts=timedelta(hours=2), why="new disk"
        ).id
        self.token = identity.make_token(
            self.ledger,
            Authority.load(self.stage.settings.data.identity),
            CLI,
            "scjg-02",
            DEPARTMENT,
            addresses=self.stage.settings.addresses,
        )

    def close(self) -> None:
        self.stage.close()

    def hold(self, stream: StreamName, seq: int) -> None:
        """The platform refuses this batch of the stream."""
        refuses = PlatformError(REFUSAL, code="FB-TEST-REFUSES", permanent=True)
        moody = Moody(self.stage.platform, lambda batch: refuses if batch.seq == seq else None)
        self.stage.loader(moody).load_step(stream)

    def _alert(self) -> int:
        """The agent was silent once, and is again."""
        detail = {"since": self.ledger.database.clock() - 90_000_000}
        silent = Condition("agent_silent", AGENT, DEPARTMENT, AGENT, "critical", "FB-AGENT-SILENT", detail)
        with self.ledger.database.write() as connection:
            at = self.ledger.database.clock()
            alerts.put(connection, [silent], at)
            alerts.close(connection, [one.id for one in alerts.open_now(connection)], at + 1)
            alerts.put(connection, [silent], at + 2)
            return alerts.open_now(connection)[0].id

    def _receive(self) -> None:
        self.stage.receive(chained(3))
        self.stage.receive(chained(3, HELD))
        self.stage.receive(chained(1, SLASHED))
        self.stage.receive(chained(2, OTHER), agent=OTHERS_AGENT)
        self.stage.loader().load_step(STREAM)
        self.hold(HELD, 2)

    def _hear(self) -> None:
        """What an agent tells of itself."""
        now = self.ledger.database.clock()
        health = {"cpu_percent": 12.5, "outbox": {"bytes": 2_048, "cap_bytes": 1 << 30, "batches": 3}}
        said = {"stream": str(STREAM), "state": "streaming", "mode": "log", "guarantee": "every change"}
        canary = CanaryRecord(AGENT, STREAM.source, "row", now - 9_000_000, now - 8_000_000, 1_000_000, "", "")
        sample = HealthSample(AGENT, minute(now), 125, 40, 300, 1 << 33, 1 << 26, 3, 2_048, 1_500, 0, 1_000_000)
        streams = {str(STREAM): StreamSaid("", json.dumps(said))}
        self.ledger.heartbeats.write(
            [Beat(AGENT, now, json.dumps(health), streams, (), True, (canary,), sample, None, False)]
        )

    def _propose(self) -> None:
        columns = (Column("id", "bigint", "int64", ""), Column("phone", "varchar(11)", "string", "mobile"))
        tables = [
            ProposalRecord(stream, AGENT, columns, ("id",), "log", "every change", "daily", "", "", 0, 0, 0, Decided())
            for stream in (PROPOSED, StreamName(DEPARTMENT, "db", "main.firm"), STREAM)
        ]
        self.ledger.approvals.propose(AGENT, tables, complete=True, automatic=False)
        approvals.approve(self.ledger, CLI, STREAM)

    def _ask(self) -> str:
        """A command that brought a file; another one waits."""
        number = commands.diagnostics(self.ledger, CLI, AGENT, "to look at")
        self.ledger.commands.take([AGENT])
        part = control_pb2.CommandResult(command_id=number, data=ARCHIVE, done=True, effect="collected 1 file")
        assert self.ledger.commands.answer(AGENT, part)
        commands.pause(self.ledger, CLI, AGENT, Scope(), "the database is copied")
        return number
