"""One look at the fleet: every agent and stream as the ledger has it, with the labels that its metrics carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, literal_column, select

from forebay_collector.alerts.cycles import cycle_of
from forebay_collector.ledger import Ledger, tables
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.load.backlog import Backlog, backlogs
from forebay_collector.service import fleet
from forebay_collector.service.actor import Actor, Role
from forebay_collector.service.standing import AgentView, CanaryView
from forebay_collector.service.stream_standing import AgentStream, Colour

_EVERYBODY: Final = Actor("metrics", frozenset({Role.VIEWER}), None, "metrics")


@dataclass(frozen=True, slots=True)
class Compared:
    """The newest verification of a stream that came to an end by itself. at: microseconds."""

    differs: bool
    at: int


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """labels: as they stand in the text. cycle_s: how long it may go without a change; None: nobody said."""

    labels: str
    view: AgentStream
    backlog: Backlog
    quarantined: int
    cycle_s: int | None
    compared: Compared | None


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """One agent with what is its own. labels: as they stand in the text."""

    labels: str
    view: AgentView
    canaries: tuple[tuple[str, CanaryView], ...]
    streams: tuple[StreamFigures, ...]

    @property
    def revoked(self) -> bool:
        return self.view.state is Colour.REVOKED


def read(ledger: Ledger) -> list[AgentFigures]:
    """Every agent, by department and name. Raises LedgerUnavailable, LedgerDamaged."""
    views = fleet.agents(ledger, _EVERYBODY)
    ids = {str(record.name): record.id for record in ledger.streams.listing()}
    waiting, quarantined, compared, cycles = backlogs(ledger), _quarantined(ledger), _compared(ledger), _cycles(ledger)

    def stream(base: str, view: AgentStream) -> StreamFigures:
        number = ids.get(view.name, 0)
        source = view.name.split("/", 2)[1] if view.name.count("/") >= 2 else ""
        return StreamFigures(
            f'{base},source="{escaped(source)}",stream="{escaped(view.name)}"',
            view,
            waiting.get(number, Backlog()),
            quarantined.get(number, 0),
            cycles.get(view.name),
            compared.get(number),
        )

    made = []
    for view in views:
        base = f'agent="{escaped(view.name)}",department="{escaped(view.department)}"'
        canaries = tuple((f'{base},source="{escaped(one.source)}"', one) for one in view.canaries)
        made.append(AgentFigures(base, view, canaries, tuple(stream(base, one) for one in view.streams)))
    return made


def escaped(value: str) -> str:
    """As the value of a label stands between its quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _quarantined(ledger: Ledger) -> Mapping[int, int]:
    batch = tables.batch.c
    query = (
        select(batch.stream_id, func.count())
        .where(batch.state == literal_column("'quarantined'"))
        .group_by(batch.stream_id)
    )
    with ledger.database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def _compared(ledger: Ledger) -> Mapping[int, Compared]:
    """By the stream's id; what was found is not read, only whether anything was."""
    verification = tables.verification.c
    ended = (VerificationState.EQUAL, VerificationState.DIFFERENT)
    last = select(func.max(verification.id)).where(verification.state.in_(ended)).group_by(verification.stream_id)
    query = select(verification.stream_id, verification.state, verification.ended_at).where(verification.id.in_(last))
    with ledger.database.read() as connection:
        return {
            row[0]: Compared(row[1] == VerificationState.DIFFERENT, row[2]) for row in connection.execute(query).all()
        }


def _cycles(ledger: Ledger) -> Mapping[str, int]:
    """By the stream's name, of those that are configured and whose label says a time."""
    proposal = tables.proposal.c
    query = select(proposal.department, proposal.source, proposal.table_name, proposal.update_cycle).where(
        proposal.update_cycle != "", proposal.gone_at == 0
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    said = {f"{department}/{source}/{table}": cycle_of(label) for department, source, table, label in rows}
    return {name: int(cycle.total_seconds()) for name, cycle in said.items() if cycle is not None}
