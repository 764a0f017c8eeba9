"""Roll-outs go on: offers are carried to their agents as commands, and the trial is judged.

    released -> a command is put down for the agent -> sent -> the command's end, or a heartbeat, says what came of it
    trial: the first agent applied it -> nothing is the matter that was not before, for the whole time -> the rest
    any agent failed -> stopped

Every process that holds connections does this; each step says in its WHERE clause what it starts from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from forebay_collector.errors import AgentUnreachable
from forebay_collector.ledger import Ledger, commands, offers
from forebay_collector.ledger.offers import OfferRecord, RolloutRecord
from forebay_collector.service import fleet
from forebay_collector.service.standing import AgentView
from forebay_wire.v1 import control_pb2

TAKES: Final = timedelta(hours=1)
_AT_ONCE: Final = 100
_CONFIGURATION_BYTES: Final = 4 << 20
_LOG: Final = logging.getLogger(__name__)


class Rollouts:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def step(self, agents: Collection[str]) -> None:
        """agents: those that are connected here. Raises LedgerUnavailable, LedgerDamaged."""
        for rollout in self._ledger.offers.rollouts(only_open=True):
            self._advance(rollout)
        open_offers = [one for one in self._ledger.offers.open() if one.agent in agents]
        self._carry([one for one in open_offers if one.state == offers.RELEASED])
        for one in open_offers:
            if one.command_id:
                self._follow(one)

    # carrying

    def _carry(self, released: Sequence[OfferRecord]) -> None:
        for some in _in_groups(released):
            with self._ledger.database.write() as connection:
                at = self._ledger.database.clock()
                for one in some:
                    rollout = self._ledger.offers.rollout(one.rollout_id)
                    if rollout is None or not offers.taken(connection, at, one):
                        continue
                    settings = json.dumps(dict(rollout.settings), ensure_ascii=False)
                    what = control_pb2.Command(offer=control_pb2.Offer(revision=one.revision, settings=settings))
                    by, why = rollout.created_by, rollout.why
                    offers.sent(
                        connection, one, commands.put(connection, at, one.agent, what, who=by, takes=TAKES, why=why)
                    )

    def _follow(self, one: OfferRecord) -> None:
        """What became of the command that carries the offer."""
        command = self._ledger.commands.get(one.command_id)
        if command is not None and command.state in commands.OPEN:
            return
        state, reason, configuration = offers.RELEASED, "", ""
        if command is not None and command.state == commands.DONE:
            state, reason = offers.APPLIED, command.effect
            configuration = _json(self._ledger.commands.data(command.id, _CONFIGURATION_BYTES))
        elif command is not None and command.state == commands.FAILED and command.code != AgentUnreachable.code:
            state, reason = offers.FAILED, f"{command.code}: {command.reason}"
        with self._ledger.database.write() as connection:
            offers.answered(connection, self._ledger.database.clock(), one, state, reason, configuration)

    # judging

    def _advance(self, rollout: RolloutRecord) -> None:
        made = self._ledger.offers.of_rollouts([rollout.id])
        failed = next((one for one in made if one.state == offers.FAILED), None)
        if failed is not None:
            self._end(rollout, offers.STOPPED, f"agent {failed.agent}: {failed.reason}")
            return
        live = [one for one in made if one.state not in (offers.SUPERSEDED, offers.CANCELLED)]
        if all(one.state == offers.APPLIED for one in live) and (rollout.state == offers.REST or len(live) < 2):
            self._end(rollout, offers.DONE, "" if live else "newer offers took its place")
            return
        if rollout.state == offers.TRIAL:
            self._try(rollout, live)

    def _try(self, rollout: RolloutRecord, live: Sequence[OfferRecord]) -> None:
        first = next((one for one in live if one.is_first), live[0])
        view = self._view(first.agent)
        if view is None or view.revoked_at:
            with self._ledger.database.write() as connection:
                offers.leave_out(connection, self._ledger.database.clock(), first, "the agent is revoked")
        elif first.state == offers.WAITING:
            with self._ledger.database.write() as connection:
                offers.release_first(connection, rollout.id, first.agent, sorted({why.code for why in view.why}))
        elif first.state == offers.APPLIED:
            self._judge(rollout, first, view)

    def _judge(self, rollout: RolloutRecord, first: OfferRecord, view: AgentView) -> None:
        now = self._ledger.database.clock()
        new = [why for why in view.why if why.code not in first.troubles]
        well = not new and view.last_seen_at > first.decided_at
        reason = f"agent {first.agent}: {new[0].code}: {new[0].reason}" if new else ""
        since = (rollout.healthy_since or now) if well else 0
        with self._ledger.database.write() as connection:
            if well and now - since >= rollout.trial:
                offers.release_rest(connection, now, rollout.id)
                _LOG.info("roll-out passed its trial rollout=%d agent=%s", rollout.id, first.agent)
            elif (since, reason) != (rollout.healthy_since, rollout.reason):
                offers.note(connection, rollout.id, reason, since)

    def _end(self, rollout: RolloutRecord, state: str, reason: str) -> None:
        with self._ledger.database.write() as connection:
            offers.end(connection, self._ledger.database.clock(), rollout.id, state, reason, commands.COLLECTOR)
        _LOG.info("roll-out ended rollout=%d state=%s reason=%s", rollout.id, state, reason)

    def _view(self, agent: str) -> AgentView | None:
        record = self._ledger.agents.get(agent)
        return None if record is None else fleet.views(self._ledger, [record], {agent})[agent]


def _in_groups(released: Sequence[OfferRecord]) -> list[Sequence[OfferRecord]]:
    return [released[first : first + _AT_ONCE] for first in range(0, len(released), _AT_ONCE)]


def _json(told: bytes) -> str:
    """What the agent told of its configuration, when it is JSON."""
    try:
        return json.dumps(json.loads(told), ensure_ascii=False)
    except ValueError:
        return ""
