"""Mail: SMTP with STARTTLS or TLS, and a log-in where one is set. TLS is verified; without it only on this machine.

`Message-ID` is the same in every attempt: a mail that was sent twice can be told.
"""

from __future__ import annotations

import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from forebay_collector.alerts.channels.contract import authorities_of, secret_of
from forebay_collector.alerts.channels.http import reason_of
from forebay_collector.alerts.message import Wording
from forebay_collector.alerts.settings import MailSettings, on_this_machine
from forebay_collector.errors import ConfigurationError, NotSent
from forebay_collector.identity.authority import host_of

TIMEOUT_S: Final = 6.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MailChannel:
    """Raises ConfigurationError."""

    def __init__(self, settings: MailSettings, folder: Path, authorities: str) -> None:
        for key in ("sender", "recipients"):
            if not getattr(settings, key):
                raise ConfigurationError("is missing", key=f"alerts.mail.{key}")
        if settings.security == "none" and not on_this_machine(settings.server):
            raise ConfigurationError(
                "mail leaves this machine only over TLS", key="alerts.mail.security", remedy="Use starttls or tls."
            )
        if settings.user and not settings.password:
            raise ConfigurationError("is missing", key="alerts.mail.password")
        self._settings = settings
        self._password = secret_of(folder, settings.password, "alerts.mail.password") if settings.password else ""
        if not (self._password + settings.user).isascii():
            raise ConfigurationError("log-ins of mail servers are ASCII", key="alerts.mail.password")
        self._context = authorities_of(folder, authorities)

    @property
    def place(self) -> str:
        return host_of(self._settings.server)

    def send(self, wording: Wording) -> str:
        try:
            with self._connected() as server:
                if self._settings.user:
                    server.login(self._settings.user, self._password)
                refused = server.send_message(self._mail(wording))
        except smtplib.SMTPResponseException as error:
            # what the server says may repeat the log-in
            raise NotSent(f"SMTP {error.smtp_code} {_STEPS.get(type(error), '')}".strip()) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise NotSent(f"SMTP {', '.join(map(str, codes))} no recipient is taken") from None
        except smtplib.SMTPException as error:
            raise NotSent(type(error).__name__) from None
        except (OSError, ssl.SSLError) as error:
            raise NotSent(reason_of(error)) from None
        return "SMTP 250" if not refused else f"SMTP 250, {len(refused)} recipients refused"

    def close(self) -> None:
        """Every mail has a connection of its own."""

    def _connected(self) -> smtplib.SMTP:
        host, port = host_of(self._settings.server), int(self._settings.server.rpartition(":")[2])
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=self._context)
        server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
        try:
            if self._settings.security == "starttls":
                server.starttls(context=self._context)
        except BaseException:
            server.close()
            raise
        return server

    def _mail(self, wording: Wording) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = wording.title
        mail["From"] = self._settings.sender
        mail["To"] = ", ".join(self._settings.recipients)
        mail["Date"] = format_datetime(_EPOCH + timedelta(microseconds=wording.note.made_at))
        host = self._settings.sender.rpartition("@")[2]
        mail["Message-ID"] = f"<forebay-{wording.note.id}-{wording.note.made_at}@{host}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(wording.plain())
        return mail


_STEPS: Final = {
    smtplib.SMTPAuthenticationError: "the log-in is refused",
    smtplib.SMTPSenderRefused: "the sender is refused",
    smtplib.SMTPDataError: "the mail is refused",
    smtplib.SMTPConnectError: "no connection",
    smtplib.SMTPHeloError: "the greeting is refused",
}
