"""Messages between agent and collector that are lost, doubled, reordered or altered: the department is diverted to
`message_proxy.py` meanwhile. Its connections are reset before; those through the proxy end with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from forebay_collector.identity.authority import Authority, key_pem, pem
from tests.faults.fault import AGENTS, Fault
from tests.faults.fleet import COLLECTOR


class Meddled(Fault):
    """fault: what the proxy does."""

    on = AGENTS
    fault: ClassVar[str]

    def inject(self) -> None:
        folder = self.fleet.folder / self.place / "proxy"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with self.member.disk.reading:
            shutil.copytree(self.fleet.state(self.place) / "identity", folder / "identity")
        certificate, key = self.patiently(self._certificate)
        (folder / "server.pem").write_bytes(pem(certificate))
        (folder / "server.key").write_bytes(key_pem(key))
        self._told: list[str] = []
        self._process = self._started(folder)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait(lambda: "ready" in self._told, "ready", 30)
        self.fleet.network.add(self.place, "diverted", "cut")
        time.sleep(0.7)
        self.fleet.network.remove(self.place, "cut")

    def struck(self) -> str:
        strikes = [line for line in self._told if line != "ready"]
        return f"{len(strikes)} times, the last: {strikes[-1]}" if strikes else ""

    def heal(self) -> None:
        self.fleet.network.remove(self.place, "diverted")
        self._process.kill()
        self._process.wait()
        self._reader.join(10)

    def _certificate(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        with self.fleet.members[COLLECTOR].disk.reading:
            return Authority.load(self.fleet.data / "identity").server_certificate(["127.0.0.1"])

    def _started(self, folder: Path) -> subprocess.Popen[str]:
        port = self.fleet.network.proxy_port(self.place)
        command = [sys.executable, "-m", "tests.faults.message_proxy", str(folder), str(port)]
        told = [self.fleet.network.collector, self.fault, str(self.draw.randrange(10**9))]
        with (self.fleet.folder / self.place / "proxy.log").open("a") as log:
            return subprocess.Popen(
                [*self.fleet.network.hub.prefix, *command, *told], stdout=subprocess.PIPE, stderr=log, text=True
            )

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.append(line.strip())


class LostAck(Meddled):
    name = "lost ack"
    fault = "lost-acks"


class Duplicated(Meddled):
    name = "duplicated messages"
    fault = "doubled"


class Reordered(Meddled):
    name = "reordered messages"
    fault = "reordered"


class Altered(Meddled):
    name = "altered messages"
    fault = "altered"


KINDS: Final = (LostAck, Duplicated, Reordered, Altered)
