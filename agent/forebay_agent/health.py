"""Health of the appliance and of the agent's own process, by psutil."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from forebay_wire.v1 import control_pb2


class Health:
    """state: the folder on whose disk the outbox is. CPU per cent are those since the call before."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._process = psutil.Process()
        psutil.cpu_percent(None)

    def measure(self) -> control_pb2.Health:
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._state))
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            rss = self._process.memory_info().rss
        return control_pb2.Health(
            cpu_percent=psutil.cpu_percent(None),
            load_1m=psutil.getloadavg()[0],
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            uptime_seconds=max(0, int(time.time() - psutil.boot_time())),
            agent_rss_bytes=rss,
            agent_cpu_seconds=cpu.user + cpu.system,
        )
