"""The network of the harness: a namespace for each department and the centre, joined by a hub that forwards between them.

    department N  10.77.N.2 ── 10.77.N.1  hub  10.77.9.1 ── 10.77.9.2  centre

Faults of links are nftables sets in the hub (loss, one direction, both) and `tc tbf` on the pair of a department (rate and
a short queue). netem is not in every kernel: delay is what the queue makes. TLS runs from end to end, but while a
department is diverted to the proxy of `messages.py`. Every element of a set counts its packets: that a fault struck.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.faults.commands import ended

PORT: Final = 7443
"""where the collector listens"""
_PROXY_PORTS: Final = 7500
CENTRE: Final = 9
_CLONE_NEWNET: Final = 0x40000000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_RULES: Final = """
table ip faults {
  set up { type ipv4_addr; counter; }
  set down { type ipv4_addr; counter; }
  set lossy { type ipv4_addr; counter; }
  set diverted { type ipv4_addr; counter; }
  set cut { type ipv4_addr; counter; }
  chain forward {
    type filter hook forward priority 0;
    ip saddr @up drop
    ip daddr @down drop
    numgen random mod 100 < 15 ip saddr @lossy drop
    numgen random mod 100 < 15 ip daddr @lossy drop
    tcp dport PORT ip saddr @cut reject with tcp reset
  }
  chain arriving {
    type nat hook prerouting priority -100;
  }
}
"""


def run(*arguments: str, given: str | None = None) -> str:
    """A command to its end. Raises RuntimeError with what it said."""
    told = ended(arguments, 60, given)
    if told.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} exited {told.returncode}: {told.stderr.strip()}")
    return told.stdout


class Namespace:
    """One network namespace, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> Path:
        return Path("/run/netns", self.name)

    def run(self, *arguments: str, given: str | None = None) -> str:
        return run(*self.prefix, *arguments, given=given)

    @property
    def prefix(self) -> Sequence[str]:
        """What stands before a command that runs inside; the command keeps its pid and its mounts."""
        return ("nsenter", f"--net={self.path}")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and what it starts, is in the namespace; sockets stay where they were made."""
        with Path("/proc/thread-self/ns/net").open() as before, self.path.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def delete(self) -> None:
        with contextlib.suppress(RuntimeError):
            run("ip", "netns", "delete", self.name)


class Network:
    """`places`: names of the departments, in the order of their numbers."""

    def __init__(self, places: Sequence[str]) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self.hub = self._namespace("hub")
            self.hub.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            self.numbers = {place: number for number, place in enumerate(places, 1)}
            self.of = {place: self._department(place, number) for place, number in self.numbers.items()}
            self.of["collector"] = self._department("centre", CENTRE)
            self.hub.run("nft", "-f", "-", given=_RULES.replace("PORT", str(PORT)))
            for place in places:
                self._let_divert(place)
        except BaseException:
            self._stack.close()
            raise

    @property
    def collector(self) -> str:
        """The collector's address."""
        return f"10.77.{CENTRE}.2:{PORT}"

    def proxy_port(self, place: str) -> int:
        """Where in the hub the connections of a department arrive that is diverted."""
        return _PROXY_PORTS + self.numbers[place]

    def add(self, place: str, *sets: str) -> None:
        """Puts the department into sets of the hub: up, down, lossy, diverted, cut."""
        for name in sets:
            self.hub.run("nft", f"add element ip faults {name} {{ {self._address(place)} }}")

    def remove(self, place: str, *sets: str) -> None:
        for name in sets:
            with contextlib.suppress(RuntimeError):
                self.hub.run("nft", f"delete element ip faults {name} {{ {self._address(place)} }}")

    def packets(self, place: str, *sets: str) -> int:
        """How many packets met the department's elements since it was put there."""
        return sum(self._packets(place, name) for name in sets)

    def slow(self, place: str, rate: str) -> None:
        """Both ways; what does not fit into a queue of half a second is dropped."""
        shape = ("root", "tbf", "rate", rate, "burst", "8kb", "latency", "500ms")
        number = self.numbers[place]
        self.hub.run("tc", "qdisc", "replace", "dev", f"to{number}", *shape)
        self.of[place].run("tc", "qdisc", "replace", "dev", "wan", *shape)

    def overlimits(self, place: str) -> int:
        """How often the rate held packets up."""
        told = json.loads(self.of[place].run("tc", "-s", "-j", "qdisc", "show", "dev", "wan"))
        return sum(int(each.get("overlimits", 0)) for each in told)

    def quick(self, place: str) -> None:
        for where, device in ((self.hub, f"to{self.numbers[place]}"), (self.of[place], "wan")):
            with contextlib.suppress(RuntimeError):
                where.run("tc", "qdisc", "delete", "dev", device, "root")

    def close(self) -> None:
        self._stack.close()

    def _namespace(self, name: str) -> Namespace:
        made = Namespace(f"fb{os.getpid()}-{name}")
        self._stack.callback(made.delete)
        return made

    def _department(self, name: str, number: int) -> Namespace:
        made = self._namespace(name)
        there = f"to{number}"
        self.hub.run("ip", "link", "add", there, "type", "veth", "peer", "name", "wan", "netns", made.name)
        self.hub.run("ip", "address", "add", f"10.77.{number}.1/24", "dev", there)
        self.hub.run("ip", "link", "set", there, "up")
        made.run("ip", "address", "add", f"10.77.{number}.2/24", "dev", "wan")
        made.run("ip", "link", "set", "wan", "up")
        made.run("ip", "route", "add", "default", "via", f"10.77.{number}.1")
        return made

    def _let_divert(self, place: str) -> None:
        address, port = self._address(place), self.proxy_port(place)
        rule = f"tcp dport {PORT} ip saddr {address} ip saddr @diverted redirect to :{port}"
        self.hub.run("nft", f"add rule ip faults arriving {rule}")

    def _address(self, place: str) -> str:
        return f"10.77.{self.numbers[place]}.2"

    def _packets(self, place: str, name: str) -> int:
        told = json.loads(self.hub.run("nft", "-j", "list", "set", "ip", "faults", name))
        (found,) = (each["set"] for each in told["nftables"] if "set" in each)
        elements = [each["elem"] for each in found.get("elem", ()) if "elem" in each]
        return sum(each["counter"]["packets"] for each in elements if each["val"] == self._address(place))


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
