"""Health of the appliance and of this process, by psutil."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from forebay_wire.v1 import control_pb2


class HealthProbe:
    """Looks at the machine; CPU use is that since the look before."""

    def __init__(self, state: Path) -> None:
        self._state = str(state)
        self._process = psutil.Process()
        psutil.cpu_percent()

    def look(self) -> control_pb2.Health:
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(self._state)
        times = self._process.cpu_times()
        return control_pb2.Health(
            cpu_percent=psutil.cpu_percent(),
            load_1m=psutil.getloadavg()[0],
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            disk_total_bytes=disk.total,
            disk_free_bytes=disk.free,
            uptime_seconds=int(time.time() - psutil.boot_time()),
            agent_rss_bytes=self._process.memory_info().rss,
            agent_cpu_seconds=times.user + times.system,
        )
