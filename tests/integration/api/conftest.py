"""A collector with something of every noun in it, its API, and programs that come in for different people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.consoling.console import Served
from tests.programs.office import Office
from tests.programs.program import Program, token_of

PEOPLE: Mapping[str, tuple[list[str], list[str] | None]] = {
    "seer": (["viewer"], None),
    "ops": (["operator"], None),
    "approver": (["approver"], None),
    "auditor": (["auditor"], None),
    "admin": (["administrator"], None),
    "mz": (["operator", "approver"], ["民政局"]),
    "mz-admin": (["administrator"], ["民政局"]),
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    opened = Office(tmp_path / "collector")
    yield opened
    opened.close()


@pytest.fixture
def served(office: Office) -> Iterator[Served]:
    with Served(office.stage) as running:
        yield running


class Staff(dict[str, Program]):
    """Programs by whom they work for, each made when it is first asked for."""

    def __init__(self, office: Office, address: str) -> None:
        super().__init__()
        self._office, self._address = office, address

    def __missing__(self, name: str) -> Program:
        roles, departments = PEOPLE[name]
        self[name] = made = Program(self._address, token_of(self._office.ledger, name, roles, departments))
        return made


@pytest.fixture
def staff(office: Office, served: Served) -> Iterator[Staff]:
    made = Staff(office, served.address)
    yield made
    for program in made.values():
        program.http.close()
