"""A box: a pristine Debian under an overlay, booted with systemd as PID 1 in a network namespace of its own.

The pristine root is made once, under build/systemd. What a box changes stands in its `upper` folder alone, so that what it
leaves behind can be listed. There is no network but the veth pairs that `Network` makes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PRISTINE: Final = ROOT / "build" / "systemd" / "root"
_DEBIAN: Final = "bookworm"
_BOOT_SECONDS: Final = 90.0


def pristine() -> Path:
    """A minimal Debian 12 with systemd and nothing else."""
    if not PRISTINE.exists():
        making = PRISTINE.with_name("making")
        shutil.rmtree(making, ignore_errors=True)
        making.parent.mkdir(parents=True, exist_ok=True)
        run(
            "debootstrap",
            "--variant=minbase",
            "--include=systemd,systemd-sysv,dbus,procps,iproute2",
            _DEBIAN,
            str(making),
        )
        (making / "etc/machine-id").write_text("")
        making.rename(PRISTINE)
    return PRISTINE


def run(*command: str, check: bool = True, said: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, input=said, timeout=600, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def until(done: Callable[[], bool], what: Callable[[], str], seconds: float = 60.0) -> float:
    """Waits for a condition. -> seconds it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() < began + seconds, what()
        time.sleep(0.1)
    return time.monotonic() - began


class Box:
    """One machine."""

    def __init__(self, name: str, namespace: str, folder: Path, disk: Path | None = None) -> None:
        """disk: a folder that is mounted at /mnt/disk inside, as a disk that people carry."""
        self.name = name
        self._disk = disk
        self.namespace = namespace
        self.upper, self._work, self.root = (folder / part for part in ("upper", "work", "root"))
        for part in (self.upper, self._work, self.root):
            part.mkdir(parents=True)
        layers = f"lowerdir={pristine()},upperdir={self.upper},workdir={self._work}"
        run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        self._log = (folder / "boot.log").open("ab")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        self._nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "-q", "-D", str(self.root), "-M", self.name, "--register=no", "--keep-unit"),
                *(f"--network-namespace-path=/run/netns/{self.namespace}", "--resolv-conf=off", "--timezone=off"),
                *(("-b",) if self._disk is None else (f"--bind={self._disk}:/mnt/disk", "-b")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until(self._has_leader, lambda: f"{self.name} does not boot", _BOOT_SECONDS)
        until(self._is_up, lambda: f"{self.name}: {self.sh('systemctl --failed', check=False).stdout}", _BOOT_SECONDS)

    def power_off(self) -> None:
        assert self._nspawn is not None
        self.sh("systemctl poweroff", check=False)
        self._nspawn.wait(timeout=200)
        self._nspawn, self._leader = None, 0

    def sh(self, command: str, *, check: bool = True, said: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a line of shell inside, as root."""
        inside = ("nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        environment = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root")
        return run(*inside, *environment, "sh", "-c", command, check=check, said=said)

    def put(self, file: Path, where: str) -> None:
        target = self.root / where.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)

    def state(self, unit: str, name: str) -> str:
        return self.sh(f"systemctl show -P {name} {unit}", check=False).stdout.strip()

    def active(self, unit: str, seconds: float = 60.0) -> float:
        """Waits until a unit is active. -> seconds it took."""
        return until(
            lambda: self.state(unit, "ActiveState") == "active",
            lambda: self.sh(f"systemctl status {unit}; journalctl -n 40 -u {unit}", check=False).stdout,
            seconds,
        )

    def files(self) -> set[str]:
        """What differs from the pristine root, but for what every machine that runs writes."""
        left = set()
        for place, folders, names in os.walk(self.upper):
            for name in (*folders, *names):
                left.add("/" + str(Path(place, name).relative_to(self.upper)))
        return left

    def end(self) -> None:
        if self._nspawn is not None:
            with contextlib.suppress(Exception):
                self.power_off()
        if self._nspawn is not None:
            self._nspawn.kill()
            self._nspawn.wait()
        self._log.close()
        run("umount", "-l", str(self.root), check=False)

    def _has_leader(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"{self.name}: systemd-nspawn ended"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    self._leader = int(child)
                    return True
        return False

    def _is_up(self) -> bool:
        said = self.sh("systemctl is-system-running", check=False).stdout.strip()
        return said in ("running", "degraded")


@contextlib.contextmanager
def network(first: str, second: str) -> Iterator[tuple[str, str]]:
    """Two namespaces with a veth pair between them. -> their addresses."""
    addresses = ("10.77.0.1", "10.77.0.2")
    for name in (first, second):
        run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", f"{first}-v", "netns", first, "type", "veth", "peer", f"{second}-v", "netns", second)
        for name, address in zip((first, second), addresses, strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", f"{name}-v")
            run("ip", "-n", name, "link", "set", f"{name}-v", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield addresses
    finally:
        for name in (first, second):
            run("ip", "netns", "del", name, check=False)
