"""A TCP proxy between agent and collector, or agent and database, that can swallow or damage what is answered, cut the
line, and answer for another server from then on.

TLS passes through untouched: the proxy sees bytes, not messages; swallowing every answer loses acknowledgements.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes everything to `target`, a port too: new lines go where it says then.
    `swallowed` counts bytes of lost answers, `damaged` those that were changed, `accepted` the lines that were opened."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.swallowed = 0
        self.carried_up = 0
        self.accepted = 0
        self.damaged = 0
        self._pattern = b""
        self._swallow = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def swallow_answers(self) -> None:
        """From now on nothing that the collector answers arrives."""
        self._swallow.set()

    def damage(self, pattern: bytes) -> None:
        """From now on the first byte of this pattern, where it is answered, arrives as another one. b"": as it is."""
        self._pattern = pattern

    def cut(self) -> None:
        """Cuts every line there is, and answers pass again on the next."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for pair in self._pairs:
            for end in pair:
                end.close()
        self._pairs.clear()
        self._swallow.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self._threads[0].join(10)
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self.accepted += 1
            self._pairs.append((client, server))
            for source, sink, upwards in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pass, args=(source, sink, upwards), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                pattern = self._pattern
                if upwards:
                    self.carried_up += len(block)
                elif self._swallow.is_set():
                    self.swallowed += len(block)
                    continue
                elif pattern and pattern in block:
                    self.damaged += block.count(pattern)
                    block = block.replace(pattern, bytes([pattern[0] ^ 0x20]) + pattern[1:])
                sink.sendall(block)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
