"""Why a collector cannot be reached: a plain TCP and TLS handshake of our own, told by errno and TLS alert.

gRPC says UNAVAILABLE for a refused connection and a refused certificate alike.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

import grpc

from forebay_agent.channel import SERVER_NAME
from forebay_agent.errors import AgentError, CertificateRefused, CollectorUnreachable
from forebay_agent.identity import CERTIFICATE_FILE, KEY_FILE, Identity

_SECONDS: Final = 5.0
_IDENTITY_CODES: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_NAMES: Final = (
    "Mend the appliance's name server (/etc/resolv.conf), put the name into /etc/hosts, or give the address in numbers."
)
# what a server that looks at client certificates answers to one that was left out on purpose
_CERTIFICATE_ASKED: Final = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE")


def explain(error: grpc.RpcError, address: str, authority: bytes, identity: Identity | None) -> AgentError:
    """What a failed call means. identity: None while enrolling, when the client certificate is not looked at."""
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    said = error.details() if isinstance(error, grpc.Call) else ""
    if code in _IDENTITY_CODES:
        return CertificateRefused(f"collector {address} refuses this agent: {said}")
    if code is grpc.StatusCode.UNAVAILABLE:
        return handshake(address, authority, identity) or CollectorUnreachable(
            f"collector {address} ended the connection: {said}"
        )
    return CollectorUnreachable(f"collector {address} ended the call with {code.name}: {said}")


def handshake(address: str, authority: bytes, identity: Identity | None) -> AgentError | None:
    """Tries TCP and TLS; None when both are fine."""
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    try:
        if identity is not None:
            context.load_cert_chain(identity.folder / CERTIFICATE_FILE, identity.folder / KEY_FILE)
        with (
            socket.create_connection(host_and_port(address), timeout=_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=SERVER_NAME) as secured,
        ):
            secured.recv(1)  # TLS 1.3: a refused client certificate shows at the first read
    except ssl.SSLCertVerificationError as error:
        return CertificateRefused(
            f"collector {address} shows a certificate that is not accepted: {error.verify_message}",
            remedy="Check that the address is the collector's; if its authority was made anew, enrol again.",
        )
    except ssl.SSLError as error:
        if identity is None and error.reason in _CERTIFICATE_ASKED:
            return None
        return CertificateRefused(f"collector {address} refuses this agent's certificate ({error.reason})")
    except TimeoutError:
        return CollectorUnreachable(
            f"collector {address} does not answer within {_SECONDS:.0f} s",
            remedy="A firewall between drops it, or the machine is off: have the port opened from this appliance to there.",
        )
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            return CollectorUnreachable(f"collector {address}: no name server answers", remedy=_NAMES)
        return CollectorUnreachable(f"collector {address}: the host name is not known", remedy=_NAMES)
    except ConnectionResetError:
        return CollectorUnreachable(f"collector {address} ends the connection at once")
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return CollectorUnreachable(f"collector {address}: {os.strerror(error.errno or 0)} ({name})")
    except ValueError as error:
        return CollectorUnreachable(f"collector {address}: {error}")
    return None


def host_and_port(address: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` -> (host, port). Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("is not written as host:port")
    return host.strip("[]"), int(port)
