"""Installations that are broken in ten ways, each made whole first: `doctor` names what is wrong, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_agent import identity
from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_agent.outbox.file import PAGE_BYTES
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.token import make_token
from tests.faults.shim import Shim, compile_shim
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess, enrolled
from tests.servers.mariadb import MariaDB

PROGRAM = Path(sys.executable).with_name("forebay-agent")
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and mount")


@dataclass
class Installation:
    """As `setup` leaves it, with an outbox. environment: of the commands that look at it."""

    home: Path
    collector: InProcess
    token: Path
    environment: dict[str, str] = field(default_factory=dict)
    after: ExitStack = field(default_factory=ExitStack)

    @property
    def state(self) -> Path:
        return self.home / "state"

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [PROGRAM, "--config", self.home, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **self.environment},
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def doctor(self) -> list[dict[str, Any]]:
        """What is in the way."""
        done = self.run("doctor", "--json")
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        assert len(found) > 5 or any(each["severity"] == "error" for each in found)
        return [each for each in found if each["severity"] == "error"]

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.home / file).read_text()
        assert old in text
        (self.home / file).write_text(text.replace(old, new))


@pytest.fixture
def installed(tmp_path: Path, mariadb: MariaDB) -> Iterator[Installation]:
    with InProcess(init(tmp_path / "collector", ["127.0.0.1:0"], "auto")) as collector, ExitStack() as after:
        made = make_token(
            collector.ledger,
            Authority.load(collector.settings.data.identity),
            agent="scjg-01",
            department=DEPARTMENT,
            addresses=[collector.address],
            who="root",
            life=timedelta(hours=1),
        )
        token, password = tmp_path / "join.token", tmp_path / "password"
        token.write_text(made.to_text())
        password.write_text(mariadb.password)
        mariadb.execute("CREATE OR REPLACE DATABASE doctoring", "CREATE TABLE doctoring.orders (id INT PRIMARY KEY)")
        installation = Installation(tmp_path / "agent", collector, token, after=after)
        access = ("--port", str(mariadb.port), "--user", mariadb.user, "--password-file", password)
        source = ("--source", "civil", "--kind", "mysql", "--database", "doctoring", "--table", "orders")
        done = installation.run(
            "setup", "--state", installation.state, "--no-start", "--token", token, *source, *access
        )
        assert done.returncode == 0, done.stdout + done.stderr
        Outbox.open(installation.state, OutboxConfig()).close()
        yield installation


def test_of_a_whole_installation_nothing_is_said(installed: Installation) -> None:
    assert installed.doctor() == []
    assert installed.run("doctor").returncode == 0


def wrong_permissions(installation: Installation) -> None:
    for path in (installation.state, *installation.state.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.chown(installation.state / "outbox.db", 0, 0)


def full_disk(installation: Installation) -> None:
    aside = installation.state.rename(installation.home / "aside")
    installation.state.mkdir()
    _mount(installation, "-t", "tmpfs", "-o", "size=2m", "tmpfs", installation.state)
    shutil.copytree(aside, installation.state, dirs_exist_ok=True)
    with (installation.state / "fill").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def read_only_root(installation: Installation) -> None:
    _mount(installation, "--bind", installation.home, installation.home)
    subprocess.run(["mount", "-o", "remount,ro,bind", installation.home], check=True)


def _mount(installation: Installation, *arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)
    installation.after.callback(subprocess.run, ["umount", "-l", arguments[-1]], check=True)


def clock_two_hours_ahead(installation: Installation) -> None:
    """The agent runs a while with that clock; what it heard of the centre's it wrote down."""
    shim = Shim(
        compile_shim(installation.home.parent), installation.home.parent / "switches", installation.home / "nowhere"
    )
    shim.set("clock_offset", 2 * 3600)
    installation.environment |= dict(pair.split("=", 1) for pair in shim.environment)
    process = subprocess.Popen(
        [PROGRAM, "--config", installation.home, "run"],
        env={**os.environ, **installation.environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 100
        while not _heard(installation.state / "status.json"):
            assert process.poll() is None
            assert time.monotonic() < deadline, "the agent hears nothing of the collector"
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(60)


def _heard(status: Path) -> bool:
    return status.exists() and json.loads(status.read_bytes())["clock"]["heard_at_us"] != 0


def blocked_port(installation: Installation) -> None:
    """Nothing answers, as behind a firewall that drops: the listener's queue is full."""
    listener = installation.after.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        waiting = installation.after.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(listener.getsockname())
    _lead_to(installation, f"127.0.0.1:{listener.getsockname()[1]}")


def no_names(installation: Installation) -> None:
    _lead_to(installation, "collector.city.invalid:7443")


def _lead_to(installation: Installation, address: str) -> None:
    installation.edit("agent.toml", installation.collector.address, address)


def wrong_token(installation: Installation) -> None:
    """Enrolled with one that was used already."""
    shutil.rmtree(installation.state / identity.FOLDER)
    assert installation.run("enroll", installation.token).returncode == 4


def old_certificate(installation: Installation) -> None:
    # by less than the clock's slack: a certificate cannot end before it begins
    made = enrolled(
        installation.collector.settings, installation.collector.ledger, "scjg-01", life=timedelta(seconds=-1)
    )
    (installation.state / identity.FOLDER / identity.CERTIFICATE_FILE).write_bytes(made.certificate)
    (installation.state / identity.FOLDER / identity.KEY_FILE).write_bytes(made.key)


def database_down(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (installation.home / "sources.d/civil.toml").read_text()
    before = next(line for line in text.splitlines() if line.startswith("port"))
    installation.edit("sources.d/civil.toml", before, f"port = {port}")


def damaged_state(installation: Installation) -> None:
    with (installation.state / "outbox.db").open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(os.urandom(4 * PAGE_BYTES))


@pytest.mark.parametrize(
    ("damage", "place", "said", "remedy"),
    [
        pytest.param(wrong_permissions, "state", "does not belong to nobody", "chown -R nobody", marks=as_root),
        pytest.param(full_disk, "state", "No space left", "free space", marks=as_root),
        pytest.param(clock_two_hours_ahead, "appliance", "is 2.0 h ahead of the centre's", "timedatectl"),
        pytest.param(blocked_port, "collector", "does not answer within", "firewall"),
        pytest.param(no_names, "collector", "name", "/etc/resolv.conf"),
        pytest.param(wrong_token, "collector", "token", "forebay-collector token"),
        pytest.param(old_certificate, "collector", "expired", "enroll"),
        pytest.param(database_down, "civil", "", "that the database runs"),
        pytest.param(read_only_root, "state", "Read-only file system", "remount,rw", marks=as_root),
        pytest.param(damaged_state, "state", "damaged", "Restore the state folder"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_broken_is_named_with_its_remedy(
    installed: Installation, damage: Callable[[Installation], None], place: str, said: str, remedy: str
) -> None:
    damage(installed)
    found = installed.doctor()
    named = [each for each in found if each["place"] == place and said in each["message"] and remedy in each["remedy"]]
    assert named, found
    shown = installed.run("doctor")
    assert shown.returncode != 0
    assert remedy in " ".join(shown.stdout.split())


def test_diagnostics_hold_what_helps_and_no_secret(installed: Installation, mariadb: MariaDB) -> None:
    """The password stands where it should not, too: in a comment, in a file's name for a setting, in what was said."""
    installed.edit("sources.d/civil.toml", 'user = "', f'# was {mariadb.password}\nuser = "')
    (installed.state / "status.json").write_text(
        json.dumps({"streams": [], "uplink": {"code": "", "reason": mariadb.password}})
    )
    out = installed.home.parent / "out.tar.zst"
    done = installed.run("diagnostics", "--out", out)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    listed = subprocess.run(["tar", "--zstd", "-xOf", out], capture_output=True, text=True, check=True).stdout
    for wanted in ("doctoring", "orders", "pyarrow", "connected to mysql", '"reason": "[redacted]"'):
        assert wanted in listed
    key = (installed.state / identity.FOLDER / identity.KEY_FILE).read_text().splitlines()[1]
    for secret in (mariadb.password, key, "PRIVATE KEY", "fbt1."):
        assert secret not in listed
    again = installed.run("diagnostics", "--out", out)
    assert again.returncode == 1
    assert "remedy:" in again.stderr
