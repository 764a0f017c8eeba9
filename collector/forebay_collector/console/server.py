"""A web server: uvicorn in a thread of its own, on an address that is opened before anything else starts.

It is the console's, or that of another section of collector.toml with `listen`, `certificate` and `key`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import uvicorn
from starlette.applications import Starlette

from forebay_collector.errors import AddressUnusable, ConfigurationError
from forebay_collector.identity.authority import host_of
from forebay_collector.settings import ConsoleSettings, MetricsSettings, Settings

Died = Callable[[str, BaseException], None]
_BACKLOG: Final = 512
_START_S: Final = 30.0
_STOP_S: Final = 10.0
Section: TypeAlias = Literal["console", "metrics"]
_LOOPBACK: Final = ("localhost", "::1")
_log = logging.getLogger("forebay.console")


class ConsoleServer:
    """Serves one application. `died` hears of a server that ended by itself. section: of the settings, says where."""

    def __init__(self, settings: Settings, died: Died, section: Section = "console") -> None:
        """Opens the address. Raises ConfigurationError, AddressUnusable."""
        place: ConsoleSettings | MetricsSettings = getattr(settings, section)
        self._died = died
        self._section = section
        self._tls = _tls(settings, section, place)
        self._socket = _listen(section, place.listen)
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
        self._thread = threading.Thread(target=self._run, name=self._section, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise AddressUnusable(f"the {self._section} at {self.address} does not start")
            time.sleep(0.01)
        _log.info("%s ready address=%s", self._section, self.address)

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
            self._died(self._section, error)
            return
        if not self._stopping:
            self._died(self._section, RuntimeError("the server ended"))


def _listen(section: Section, address: str) -> socket.socket:
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
            f"the {section} cannot listen on {address}: {error.strerror}",
            remedy=f"Choose a free address with `listen` of `[{section}]` in collector.toml.",
        ) from None
    return opened


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it."""
    host = host_of(address) if address else ""
    return host in _LOOPBACK or host.startswith("127.")


def _tls(settings: Settings, section: Section, place: ConsoleSettings | MetricsSettings) -> ssl.SSLContext | None:
    """None: without TLS, which is for this machine only. Raises ConfigurationError."""
    file = str(settings.data.settings)
    if bool(place.certificate) != bool(place.key):
        raise ConfigurationError(
            "a certificate and its key go together", file=file, key=section, remedy="Name both, or neither."
        )
    if not place.certificate:
        if not is_loopback(place.listen):
            raise ConfigurationError(
                f"{place.listen} is reached from other machines, and has no certificate",
                file=file,
                key=f"{section}.listen",
                remedy="Name `certificate` and `key`, or listen on 127.0.0.1 behind a proxy that speaks TLS.",
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.folder / place.certificate, settings.folder / place.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"certificate or key cannot be used: {error.strerror or type(error).__name__}", file=file, key=section
        ) from None
    return context
