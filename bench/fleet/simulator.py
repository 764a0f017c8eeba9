"""The agents' process: told what to do on stdin, one word and a number a line; says what happened on stdout, as JSON lines.

connect N   agents up to the Nth come in, a few at a time, and beat from then on
approved    waits until all of them may send
run SECONDS each stream sends a batch a minute; waits for what is unanswered at the end
(the end)   latencies and what was acknowledged go into a file, and the process ends
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.fleet.agent import HEARTBEAT_S, Certificate, Seen, SimulatedAgent

BATCH_EVERY_S: Final = 60.0
_AT_ONCE: Final = 24
_LAST_ACKS_S: Final = 60.0


class Simulator:
    """folder: `certificates.json` with each agent's PEM texts; `seen.json` is written there."""

    def __init__(self, folder: Path, address: str, seed: int) -> None:
        self._folder = folder
        self._address = address
        self._seed = seed
        self._random = random.Random(seed)
        self._seen = Seen()
        self._agents: list[SimulatedAgent] = []
        self._tasks: set[asyncio.Task[None]] = set()
        everyone = json.loads((folder / "certificates.json").read_text("utf-8"))
        self._certificates = [Certificate(*(text.encode() for text in each)) for each in everyone]

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            word, number = line[0], float(line[1]) if len(line) > 1 else 0.0
            if word == "connect":
                await self._connect(int(number))
            elif word == "approved":
                await asyncio.gather(*(agent.approved() for agent in self._agents))
            elif word == "run":
                await self._send_for(number)
            elif word == "forget":
                self._seen.heartbeats.clear()
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._say(done=word, cpu_s=used.ru_utime + used.ru_stime)
        sent_of = {str(chain.stream): chain.link.seq - 1 for agent in self._agents for chain in agent.chains}
        (self._folder / "seen.json").write_text(json.dumps(asdict(self._seen) | {"sent_of": sent_of}), "utf-8")
        for task in self._tasks:
            task.cancel()

    async def _connect(self, upto: int) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> None:
            async with limit:
                agent = SimulatedAgent(number, self._address, self._certificates[number], self._seed, self._seen)
                await agent.come_in()
                self._agents.append(agent)
                self._start(self._beat(agent))

        await asyncio.gather(*(one(number) for number in range(len(self._agents), upto)))

    async def _beat(self, agent: SimulatedAgent) -> None:
        await asyncio.sleep(self._random.uniform(0, HEARTBEAT_S))
        due = time.monotonic()
        while True:
            await agent.beat()
            due += HEARTBEAT_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _send_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        sending = [
            asyncio.create_task(self._batches(agent, chain, until)) for agent in self._agents for chain in agent.chains
        ]
        telling = asyncio.create_task(self._tell(until))
        await asyncio.gather(*sending)
        deadline = time.monotonic() + _LAST_ACKS_S
        while any(agent.unanswered for agent in self._agents) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        telling.cancel()

    async def _batches(self, agent: SimulatedAgent, chain: Any, until: float) -> None:
        # a run that is shorter than a minute still has each stream send once
        spread = min(BATCH_EVERY_S, max(0.0, until - time.monotonic()))
        due = time.monotonic() + self._random.uniform(0, spread)
        while due <= until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await agent.send(chain)
            due += BATCH_EVERY_S

    async def _tell(self, until: float) -> None:
        while True:
            await asyncio.sleep(10)
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._say(
                left_s=round(max(0.0, until - time.monotonic())),
                sent=self._seen.sent,
                acked=len(self._seen.acked),
                refused=len(self._seen.refused),
                broken=len(self._seen.broken),
                cpu_s=round(used.ru_utime + used.ru_stime, 1),
            )

    def _start(self, what: Any) -> None:
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._seen.broken.append(f"{type(error).__name__}: {error}")

    def _say(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)


def main() -> None:
    folder, address, seed = sys.argv[1:]
    asyncio.run(Simulator(Path(folder), address, int(seed)).run())


if __name__ == "__main__":
    main()
