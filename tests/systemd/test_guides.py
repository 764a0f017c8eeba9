"""The guides, followed from the top as a new user would: every block of the path, in its order, on two pristine machines.

Blocks for a shell run as root in the box that they name, SQL as the department's DBA, files that are shown whole are written where
they belong. What belongs to another database or mode is run by tests/integration/test_guides_sql.py.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.handbook import guides
from tests.handbook.guides import Block
from tests.systemd import versions
from tests.systemd.box import ROOT, Box, network
from tests.systemd.database import Database, department

OUT = ROOT / "build" / "packages" / "out"
CENTRE = "collector.city.example"
SQL = ("sql mariadb", "sql mariadb log", "sql mariadb cursor")
pytestmark = pytest.mark.timeout(3000)


@dataclass
class Site:
    appliance: Box
    centre: Box
    database: Database

    def follow(self, block: Block) -> None:
        """Raises AssertionError with guide, line and what was said."""
        if block.kind == "sh":
            box = self.appliance if block.where == "appliance" else self.centre
            try:
                done = box.sh(f"set -eu\n{block.text}", check=False)
            except subprocess.TimeoutExpired as late:
                self._failed(block, f"does not end\n{late.stdout!r}\n{late.stderr!r}")
                return
        elif block.info in SQL:
            done = self.database.client(block.text)
        elif block.kind == "toml" and block.file:
            self._write(block)
            return
        else:
            return
        if done.returncode:
            self._failed(block, f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")

    def _write(self, block: Block) -> None:
        """As install.md says that files of /etc/forebay-agent are to be kept."""
        (self.appliance.root / block.file.lstrip("/")).write_text(block.text, "utf-8")
        self.appliance.sh(f"chown root:forebay-agent {block.file}; chmod 0640 {block.file}")

    def _failed(self, block: Block, said: str) -> None:
        journals = "\n".join(
            box.sh("journalctl --no-pager -n 40 -u 'forebay-*'; systemctl --failed --no-pager", check=False).stdout
            for box in (self.appliance, self.centre)
        )
        told = self.appliance.sh("forebay-agent status; forebay-agent doctor", check=False)
        raise AssertionError(
            f"docs/guides/en/{block.guide}, line {block.line} ({block.info}): {said}\n{journals}\n{told.stdout}{told.stderr}"
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("guides")
    disk = folder / "disk"
    disk.mkdir()
    disk.chmod(0o755)
    (bundle,) = OUT.glob("forebay-*-amd64.tar")
    for file in (bundle, versions.previous(folder / "previous")):
        shutil.copyfile(file, disk / file.name)
    with ExitStack() as stack:
        _, address = stack.enter_context(network("fb-ga", "fb-gc"))
        database = stack.enter_context(department("fb-ga", folder / "database", "--port=3306"))
        boxes = [
            Box(name, namespace, folder / name, disk)
            for name, namespace in (("fb-guide-appliance", "fb-ga"), ("fb-guide-centre", "fb-gc"))
        ]
        for box in boxes:
            stack.callback(box.end)
            box.boot()
        boxes[0].sh(f"echo '{address} {CENTRE}' >> /etc/hosts")
        yield Site(boxes[0], boxes[1], database)


def test_whoever_follows_the_guides_from_the_top_gets_there(site: Site) -> None:
    ran = 0
    for file in guides.path("en"):
        for block in guides.blocks(file):
            began = time.monotonic()
            site.follow(block)
            ran += 1
            first = block.text.partition("\n")[0]
            print(f"  {block.guide}:{block.line} {block.info}: {first} ({time.monotonic() - began:.1f} s)", flush=True)
    assert ran > 60
    for box, name in ((site.appliance, "forebay-agent"), (site.centre, "forebay-collector")):
        assert not (box.root / "var/lib" / name).exists()  # the last page takes everything away
