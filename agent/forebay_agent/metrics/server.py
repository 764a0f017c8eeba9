"""The agent's own small HTTP server: `GET /metrics`, on the loopback, one request at a time, each within a few seconds.

It is a thread of its own that sleeps until somebody connects, and nothing hangs on it: an address that is taken is told in
the journal and tried again, a request that goes wrong ends with its connection, and the watchdog does not know of it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from forebay_agent import journal
from forebay_agent.config import values
from forebay_agent.report import Seen

if TYPE_CHECKING:
    from forebay_agent.metrics.exposition import Exposition

PATH: Final = "/metrics"
REQUEST_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 5.0
_MOST_BYTES: Final = 8 << 10
"""of a request"""
_BACKLOG: Final = 8
_END_SECONDS: Final = 5.0
_END_OF_HEAD: Final = b"\r\n\r\n"


class MetricsServer:
    """`tune` and `stop` are called by one thread. look: how the process stands now."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look
        self._listen = ""
        self._exposition: Exposition | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def tune(self, listen: str) -> None:
        """Listens here from now on, `host:port`; empty: nowhere."""
        if listen == self._listen:
            return
        self.stop()
        self._listen = listen
        if listen:
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(listen, self._stopped), name="metrics", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._listen = ""
        self._stopped.set()
        listener, thread = self._listener, self._thread
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        if thread is not None:
            thread.join(_END_SECONDS)
        self._thread = None

    def _run(self, listen: str, stopped: threading.Event) -> None:
        said = ""
        while not stopped.is_set():
            try:
                with closing(_open(listen)) as listener:
                    self._listener = listener
                    journal.info("metrics are told", address=listen)
                    while not stopped.is_set():
                        self._take(listener)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                if not stopped.is_set() and reason != said:
                    journal.warning("metrics are not told for now", address=listen, reason=reason)
                said = reason
            stopped.wait(_AGAIN_SECONDS)
        self._listener = None

    def _take(self, listener: socket.socket) -> None:
        """One connection. Raises OSError when the listener fails."""
        connection, _ = listener.accept()
        with connection:
            try:
                self._answer(connection)
            except OSError:
                return  # whoever asked has gone, or takes too long
            except Exception as error:
                journal.error("metrics cannot be told", reason=journal.unexpected(error))

    def _answer(self, connection: socket.socket) -> None:
        head = _head_of(connection)
        if head is None:
            return
        method, _, rest = head.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path != PATH:
            answer = _response("404 Not Found", "text/plain", f"metrics are at {PATH}\n".encode())
        elif method != "GET":
            answer = _response("405 Method Not Allowed", "text/plain", b"")
        else:
            answer = self._page()
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(answer)

    def _page(self) -> bytes:
        # imported by the first who asks: an agent that nobody asks does without
        from forebay_agent.metrics.exposition import CONTENT_TYPE, Exposition

        if self._exposition is None:
            self._exposition = Exposition(self._look)
        return _response("200 OK", CONTENT_TYPE, self._exposition.page())


def _open(listen: str) -> socket.socket:
    host, port = values.address(listen)
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, number)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _head_of(connection: socket.socket) -> str | None:
    """The first line of a request that came whole, within the time and the size that one may take."""
    until = time.monotonic() + REQUEST_SECONDS
    request = b""
    while _END_OF_HEAD not in request:
        left = until - time.monotonic()
        if left <= 0 or len(request) > _MOST_BYTES:
            return None
        connection.settimeout(left)
        part = connection.recv(_MOST_BYTES)
        if not part:
            return None
        request += part
    return request.partition(b"\r\n")[0].decode("ascii", "replace")


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
