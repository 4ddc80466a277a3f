"""Connections of redis-py before they connect, and the meaning of their failures; no I/O.

redis-py makes the connection (names, TCP, TLS, user, database) with its own retries off, which would repeat an append
whose answer was lost, and so duplicate the event. From then on the drivers read and write the socket themselves.
"""

from __future__ import annotations

import importlib
import importlib.util
import socket
import ssl
import struct
from typing import Any, Final

import redis.exceptions

from ...errors import BackendError
from .urls import Address, Target

CONNECT_SECONDS: Final = 5.0
READ_SIZE: Final = 1 << 18

# Connecting and talking raise these when the broker is away; OSError covers sockets and TLS.
LINK_ERRORS: Final = (OSError, EOFError, redis.exceptions.RedisError)

# OpenSSL's names of the other side's refusals, and of bytes that are no TLS.
_TLS_REFUSALS: Final = ("WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL", "SSLV3_ALERT", "TLSV1_ALERT", "TLSV13_ALERT",
                        "NO_SHARED_CIPHER", "HTTP_REQUEST")  # fmt: skip

# SO_LINGER of 0 s: closing discards unsent bytes, so that a broken attempt cannot arrive after its own retry.
_NO_LINGER: Final = struct.pack("ii", 1, 0)

# Made once: for CLIENT SETINFO each redis-py connection would search all installed packages for its version, which takes
# most of the time of connecting, and `importlib.metadata` suppresses exceptions of signal handlers there.
_DRIVER: Final[dict[str, Any]] = (
    {"driver_info": importlib.import_module("redis.driver_info").DriverInfo()}
    if importlib.util.find_spec("redis.driver_info")  # older versions of redis-py look the version up once
    else {}
)


class NotSentError(ConnectionError):
    """The connection was dead before it took a byte: nothing was executed."""


class NotAwayError(ConnectionError):
    """No connection for a local reason, which must not open the server's breaker."""


def new_connection(library: Any, target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> Any:
    """A connection of redis-py 5 to 8, not yet connected; `library` is ``redis`` or ``redis.asyncio``."""
    options = {
        **(target.sentinel_options if sentinel else target.options),
        # Text: hiredis ends the process when a signal handler raises while it makes text of a number (hiredis 3.5).
        "db": 0 if sentinel or not target.database else str(target.database),
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, CONNECT_SECONDS),
        **_DRIVER,
        "protocol": 2,  # RESP3 gives pub/sub messages another shape
    }
    host, port = address
    if host.startswith("/"):
        return library.connection.UnixDomainSocketConnection(path=host, **options)
    return (library.SSLConnection if target.tls else library.Connection)(host=host, port=port, **options)


def permanent_error(error: BaseException) -> BackendError | None:
    """The error to raise at once where every further attempt would fail, as by a password or certificate; else None."""
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return None
    why = ""
    cause: BaseException | None = error
    while cause is not None and not why:
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = (
                f"the certificate of Redis cannot be verified: {cause.verify_message}; name its authority with "
                "ssl_ca_certs in the URL"
            )
        elif isinstance(cause, ssl.SSLError) and cause.reason and cause.reason.startswith(_TLS_REFUSALS):
            why = (
                f"Redis and this process do not agree on TLS: {cause}; rediss:// is for a port with TLS, redis:// for one "
                "without, and a server that asks for a client's certificate wants ssl_certfile and ssl_keyfile"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError)):
        why = f"Redis refused the connection with {str(error)!r}; check user, password and database in the URL"
    elif isinstance(error, redis.exceptions.InvalidResponse):
        why = f"what answers there does not speak as Redis does: {error}; a port with TLS needs rediss://"
    return BackendError(why, permanent=True) if why else None


def abort_on_close(sock: Any) -> None:
    """Makes the next close of this socket a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    except (OSError, ValueError):  # a closed socket; uvloop raises ValueError
        pass
