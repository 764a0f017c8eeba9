"""What root does at the centre's shell leaves nothing behind that the service cannot read."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest

from forebay_agent.clock import SystemClock
from forebay_agent.enrollment import Token
from forebay_agent.ferry import enrolling
from forebay_collector.cli.main import main
from forebay_collector.ferry.answer import write_answer
from forebay_collector.founding import init
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import Ledger

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A collector's folder, as the package and `init` leave it: the service's own."""
    folder = tmp_path / "collector"
    init(folder, ["collector.example:7443"])
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return folder


def roots(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.lstat().st_uid == 0]


def test_what_root_restores_is_the_services(data: Path, tmp_path: Path) -> None:
    assert main(["--data", str(data), "backup", str(tmp_path / "backup")]) == 0
    (data / "ledger.db").rename(tmp_path / "lost.db")
    assert main(["--data", str(data), "restore", str(tmp_path / "backup"), "--reason", "lost"]) == 0
    assert (data / "ledger.db").exists()
    assert roots(data) == []


def test_a_key_that_is_made_when_root_first_needs_it_is_the_services(data: Path, tmp_path: Path) -> None:
    assert main(["--data", str(data), "certificate", "key", "--out", str(tmp_path / "key.pub")]) == 0
    assert (data / "identity" / "completeness.key").stat().st_uid == NOBODY
    assert roots(data / "identity") == []


def test_what_root_imports_from_a_disk_is_the_services(data: Path, tmp_path: Path) -> None:
    carried = tmp_path / "scjg-01.ferry"
    carried.write_bytes(b"sealed")
    importing = import_module("forebay_collector.cli.commands.import")
    brought = importing._brought(data / "ferry", carried)
    assert roots(data) == []  # before the service can see it
    assert importing._put(data / "ferry", brought).read_bytes() == b"sealed"
    assert (data / "ferry").stat().st_uid == NOBODY
    assert roots(data) == []


def test_what_root_gives_to_an_appliance_that_enrols_by_disk_is_the_services(data: Path, tmp_path: Path) -> None:
    file, disk = tmp_path / "token", tmp_path / "disk"
    disk.mkdir()
    assert main(["--data", str(data), "token", "--department", "市监局", "--agent", "a", "--out", str(file)]) == 0
    token = Token.of(file.read_text("utf-8"))
    enrolling.request(token, enrolling.ask(token, tmp_path / "state"), disk, SystemClock())
    assert main(["--data", str(data), "import", str(disk)]) == 0
    assert [path.name for path in (data / "ferry" / "given").iterdir()] == ["a.enrolment.pem"]
    assert roots(data) == []
    (answer,) = disk.glob("answer-*")
    assert answer.stat().st_mode & stat.S_IROTH


def test_the_answer_on_the_disk_can_be_read_by_the_agents_user(data: Path, tmp_path: Path) -> None:
    with closing(Ledger.open(data / "ledger.db")) as ledger:
        answer = write_answer(ledger, data / "identity", Identity("scjg-01", "市监局", "0a", False, 0), tmp_path)
    assert answer.stat().st_mode & stat.S_IROTH


def test_what_has_another_name_outside_is_left_alone(data: Path, tmp_path: Path) -> None:
    """Whoever may write in the folder must not be given what root keeps elsewhere."""
    kept = tmp_path / "kept"
    kept.write_text("root's")
    os.link(kept, data / "identity" / "completeness.old")
    assert main(["--data", str(data), "certificate", "key", "--out", str(tmp_path / "key.pub")]) == 0
    assert kept.stat().st_uid == 0
