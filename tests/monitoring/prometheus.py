"""A private Prometheus on loopback, and promtool."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from tests.servers.ports import closed_port

_START_SECONDS: Final = 60.0


def promtool(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Debian's promtool; its words are in both outputs. given: its input."""
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)


class Prometheus:
    """A running server with its own data. scrapes: `scrape_configs` entries; rules: files."""

    def __init__(self, folder: Path, scrapes: Sequence[Mapping[str, Any]], rules: Sequence[Path], every: str) -> None:
        folder.mkdir(parents=True)
        self.port = closed_port()
        self.log = folder / "prometheus.log"
        configuration = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": list(scrapes),
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration, ensure_ascii=False), "utf-8")  # JSON is YAML
        checked = promtool("check", "config", file)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        self._command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            assert self._process.poll() is None, self.log.read_text("utf-8")
            assert time.monotonic() < deadline, self.log.read_text("utf-8")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What /api/v1/query answers. An expression that it does not take fails."""
        told = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert told["status"] == "success", (expression, told)
        result: list[dict[str, Any]] = told["data"]["result"]
        return result

    def targets(self) -> dict[str, str]:
        """How each job's target is: up, down, unknown."""
        told = self._http.get("/api/v1/targets").json()
        return {target["labels"]["job"]: target["health"] for target in told["data"]["activeTargets"]}

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or firing now."""
        told = self._http.get("/api/v1/alerts").json()
        found: list[dict[str, Any]] = told["data"]["alerts"]
        return found

    def firing(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.alerts() if one["labels"]["alertname"] == name and one["state"] == "firing"]

    def _ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False
