"""The life of an installation, in the order in which it is lived: each test goes on where the one before it ended.

Two machines, appliance and centre, with nothing but a veth pair between them; MariaDB runs on the appliance. The units are
the shipped ones.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.systemd import versions
from tests.systemd.box import ROOT, Box, network, until
from tests.systemd.database import PASSWORD, Database, Writer, database

OUT = ROOT / "build" / "packages" / "out"
AGENT = "forebay-agent"
COLLECTOR = "forebay-collector"
STREAM = "市监局/civil/person"
pytestmark = pytest.mark.timeout(1800)


@dataclass
class Site:
    appliance: Box
    centre: Box
    database: Database
    folder: Path
    address: str

    def platform(self) -> tuple[int, int, int]:
        said = self.centre.sh(
            f"{COLLECTOR} sql --format json 'select count(*) n, sum(id) i, sum(amount) a from person'", check=False
        )
        if said.returncode:
            return (-1, -1, -1)
        (row,) = json.loads(said.stdout)
        return int(row["n"]), int(row["i"] or 0), int(row["a"] or 0)

    def settled(self, what: str, seconds: float = 120.0) -> float:
        """Waits until the platform says of the table what the database says. -> seconds it took."""
        wanted = self.database.sums()
        return until(
            lambda: self.platform() == wanted,
            lambda: f"{what}: platform {self.platform()}, database {wanted}; {self.told()}",
            seconds,
        )

    def told(self) -> str:
        return self.appliance.sh(f"journalctl -n 60 -u {AGENT}; {AGENT} status", check=False).stdout

    def pid(self) -> int:
        return int(self.appliance.state(AGENT, "MainPID"))

    def restarts(self) -> int:
        return int(self.appliance.state(AGENT, "NRestarts") or 0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        _, centre_address = stack.enter_context(network("fb-a", "fb-c"))
        served = stack.enter_context(database("fb-a", folder / "database"))
        appliance, centre = (
            Box("fb-appliance", "fb-a", folder / "appliance"),
            Box("fb-centre", "fb-c", folder / "centre"),
        )
        for box in (appliance, centre):
            stack.callback(box.end)
            box.boot()
        yield Site(appliance, centre, served, folder, f"{centre_address}:7443")


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def install(box: Box, file: Path) -> str:
    box.put(file, f"/root/{file.name}")
    said = box.sh(f"dpkg -i /root/{file.name} 2>&1").stdout
    (box.root / "root" / file.name).unlink()
    return said


def package(name: str) -> Path:
    (found,) = OUT.glob(f"{name}_*_amd64.deb")
    return found


def test_from_the_packages_to_the_first_row(site: Site) -> None:
    began = time.monotonic()
    for box, name in ((site.centre, COLLECTOR), (site.appliance, AGENT)):
        box.sh("dpkg-query -W -f '' python3 2>/dev/null && exit 1 || exit 0")  # no Python but the package's own
        install(box, package(name))
    site.centre.sh(f"{COLLECTOR} init --address {site.address} --approve auto")
    site.centre.sh(f"systemctl enable --quiet {COLLECTOR}; systemctl start --no-block {COLLECTOR}")
    site.centre.active(COLLECTOR)
    token = site.centre.sh(f"{COLLECTOR} token --department 市监局 --agent scjg-01").stdout
    site.appliance.sh("umask 077; cat > /root/join.token", said=token)
    site.appliance.sh("umask 077; cat > /root/password", said=PASSWORD)
    asked = time.monotonic()
    said = site.appliance.sh(
        f"{AGENT} setup --token /root/join.token --source civil --kind mysql --host 127.0.0.1 --port {site.database.port} "
        "--database civil --user forebay --password-file /root/password --table person"
    ).stdout
    assert "person by log" in said, said
    assert time.monotonic() - asked < 30
    took = site.appliance.active(AGENT, 10.0)
    site.settled("the first rows")
    say(
        f"setup to active {time.monotonic() - asked:.1f} s (waited {took:.1f} s); packages to first row {time.monotonic() - began:.1f} s"
    )


def test_the_units_that_run_are_the_shipped_ones(site: Site) -> None:
    for box, name in ((site.appliance, AGENT), (site.centre, COLLECTOR)):
        assert box.state(name, "DropInPaths") == ""
        assert (
            box.sh(f"cat /usr/lib/systemd/system/{name}.service").stdout
            == (ROOT / "systemd" / f"{name}.service").read_text()
        )
        assert box.state(name, "User") == name
        assert box.state(name, "NoNewPrivileges") == "yes"
    owned = site.appliance.sh(
        "stat -c %U /var/lib/forebay-agent/identity/agent.key /var/lib/forebay-agent/outbox.db"
    ).stdout
    assert set(owned.split()) == {AGENT}


def test_the_journal_can_be_asked_by_stream(site: Site) -> None:
    site.appliance.sh(f"{AGENT} snapshot {STREAM} --reason 'a second copy'", check=False)
    until(
        lambda: STREAM in site.appliance.sh(f"journalctl -o json FOREBAY_STREAM={STREAM}", check=False).stdout,
        lambda: site.appliance.sh("journalctl -o json -n 20 -u forebay-agent", check=False).stdout,
    )
    site.settled("after a second copy")


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGSTOP], ids=["kill -9", "hang"])
@pytest.mark.parametrize("name", [AGENT, COLLECTOR])
def test_systemd_brings_back_what_dies_or_hangs_and_nothing_is_lost(
    site: Site, name: str, signal_sent: signal.Signals
) -> None:
    box = site.appliance if name == AGENT else site.centre
    before, pid = int(box.state(name, "NRestarts")), box.state(name, "MainPID")
    with Writer(site.database) as writer:
        until(lambda: writer.written > 20, lambda: "the writer does not write")
        began = time.monotonic()
        box.sh(f"kill -{signal_sent.value} {pid}")
        until(lambda: int(box.state(name, "NRestarts")) > before, lambda: f"{name} is not started again", 240)
        box.active(name, 60)
        back = time.monotonic() - began
    assert box.state(name, "MainPID") != pid
    site.settled(f"after {signal_sent.name} of {name}")
    say(f"{signal_sent.name} of {name}: active again after {back:.1f} s, 0 lost of {site.database.sums()[0]} rows")


def test_a_reboot_goes_on_by_itself(site: Site) -> None:
    with Writer(site.database) as writer:
        until(lambda: writer.written > 20, lambda: "the writer does not write")
        site.appliance.power_off()
        site.appliance.boot()
        took = site.appliance.active(AGENT, 60)
    site.settled("after a reboot")
    say(f"reboot: active {took:.1f} s after the boot")


def test_the_roles_take_over_as_processes_of_their_own_and_hand_back(site: Site) -> None:
    roles = [f"{COLLECTOR}@{role}" for role in ("receive", "load", "console")]
    with Writer(site.database) as writer:
        until(lambda: writer.written > 20, lambda: "the writer does not write")
        site.centre.sh(f"systemctl start --no-block {' '.join(roles)}")
        for role in roles:
            site.centre.active(role, 120)
        assert site.centre.state(COLLECTOR, "ActiveState") == "inactive"
        assert [site.centre.state(role, "Nice") for role in roles] == ["0", "5", "0"]
        site.centre.sh(f"kill -9 {site.centre.state(roles[1], 'MainPID')}")
        until(lambda: site.centre.state(roles[1], "NRestarts") == "1", lambda: "the loader is not started again")
    site.settled("with the roles by themselves")
    site.centre.sh(f"systemctl start --no-block {COLLECTOR}")
    site.centre.active(COLLECTOR, 120)
    assert {site.centre.state(role, "ActiveState") for role in roles} == {"inactive"}
    site.settled("in one process again")


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return versions.previous(tmp_path_factory.mktemp("previous"))


LISTING = "cd /var/lib/forebay-agent && sha256sum outbox.db identity/*"


def test_an_older_version_that_cannot_read_the_state_says_so_and_touches_nothing(site: Site, previous: Path) -> None:
    site.appliance.sh(f"systemctl stop {AGENT}")
    before = site.appliance.sh(LISTING).stdout
    install(site.appliance, previous)
    assert "0.0.9" in site.appliance.sh("dpkg-query -W forebay-agent").stdout
    site.appliance.sh(f"systemctl start --no-block {AGENT}")
    until(
        lambda: "written by a newer forebay-agent" in site.appliance.sh(f"journalctl -b -u {AGENT}").stdout,
        lambda: site.appliance.sh(f"journalctl -n 40 -u {AGENT}").stdout,
    )
    site.appliance.sh(f"systemctl stop {AGENT}")
    assert site.appliance.sh(LISTING).stdout == before
    install(site.appliance, package(AGENT))


def test_the_previous_version_works_with_this_collector_on_a_state_written_back(site: Site, previous: Path) -> None:
    site.appliance.sh(f"{AGENT} outbox --write-format {versions.PREVIOUS_FORMAT}")
    install(site.appliance, previous)
    with Writer(site.database) as writer:
        site.appliance.sh(f"systemctl start --no-block {AGENT}")
        site.appliance.active(AGENT)
        until(lambda: writer.written > 50, lambda: "the writer does not write")
    took = site.settled("with the previous version")
    say(f"previous version against this collector: 0 lost of {site.database.sums()[0]} rows, settled in {took:.1f} s")


def test_an_upgrade_under_load_loses_nothing(site: Site) -> None:
    with Writer(site.database) as writer:
        until(lambda: writer.written > 20, lambda: "the writer does not write")
        began = time.monotonic()
        install(site.appliance, package(AGENT))
        site.appliance.active(AGENT)
        took = time.monotonic() - began
    site.settled("after an upgrade")
    assert "0.0.9" not in site.appliance.sh("dpkg-query -W forebay-agent").stdout
    say(f"upgrade under load: {took:.1f} s from dpkg to active, 0 lost of {site.database.sums()[0]} rows")


def test_purging_leaves_nothing(site: Site) -> None:
    for box, name in ((site.appliance, AGENT), (site.centre, COLLECTOR)):
        box.sh(f"dpkg --purge {name} 2>&1")
        left = {path for path in box.files() if "forebay" in path and not path.startswith("/var/log/journal/")}
        assert not left, sorted(left)
        for file in ("/etc/passwd", "/etc/group", "/etc/shadow"):
            assert "forebay" not in (box.root / file.lstrip("/")).read_text()
        assert box.sh(f"systemctl list-units --all --no-legend '{name}*'").stdout.strip() == ""
