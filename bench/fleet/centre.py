"""The collector of the benchmark: founded in a folder of its own, its agents enrolled, run as its service units run it: one
process for each role, over one ledger and one archive."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from bench.fleet import tables
from bench.fleet.agent import Certificate
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority, key_pem, new_key, pem
from forebay_collector.identity.names import expires_at_us, serial_text
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.service import approvals, sessions, users
from forebay_collector.service.actor import Actor
from forebay_wire.stream import StreamName
from tests.servers.ports import closed_port

_ROOT: Final = Actor.local("bench")
_VIEWER: Final = "viewer"
ROLES: Final = ("receive", "load", "console")
_START_S: Final = 60.0
_STOP_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Use:
    """What the processes have used so far: CPU seconds of them, and their memory now, in KiB."""

    cpu_s: float
    rss_kib: int
    at: float


class Centre:
    """One collector over `folder`; tables are approved by hand. roles: of each of its processes, as `serve --role` takes
    them."""

    def __init__(self, folder: Path, roles: Sequence[str] = ROLES) -> None:
        self.address = f"127.0.0.1:{closed_port()}"
        self._console = f"127.0.0.1:{closed_port()}"
        self.settings = init(folder / "collector", [self.address], "manual", self._console)
        self.ledger = Ledger.open(self.settings.data.ledger)
        self._logs = {role: folder / f"{role.replace(',', '-')}.log" for role in roles}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        users.create(self.ledger, _ROOT, _VIEWER, ["viewer"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.ledger.close()

    def enrol(self, agents: int) -> list[Certificate]:
        """Certificates of the collector's own authority, each for a key of its own, noted in its ledger."""
        authority = Authority.load(self.settings.data.identity)
        made: list[Certificate] = []
        with self.ledger.database.write() as connection:
            for number in range(agents):
                key = new_key()
                name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an appliance")])
                request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
                agent, department = tables.agent_name(number), tables.department_of(number)
                signed = authority.agent_certificate(
                    request.public_bytes(serialization.Encoding.DER), agent, department
                )
                serial, ends, now = serial_text(signed), expires_at_us(signed), self.ledger.database.clock()
                put_certificate(connection, agent, department, serial, ends, now, hostname=agent, version="0.1.0")
                made.append(Certificate(pem(authority.certificate), pem(signed), key_pem(key)))
        return made

    def start(self) -> None:
        """Returns when all its processes are ready. Raises RuntimeError when one is not."""
        program = str(Path(sys.executable).with_name("forebay-collector"))
        for role, file in self._logs.items():
            command = [program, "--data", str(self.settings.folder), "serve", "--role", role]
            with file.open("ab") as log:
                self._processes[role] = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        for role, process in self._processes.items():
            while "collector ready" not in self._said(role):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the collector's {role} does not start: {self._said(role)[-2000:]}")
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it in order. Raises RuntimeError when it does not end well."""
        for role, process in self._processes.items():
            process.terminate()
            if process.wait(_STOP_S) != 0:
                raise RuntimeError(f"the collector's {role} ended badly: {self._said(role)[-2000:]}")
        self._processes.clear()

    def use(self) -> Use:
        """Of all its processes together."""
        seen = [psutil.Process(process.pid) for process in self._processes.values()]
        times = [each.cpu_times() for each in seen]
        rss_kib = sum(each.memory_info().rss for each in seen) // 1024
        return Use(sum(each.user + each.system for each in times), rss_kib, time.monotonic())

    def _said(self, role: str) -> str:
        return self._logs[role].read_text("utf-8", errors="replace")

    def approve(self, streams: list[StreamName]) -> None:
        """Once they are all proposed. Raises RuntimeError when one cannot be approved."""
        deadline = time.monotonic() + _START_S
        while len(self.ledger.approvals.listing()) < len(streams):
            if time.monotonic() > deadline:
                raise RuntimeError("the agents' proposals are not in the ledger")
            time.sleep(0.1)
        failed = [each for each in approvals.approve_many(self.ledger, _ROOT, streams, "benchmark") if each.error]
        if failed:
            raise RuntimeError(f"{failed[0].stream} cannot be approved: {failed[0].error}")

    def visitor(self) -> Visitor:
        """Someone who is logged in at the console."""
        return Visitor(f"http://{self._console}", sessions.open_session(self.ledger, Actor(_VIEWER, frozenset())))


class Visitor:
    """Asks for the fleet's page, as a browser does."""

    def __init__(self, base: str, token: str) -> None:
        self._http = httpx.Client(base_url=base, timeout=60, cookies={"forebay_session": token})

    def fleet_ms(self, agents: int) -> float:
        """From asking to the whole page: the server's time and the loopback's. Raises RuntimeError when it is not the page
        of so many agents."""
        began = time.perf_counter()
        answer = self._http.get("/")
        took = (time.perf_counter() - began) * 1_000
        shown = answer.text.count("/agents/")
        if answer.status_code != 200 or shown < agents:
            raise RuntimeError(f"the fleet's page: {answer.status_code}, {shown} links to agents")
        return took

    def close(self) -> None:
        self._http.close()
