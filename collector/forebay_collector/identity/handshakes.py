"""Handshakes: connections that were accepted and ended before their first call.

    gRPC asks for the server's certificate   -> `begun`: a connection was accepted; nothing else is known of it
    its first call                           -> `called`, with the other end's address
    no call within `GRACE_S`                 -> the audit, as `alarms.NO_CALL`

TLS is gRPC's: why it refused a client certificate, and that it did, is told to nobody but its log. Addresses are those of
the sockets that this process has open while a connection begins, looked at now and then; where many begin at once, or one
is gone by then, the connection is counted without its address.
"""

from __future__ import annotations

import inspect
import os
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import grpc

from forebay_collector.identity import alarms
from forebay_collector.ledger import Ledger

GRACE_S: Final = 30.0
"""A connection that goes well makes its first call long before."""
_LOOKING_S: Final = 0.5
"""Longer than one look takes."""
_LOOKING_SHARE: Final = 0.05
"""So much of the time, at most, goes into looking at sockets: many connections begin at once when a collector starts."""
_FORGET_EVERY_S: Final = 60.0
_MOST_PENDING: Final = 10_000
_NOWHERE: Final = "unknown address"
_FOLDER: Final = Path("/proc/self/fd")

Address = tuple[str, int]


class Handshakes:
    """`port`: where the server listens, so that its sockets can be told from others; 0: addresses are not looked for.

    `begun` is called from gRPC's threads, `called` from the event loop, `settle` from a worker's.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.port = 0
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._nameless: deque[float] = deque(maxlen=_MOST_PENDING)
        self._pending: dict[Address, float] = {}
        self._called: dict[Address, float] = {}
        self._looked_at = clock()
        self._look_again_at = float("-inf")

    def begun(self) -> None:
        """A connection was accepted, and its handshake begins."""
        now = self._clock()
        with self._lock:
            self._nameless.append(now)
            looks = now >= self._look_again_at
            if looks:
                self._look_again_at = now + _LOOKING_S
        if looks:
            self._look()

    def called(self, peer: str) -> None:
        """A call came in from this peer (as gRPC writes it): its handshake went well."""
        address = address_of(peer)
        with self._lock:
            if address is None or address in self._called:
                return
            self._called[address] = self._clock()
            if self._pending.pop(address, None) is None and self._nameless:
                self._nameless.popleft()

    def settle(self) -> None:
        """Records the connections of which no call came."""
        now = self._clock()
        if self._nameless or self._pending or now - self._looked_at > _FORGET_EVERY_S:
            self._look()
        gone: list[str] = []
        with self._lock:
            while self._nameless and now - self._nameless[0] > GRACE_S:
                self._nameless.popleft()
                gone.append(_NOWHERE)
            for address, since in list(self._pending.items()):
                if now - since > GRACE_S:
                    del self._pending[address]
                    # one that stays open and silent is told of once
                    self._called[address] = now
                    gone.append(address[0])
        for host in gone:
            why = "a connection ended before its first call: TLS refused it, or it was a probe"
            self._ledger.refusals.note("unknown", alarms.NO_CALL, host, why, {"department": ""}, peer=host)

    def _look(self) -> None:
        """Gives pending connections their addresses, and forgets those that made calls and are closed."""
        began = self._clock()
        there = open_peers(self.port) if self.port else set()
        now = self._clock()
        with self._lock:
            self._looked_at = now
            self._look_again_at = now + (now - began) / _LOOKING_SHARE
            self._called = {
                address: since for address, since in self._called.items() if address in there or now - since <= GRACE_S
            }
            for address in there - self._called.keys() - self._pending.keys():
                if not self._nameless:
                    break
                self._pending[address] = self._nameless.popleft()


def open_peers(port: int) -> set[Address]:
    """The other ends of this process's connections to a local port. Empty where the system does not tell."""
    found: set[Address] = set()
    try:
        descriptors = [int(entry.name) for entry in _FOLDER.iterdir()]
    except OSError:
        return found
    for descriptor in descriptors:
        # one may be closed, or be another's, by the time it is looked at: nothing is done to it but ask its names
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            one = socket.socket(fileno=descriptor)
            try:
                if one.family in (socket.AF_INET, socket.AF_INET6) and one.getsockname()[1] == port:
                    host, its_port = one.getpeername()[:2]
                    found.add((_plain(host), its_port))
            finally:
                one.detach()
    return found


def address_of(peer: str) -> Address | None:
    """(host, port) of a peer as gRPC writes it: `ipv4:10.0.0.5:40000`, `ipv6:%5B2001:db8::5%5D:40000`."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    """An IPv4 address that came in at an IPv6 socket, as itself; without the zone."""
    return host.removeprefix("::ffff:").partition("%")[0] if ":" in host else host


class CallsSeen(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpc ships no types
    """Tells `Handshakes` of every call, before its method runs."""

    def __init__(self, handshakes: Handshakes) -> None:
        self._handshakes = handshakes
        self._seen: dict[str, Any] = {}  # each method's handler, made once: every open call would keep one of its own

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        made = self._seen.get(details.method)
        if made is None:
            handler = await continuation(details)
            if handler is None:
                return None
            made = self._seen[details.method] = self._seeing(handler)
        return made

    def _seeing(self, handler: Any) -> Any:
        how: Mapping[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(self._answering(handler.unary_unary), **how)
        inner = handler.stream_stream
        seen = self._yielding(inner) if inspect.isasyncgenfunction(inner) else self._answering(inner)
        return grpc.stream_stream_rpc_method_handler(seen, **how)

    def _answering(self, inner: Any) -> Any:
        async def method(request: Any, context: Any) -> Any:
            self._handshakes.called(context.peer())
            return await inner(request, context)

        return method

    def _yielding(self, inner: Any) -> Any:
        async def method(requests: Any, context: Any) -> AsyncIterator[Any]:
            self._handshakes.called(context.peer())
            async with aclosing(inner(requests, context)) as answers:
                async for answer in answers:
                    yield answer

        return method
