"""The console's server: uvicorn in a thread of its own, on an address that is opened before anything else starts."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.applications import Starlette

from forebay_collector.errors import AddressUnusable, ConfigurationError
from forebay_collector.identity.authority import host_of
from forebay_collector.settings import Settings

Died = Callable[[str, BaseException], None]
_BACKLOG: Final = 512
_START_S: Final = 30.0
_STOP_S: Final = 10.0
_LOOPBACK: Final = ("localhost", "::1")
_log = logging.getLogger("forebay.console")


class ConsoleServer:
    """Serves one application. `died` hears of a server that ended by itself."""

    def __init__(self, settings: Settings, died: Died) -> None:
        """Opens the address. Raises ConfigurationError, AddressUnusable."""
        self._died = died
        self._tls = _tls(settings)
        self._socket = _listen(settings.console.listen)
        self._server: uvicorn.Server | None = None
        self._app: Starlette | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def secure(self) -> bool:
        return self._tls is not None

    @property
    def address(self) -> str:
        """Where a browser on this machine finds it."""
        host, port = self._socket.getsockname()[:2]
        if host in ("0.0.0.0", "::"):  # noqa: S104  said of the address, not opened here
            host = "localhost"
        return f"{'https' if self.secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self, app: Starlette) -> None:
        """Serves the application from now on; returns when it answers. Raises AddressUnusable."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=int(_STOP_S) // 2,
            timeout_keep_alive=30,
            limit_concurrency=1_000,
            h11_max_incomplete_event_size=32 << 10,
        )
        config.load()
        config.ssl = self._tls
        self._app, self._server = app, uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise AddressUnusable(f"the console at {self.address} does not start")
            time.sleep(0.01)
        _log.info("console ready address=%s", self.address)

    def stop(self) -> None:
        """Ends the open pages and the answers under way."""
        self._stopping = True
        if self._app is not None:
            self._app.state.stop()
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_S)
        self._socket.close()

    def _run(self) -> None:
        assert self._server is not None
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        except BaseException as error:
            self._died("console", error)
            return
        if not self._stopping:
            self._died("console", RuntimeError("the server ended"))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        # named as TCP, so that asyncio sends what is small at once: else each answer waits 40 ms for the one before it
        opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, int(port)))
            opened.listen(_BACKLOG)
            opened.setblocking(False)
        except BaseException:
            opened.close()
            raise
    except OSError as error:
        raise AddressUnusable(
            f"the console cannot listen on {address}: {error.strerror}",
            remedy="Choose a free address with `listen` of `[console]` in collector.toml.",
        ) from None
    return opened


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """None: without TLS, which is for browsers on this machine only. Raises ConfigurationError."""
    console, file = settings.console, str(settings.data.settings)
    if bool(console.certificate) != bool(console.key):
        raise ConfigurationError(
            "a certificate and its key go together", file=file, key="console", remedy="Name both, or neither."
        )
    if not console.certificate:
        host = host_of(console.listen)
        if not (host in _LOOPBACK or host.startswith("127.")):
            raise ConfigurationError(
                f"{console.listen} is reached from other machines, and has no certificate",
                file=file,
                key="console.listen",
                remedy="Name `certificate` and `key`, or listen on 127.0.0.1 behind a proxy that speaks TLS.",
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.folder / console.certificate, settings.folder / console.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"certificate or key cannot be used: {error.strerror or type(error).__name__}", file=file, key="console"
        ) from None
    return context
