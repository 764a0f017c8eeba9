"""Channels to a collector: mutual TLS 1.3, HTTP/2 settings as measured, no proxy.

Uplink and control speak over one connection: a collector holds a thousand of them, and each takes its memory. Whoever meets
a failure on it ends the sharing: the next who comes gets a new one, which tries at once, and who is still on the old one
stays there until that fails too.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import grpc
from grpc import _common as grpc_waiting

from forebay_agent.identity import Identity
from forebay_wire import limits

SERVER_NAME: Final = "forebay-collector"
"""Every collector's certificate carries this name, whatever its address; the authority is private."""

OPTIONS: Final[list[tuple[str, str | int]]] = [
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.default_authority", SERVER_NAME),
    ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
    # measured: a third more throughput with 1 MiB messages
    ("grpc.http2.max_frame_size", 1 << 20),
    ("grpc.http2.lookahead_bytes", 4 << 20),
    # a peer that vanished is noticed within about half a minute
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    # a new channel tries at once: pauses between tries are ours
    ("grpc.use_local_subchannel_pool", 1),
]

# grpcio wakes every thread that waits for an answer ten times a second, so that a main thread sees its signals
# (grpc/grpc#19464). Here only threads of their own wait for long, and those wakes were a third of what an idle agent took.
# An answer, and a call's end, wake the thread at once all the same.
grpc_waiting.MAXIMUM_WAIT_TIMEOUT = 5.0


def open_channel(address: str, *, authority: bytes, certificate: bytes, key: bytes) -> grpc.Channel:
    """A channel to `host:port`; nothing is sent yet. Close it."""
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    return grpc.secure_channel(address, credentials, options=OPTIONS)


@dataclass(slots=True)
class _Open:
    """users: who has it. shared: whether the next who comes gets it too."""

    address: str
    own: Identity
    channel: grpc.Channel
    users: int = 1
    shared: bool = True


class Shared:
    """A channel in use by one of those who share it: `close` it."""

    def __init__(self, opened: _Open, channels: Channels) -> None:
        self._opened = opened
        self._channels = channels
        self._closed = False

    @property
    def channel(self) -> grpc.Channel:
        return self._opened.channel

    def close(self, *, failed: bool) -> None:
        """May be called again. failed: the next who comes gets another."""
        if not self._closed:
            self._closed = True
            self._channels.leave(self._opened, failed=failed)


class Channels:
    """The channels that are open, one for each address and identity. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[_Open] = []

    def get(self, address: str, own: Identity) -> Shared:
        """To `host:port`, under this identity."""
        with self._lock:
            for opened in self._open:
                if opened.shared and opened.address == address and opened.own == own:
                    opened.users += 1
                    return Shared(opened, self)
            channel = open_channel(address, authority=own.authority, certificate=own.certificate, key=own.key)
            opened = _Open(address, own, channel)
            self._open.append(opened)
            return Shared(opened, self)

    def leave(self, opened: _Open, *, failed: bool) -> None:
        """See `Shared.close`."""
        with self._lock:
            opened.users -= 1
            opened.shared = opened.shared and not failed
            last = not opened.users
            if last:
                self._open.remove(opened)
        if last:
            opened.channel.close()
