"""Offer: what the centre would have otherwise is judged, kept and taken into force, as a whole or not at all.

Judged twice: against the files (`config.offer`), and, for tables whose columns or masks it changes, against the table as
the database describes it now, since only that knows a primary key. The second is done on the sources' threads; then the
supervisor takes the offer into force. When it is answered as applied, nothing more is sealed the way it was before.
"""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import Final, Protocol

import pyarrow as pa

from forebay_agent import journal
from forebay_agent.capture.plan import describe
from forebay_agent.capture.trigger import offers_triggers
from forebay_agent.config.kept_offer import APPLIED, FAILED, KeptOffer
from forebay_agent.config.model import AgentConfig, TableConfig
from forebay_agent.config.offer import Offer, Refusal, laid_over, refused
from forebay_agent.config.shown import shown
from forebay_agent.control.addressing import Workers
from forebay_agent.control.reading import Emit
from forebay_agent.errors import AgentError, CommandTimeout, OfferRefused
from forebay_agent.outbox import Outbox
from forebay_agent.policy import remedy_of
from forebay_agent.source_worker import SourceWorker
from forebay_agent.transform import Transform
from forebay_wire.v1 import control_pb2

DESCRIBE_SECONDS: Final = 60.0
PART_BYTES: Final = 1 << 20
_MOST_NAMED: Final = 20


class Office(Protocol):
    """What the supervisor does with offers; all of it on its own thread."""

    @property
    def files(self) -> AgentConfig:
        """The department's files as they are in force."""

    @property
    def offers(self) -> KeptOffer: ...

    def take_offer(self, offer: Offer) -> Future[AgentConfig]:
        """Lays it over the files, keeps it, takes it into force. -> the configuration in force. Raises OfferRefused."""

    def refuse_offer(self, offer: Offer, reason: str) -> Future[None]:
        """Keeps why it is not in force."""


class Offering:
    def __init__(self, office: Office, outbox: Outbox, workers: Workers) -> None:
        self._office = office
        self._outbox = outbox
        self._workers = workers

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """The effective configuration, redacted, goes out as `data`. Never raises OfferRefused: that is the answer."""
        revision = command.offer.revision
        offer = Offer(revision)
        try:
            offer = Offer.of(revision, command.offer.settings)
            self._refuse_older(offer)
            files = self._office.files
            self._refuse_what_tables_cannot(files, laid_over(files, offer))
            waiting = self._outbox.state().batches
            config = self._office.take_offer(offer).result()
        except OfferRefused as error:
            return self._refused(offer, error)
        told = json.dumps(shown(config), ensure_ascii=False).encode()
        for start in range(0, len(told), PART_BYTES):
            emit(control_pb2.CommandResult(data=told[start : start + PART_BYTES]))
        return control_pb2.CommandResult(effect=_effect(offer, files, config, waiting))

    def _refused(self, offer: Offer, error: OfferRefused) -> control_pb2.CommandResult:
        if offer.revision >= max(1, self._newest):
            self._office.refuse_offer(offer, str(error)).result()
        in_force = self._office.offers.in_force
        stays = (
            f"revision {in_force.revision} stays in force" if in_force else "the department's files alone stay in force"
        )
        journal.warning("offer refused", revision=offer.revision, reason=error)
        effect = f"{FAILED}: nothing was changed; {stays}. {remedy_of(error)}"
        return control_pb2.CommandResult(code=error.code, reason=str(error), effect=effect)

    @property
    def _newest(self) -> int:
        in_force = self._office.offers.in_force
        return max(self._office.offers.newest.revision, in_force.revision if in_force else 0)

    def _refuse_older(self, offer: Offer) -> None:
        newest = self._office.offers.newest
        if offer.revision < self._newest:
            reason = f"revision {offer.revision} is older than {self._newest}, which this agent was given already"
            raise refused([Refusal("", reason, "Offer it under a new revision.")])
        if offer.revision == newest.revision and newest.digest not in ("", offer.digest):
            reason = f"revision {offer.revision} was given to this agent with other settings"
            raise refused([Refusal("", reason, "Offer it under a new revision.")])

    def _refuse_what_tables_cannot(self, files: AgentConfig, after: AgentConfig) -> None:
        """Looks at the tables whose columns or masks are not as in the files. Raises OfferRefused."""
        refusals = []
        own = {(source.name, table.name): table for source in files.sources for table in source.tables}
        workers = {worker.config.name: worker for worker in self._workers()}
        for source in after.sources:
            for table in source.tables:
                before = own[source.name, table.name]
                if not _selects_otherwise(before, table):
                    continue
                key = f'source.{source.name}.table."{table.name}"'
                try:
                    if source.name not in workers:
                        raise AgentError(f"source {source.name} is being started", remedy="Offer it again in a moment.")
                    _fits(workers[source.name], before, table)
                except AgentError as error:
                    refusals.append(Refusal(key, str(error.args[0]), remedy_of(error)))
        if refusals:
            raise refused(refusals)


def _selects_otherwise(before: TableConfig, after: TableConfig) -> bool:
    return (before.masks, before.columns, before.exclude) != (after.masks, after.columns, after.exclude)


def _fits(worker: SourceWorker, before: TableConfig, after: TableConfig) -> None:
    """Raises AgentError where the table, as it is now, cannot be captured that way; and what describing it raises."""

    def look() -> None:
        source = worker.session()
        shape = describe(source, after)
        Transform(shape, after)
        masked = {mask.column for mask in after.masks} - {mask.column for mask in before.masks}
        for column in shape.columns:
            if column.name in masked and not pa.types.is_string(column.arrow):
                raise AgentError(
                    f"column {column.name} is {column.origin}: masked it would be text, another type than its stream has",
                    remedy="Leave the column out with `exclude`, or have the department mask it in its own file.",
                )
        if after.mode != "trigger" or after.install or not offers_triggers(source):
            return
        if not source.installed(source.change_table(shape)):
            raise AgentError(
                f"the triggers of {after.name} carry other columns",
                remedy="Mask the column instead, or have the DBA make the triggers anew without it.",
            )

    try:
        worker.ask(look).result(DESCRIBE_SECONDS)
    except TimeoutError:
        raise CommandTimeout(
            f"source {worker.config.name} was busy for {DESCRIBE_SECONDS:.0f} s, and the table could not be looked at",
            remedy="Offer it again when the source is less busy.",
        ) from None


def _effect(offer: Offer, files: AgentConfig, config: AgentConfig, waiting: int) -> str:
    if not offer.settings:
        return f"{APPLIED}: revision {offer.revision} is in force: the department's files alone hold"
    named = ", ".join(
        f"{path} = {json.dumps(value, ensure_ascii=False)}"
        for path, value in list(offer.settings.items())[:_MOST_NAMED]
    )
    more = f" and {len(offer.settings) - _MOST_NAMED} more" if len(offer.settings) > _MOST_NAMED else ""
    told = [f"{APPLIED}: revision {offer.revision} is in force: {named}{more}"]
    own = {(source.name, table.name): table for source in files.sources for table in source.tables}
    narrowed = [
        f"{source.name}/{table.name}"
        for source in config.sources
        for table in source.tables
        if _selects_otherwise(own.get((source.name, table.name), table), table)
    ]
    if narrowed:
        told.append(
            f"rows of {', '.join(narrowed[:_MOST_NAMED])} that are sealed from now on are masked and cut accordingly. What"
            f" was sealed before cannot be unsent: rows at the centre stay as they came, and so do those in the {waiting:,}"
            " batches that were in the outbox; a table whose masks changed is taken anew, so that its mirror is masked too;"
            " its history is not. Where the centre approves column by column, a column under another mask waits for that"
        )
    return "; ".join(told)
