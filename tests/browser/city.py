"""A made-up city for the pictures: many departments, every state that an agent, a stream, a batch or a person may be in.

Everything stands in a real ledger, a real archive and a real platform, put there by the functions that put it there in
earnest; the clock stands still, so that the pictures change only when the console does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from forebay_collector.demo.people import People
from forebay_collector.errors import AgentUnreachable
from forebay_collector.ledger import offers, repairs, tables, verifications
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.ledger.repairs import RepairState
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.contract import PlatformError
from forebay_collector.policy import remedy_of
from forebay_collector.service import (
    approvals,
    commands,
    configuration,
    identity,
    quarantine,
    repair,
    users,
    verification,
)
from forebay_collector.service.actor import Actor, Role
from forebay_wire.digest import GENESIS
from forebay_wire.schema import MASK, ORIGIN
from forebay_wire.seal import Link, SealedBatch, seal
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.browser import city_alerts
from tests.browser.city_agents import Agents
from tests.browser.city_data import (
    AGENT,
    DAY,
    DEPARTMENTS,
    HOUR,
    LOW_INCOME,
    LOW_INCOME_SCHEMA,
    MINUTE,
    NOW,
    PERMITS,
    PLAIN,
    SECOND,
    Clock,
    low_income_rows,
    plain_rows,
    source_of,
)
from tests.consoling.people import ROOT, account
from tests.loading.stage import Stage

OPS: Final = Actor("li.ops", frozenset({Role.OPERATOR}), None, "console")


class City:
    """Fills a stage's folder. The clock is left at `NOW`."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder)
        self.clock = Clock()
        self.ledger = self.stage.ledger
        self.ledger.database.clock = self.clock
        self.draw = random.Random(450800)
        self._people()
        Agents(self.ledger, self.clock, self.draw)
        self._streams()
        self._proposals()
        self._deeds()
        city_alerts.fill(self.ledger, self.clock, OPS)
        self.clock.now = NOW

    def close(self) -> None:
        self.stage.close()

    def _people(self) -> None:
        self.clock.now = NOW - 20 * DAY
        for name, roles, departments in (
            ("li.ops", ["operator"], None),
            ("wang.approve", ["approver"], None),
            ("zhao.audit", ["auditor"], None),
            ("chen.admin", ["administrator", "operator", "approver"], None),
            ("qin.mzj", ["operator", "viewer"], ["民政局"]),
        ):
            account(self.ledger, name, roles, departments)
        users.create(self.ledger, ROOT, "he.new", ["viewer"], ["教育局", "卫健委"])
        self.clock.now = NOW - 9 * DAY
        users.disable(self.ledger, ROOT, "wang.approve", "moved to another department")
        users.enable(self.ledger, ROOT, "wang.approve", "came back")

    def _streams(self) -> None:
        people = People(450800)
        link = Link(1, 1, GENESIS)
        batches: list[SealedBatch] = []
        for seq in range(1, 42):
            self.clock.now = NOW - (42 - seq) * 9 * MINUTE + self.draw.randrange(5 * MINUTE)
            rows = low_income_rows(people, seq, self.draw, self.clock.now)
            batch = seal(LOW_INCOME, link, LOW_INCOME_SCHEMA, rows, captured_at_us=self.clock.now - 2 * SECOND)
            link = link.after(batch)
            batches.append(batch)
            self.stage.receive([batch], LOW_INCOME_SCHEMA, agent=AGENT)
            self.clock.now += SECOND + self.draw.randrange(2 * SECOND)
            self.stage.loader().load_step(LOW_INCOME)
        troubles: Mapping[str, PlatformError] = {
            "行政审批局": PlatformError(
                "行政审批局.sgs.public.permit: column valid_until: string cannot become date",
                code="FB-PLATFORM-TYPE",
                permanent=True,
            ),
            "交通局": PlatformError(
                "交通局.jtj.public.licence: format version 1, expected 2", code="FB-PLATFORM-FOREIGN", permanent=True
            ),
            "人社局": PlatformError("warehouse/人社局: no space left", code="FB-PLATFORM-DISK-FULL", permanent=True),
        }
        for department, initials, _, shared in DEPARTMENTS:
            for table in shared:
                name = StreamName(department, source_of(initials), table)
                if name == LOW_INCOME:
                    continue
                self._some(name, f"{initials}-01", troubles.get(department) if table == shared[0] else None)

    def _some(self, name: StreamName, agent: str, refusal: PlatformError | None) -> None:
        """A few batches of a stream, loaded but for the last ones where the platform refuses one."""
        link, count = Link(1, 1, GENESIS), self.draw.randrange(4, 9)
        for seq in range(1, count + 1):
            self.clock.now = NOW - (count - seq) * 7 * MINUTE - self.draw.randrange(4 * MINUTE)
            rows = plain_rows(seq * 50, self.draw.randrange(3, 60))
            batch = seal(name, link, PLAIN, rows, captured_at_us=self.clock.now - SECOND)
            link = link.after(batch)
            self.stage.receive([batch], PLAIN, agent=agent)
            self.clock.now += SECOND
            if refusal is not None and seq == count - 2:
                self.ledger.quarantine.put(name, 1, seq, refusal.code, str(refusal))
            if refusal is None or seq < count - 2:
                self.ledger.batches.mark_loaded(name, 1, seq)

    def _proposals(self) -> None:
        self.clock.now = NOW - 26 * HOUR
        columns = [
            Column(field.name, field.metadata[ORIGIN].decode(), str(field.type), field.metadata.get(MASK, b"").decode())
            for field in LOW_INCOME_SCHEMA.columns
        ]
        guarantee = "Sees every change that the table's triggers see, deletes included."
        self._propose(AGENT, LOW_INCOME, columns, ("card_no",), "trigger", guarantee, "实时")
        approvals.approve(self.ledger, ROOT, LOW_INCOME, why="2026-17 号共享协议")
        self.clock.now = NOW - 5 * HOUR
        permit = [
            Column("permit_no", "varchar(40)", "string", ""),
            Column("project", "varchar(120)", "string", ""),
            Column("holder", "varchar(120)", "string", ""),
            Column("legal_person", "varchar(60)", "string", "name"),
            Column("valid_until", "date", "date32[day]", ""),
        ]
        log = "Sees every committed change, deletes included, in the order of the commits."
        self._propose("xzsp-01", PERMITS, permit, ("permit_no",), "log", log, "实时")
        approvals.approve(self.ledger, ROOT, PERMITS, why="2026-21 号共享协议")
        self.clock.now = NOW - 2 * HOUR
        self._propose(
            "xzsp-01", PERMITS, [*permit, Column("photo_url", "text", "string", "")], ("permit_no",), "log", log, "实时"
        )
        student = [
            Column("student_no", "varchar(20)", "string", ""),
            Column("name", "varchar(60)", "string", "name"),
            Column("citizen_id", "char(18)", "string", "citizen_id"),
            Column("school", "varchar(120)", "string", ""),
            Column("grade", "smallint", "int16", ""),
        ]
        self._propose(
            "jyj-01", StreamName("教育局", "jyj", "public.transfer"), student, ("student_no",), "log", log, "每日"
        )

    def _propose(
        self,
        agent: str,
        stream: StreamName,
        columns: list[Column],
        key: tuple[str, ...],
        mode: str,
        guarantee: str,
        cycle: str,
    ) -> None:
        proposal = ProposalRecord(
            stream=stream,
            agent=agent,
            columns=tuple(columns),
            key=key,
            mode=mode,
            guarantee=guarantee,
            update_cycle=cycle,
            code="",
            reason="",
            first_seen_at=self.clock.now,
            changed_at=self.clock.now,
            gone_at=0,
            decided=Decided(),
        )
        self.ledger.approvals.propose(agent, [proposal], complete=False, automatic=False)

    def _deeds(self) -> None:
        """What people did, one after the other."""
        ops = OPS
        deeds: list[tuple[int, Callable[[], object]]] = [
            (4 * DAY, lambda: identity.revoke(self.ledger, ROOT, "slj-02", "设备已退役")),
            (25 * HOUR, lambda: self._offer(ops, (AGENT, "scjg-01", "gaj-01"), {"bandwidth": "2MiB"}, "工作时间限速")),
            (24 * HOUR, self._tell_offers),
            (10 * HOUR, lambda: self._verify(ops, LOW_INCOME, VerificationState.EQUAL)),
            (
                7 * HOUR,
                lambda: self._verify(
                    ops, StreamName("市监局", "scjg", "public.enterprise"), VerificationState.DIFFERENT
                ),
            ),
            (6 * HOUR + 30 * MINUTE, lambda: self._repair(ops, StreamName("市监局", "scjg", "public.enterprise"))),
            (6 * HOUR, lambda: self._pause(ops)),
            (5 * HOUR, lambda: self._resume(ops)),
            (3 * HOUR, lambda: self._snapshot(ops)),
            (2 * HOUR, lambda: self._verify(ops, StreamName("公安局", "gaj", "gab.vehicle"), VerificationState.FAILED)),
            (90 * MINUTE, lambda: self._discard(ops)),
            (
                50 * MINUTE,
                lambda: self._offer(ops, ("wjw-01", "wjw-02"), {"sources.wjw.poll_interval": "30s"}, "减轻源库压力"),
            ),
            (2 * MINUTE, lambda: commands.reload(self.ledger, ops, AGENT, "部门更新了配置")),
            (
                MINUTE,
                lambda: self._verify(ops, StreamName("税务局", "swj", "public.taxpayer"), VerificationState.RUNNING),
            ),
        ]
        for ago, do in deeds:
            self.clock.now = NOW - ago
            do()
        self._cover()

    def _offer(self, ops: Actor, agents: Sequence[str], settings: Mapping[str, Any], why: str) -> None:
        configuration.offer(self.ledger, ops, agents, settings, why)

    def _pause(self, ops: Actor) -> None:
        number = commands.pause(self.ledger, ops, AGENT, commands.Scope(source="dbk"), "数据库停机维护")
        self._answer(AGENT, number, effect="source dbk is paused")

    def _resume(self, ops: Actor) -> None:
        number = commands.resume(self.ledger, ops, AGENT, commands.Scope(source="dbk"), "维护结束")
        self._answer(AGENT, number, effect="source dbk goes on")

    def _snapshot(self, ops: Actor) -> None:
        keys = ["DB00001000"], ["DB00002000"]
        number = commands.snapshot(self.ledger, ops, LOW_INCOME, "核对 9 月数据", *keys, agent=AGENT)
        self._answer(AGENT, number, code="FB-PAUSED", reason="main.low_income is paused")

    def _discard(self, ops: Actor) -> None:
        (held,) = quarantine.held(self.ledger, ops, department="人社局")
        quarantine.discard(self.ledger, ops, [held.stream], "测试数据，已与人社局确认")

    def _answer(self, agent: str, number: str, *, effect: str = "", code: str = "", reason: str = "") -> None:
        self.ledger.commands.take([agent])
        self.clock.now += 2 * SECOND
        part = control_pb2.CommandResult(command_id=number, done=not code, effect=effect, code=code, reason=reason)
        assert self.ledger.commands.answer(agent, part)

    def _tell_offers(self) -> None:
        """All agents applied what they were offered."""
        with self.ledger.database.write() as connection:
            told = {"state": offers.APPLIED, "decided_at": self.clock.now, "sent_at": self.clock.now - SECOND}
            connection.execute(tables.offer.update().values(**told))
            offers.end(connection, self.clock.now, 1, offers.DONE, "", "collector")

    def _repair(self, ops: Actor, stream: StreamName) -> None:
        """What the verification before it found."""
        (number,) = repair.start(self.ledger, ops, [stream], "比对发现差异")
        self.ledger.repairs.take(number)
        self.clock.now += 12 * SECOND
        keys = {"missing": [{"id": str(31_000 + n * 7)} for n in range(4)], "extra": [], "different": [{"id": "20118"}]}
        told = {kind: len(found) for kind, found in keys.items()} | {"sent": 5, "deleted": 0, "left_over": 0}
        with self.ledger.database.write() as connection:
            repairs.end(connection, number, RepairState.REPAIRED, self.clock.now, keys=keys, **told)

    def _cover(self) -> None:
        """The background has been over some tables, is at one, and has not begun with the others."""
        self.clock.now = NOW
        self.ledger.coverage.begin(timedelta(hours=1))
        for place, row in enumerate(self.ledger.coverage.listing()[:9]):
            covered = replace(row, round=3, covered_at=NOW - (9 - place) * HOUR, next_at=NOW + (place + 1) * DAY // 2)
            if place == 2:
                covered = replace(covered, began_at=NOW - 20 * MINUTE, source_rows=360_000, part_after="360000")
            self.ledger.coverage.put(covered)

    def _verify(self, ops: Actor, stream: StreamName, outcome: VerificationState) -> None:
        digest = "1b82c6d14f0f6de1c18ecb3a1ad0a9c0"
        (number,) = verification.start(self.ledger, ops, [stream], "月度核验")
        self.ledger.verifications.take(number)
        if outcome is VerificationState.RUNNING:
            self.ledger.verifications.touch(number, "comparing keys: bucket 12 of 40 that differ")
            return
        self.clock.now += 41 * SECOND
        result: dict[str, Any] = {
            "equal": outcome is VerificationState.EQUAL,
            "source": {"rows": 48_211, "digest": digest},
            "platform": {"rows": 48_211, "digest": digest},
            "key": ["id"],
            "missing": [],
            "extra": [],
            "different": [],
            "in_flight": 0,
            "complete": True,
            "seconds": 41.3,
        }
        trouble: dict[str, str] = {}
        if outcome is VerificationState.DIFFERENT:
            result |= {"missing": [{"id": str(31_000 + n * 7)} for n in range(4)], "different": [{"id": "20118"}]}
            result["platform"] = {"rows": 48_207, "digest": digest[::-1]}
        if outcome is VerificationState.FAILED:
            result = {}
            reason = "agent gaj-01 is not connected: it did not take the command drain within 10 s"
            trouble = {"code": AgentUnreachable.code, "reason": reason, "remedy": remedy_of(AgentUnreachable(reason))}
        with self.ledger.database.write() as connection:
            verifications.end(connection, number, outcome, self.clock.now, result=result, **trouble)
