"""A real mail server on loopback, with STARTTLS, TLS or neither, and a log-in."""

from __future__ import annotations

import asyncio
import email
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Mailbox:
    """What the server took: log-ins, and mails with their recipients. refusal: what it says to every mail instead."""

    def __init__(self, password: str) -> None:
        self.mails: list[tuple[list[str], Any]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.refusal = ""
        self._password = password.encode()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refusal:
            return self.refusal
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"

    def log_in(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: LoginPassword) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == self._password, handled=False)


@contextmanager
def mail_server(security: str, tls: ssl.SSLContext, password: str) -> Iterator[tuple[Mailbox, str]]:
    """security: starttls, tls, none. -> its mailbox and its address."""
    box = Mailbox(password)
    options: dict[str, Any] = {"authenticator": box.log_in, "auth_require_tls": security == "starttls"}
    if security == "starttls":
        options |= {"tls_context": tls, "require_starttls": True}
    loop = asyncio.new_event_loop()

    async def opened() -> asyncio.Server:
        context = tls if security == "tls" else None
        return await loop.create_server(lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0, ssl=context)

    # in its own thread from the start: the browser's tests have a loop that runs in this one
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(opened(), loop).result(30)
        yield box, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_ended(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended() -> None:
    """Ends what is still connected."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
