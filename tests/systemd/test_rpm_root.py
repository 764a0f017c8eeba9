"""The .rpm in a root that rpm manages: installed, looked at, removed. The root is a pristine Debian's; rpm's own database is new."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.box import ROOT, pristine, run

OUT = ROOT / "build" / "packages" / "out"
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    upper, work, whole = (tmp_path / name for name in ("upper", "work", "root"))
    for folder in (upper, work, whole):
        folder.mkdir()
    layers = f"lowerdir={pristine()},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, str(whole))
    try:
        run("rpm", "--root", str(whole), "--initdb")
        yield whole
    finally:
        run("umount", "-l", str(whole))


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return run("env", "-i", "PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "chroot", str(root), *command, check=False)


def test_the_rpm_installs_checks_and_goes(root: Path) -> None:
    (package,) = OUT.glob("forebay-agent-*.x86_64.rpm")
    # what it depends on is there, but as Debian's packages, which rpm does not know of
    run("rpm", "--root", str(root), "-i", "--nodeps", str(package))
    assert inside(root, "stat", "-c", "%U %a", "/var/lib/forebay-agent").stdout == "forebay-agent 700\n"
    database = root / "srv" / "civil.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    connection.close()
    database.chmod(0o644)
    settings = root / "etc/forebay-agent"
    (settings / "agent.toml").write_text('[agent]\nstate = "/var/lib/forebay-agent"\n')
    (settings / "sources.d/civil.toml").write_text(
        'kind = "sqlite"\npath = "/srv/civil.db"\n\n[[table]]\nname = "person"\nmode = "snapshot"\n'
    )
    done = inside(root, "forebay-agent", "check")
    print(done.stdout)
    assert done.returncode == 4, done.stdout + done.stderr  # nothing but that it is not enrolled
    assert "is not enrolled" in done.stdout
    assert "connected to file /srv/civil.db" in done.stdout
    assert done.stdout.count("error ") == 1
    run("rpm", "--root", str(root), "-e", "forebay-agent")
    assert not (root / "usr/lib/forebay-agent").exists()
    assert (root / "etc/forebay-agent/agent.toml").exists()  # removal keeps it
