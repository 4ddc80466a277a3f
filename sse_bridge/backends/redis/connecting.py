"""How redis-py's connection classes are told to connect, and what their failures mean; no I/O.

redis-py makes the connection (names, TCP, TLS, user, database) with its own retries off: it would repeat an append whose
answer was lost, and the event would be there twice. From then on the bytes are ours.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any, Final

import redis.exceptions

from ...errors import BackendError
from .urls import Address, Target

CONNECT_SECONDS: Final = 5.0
READ_SIZE: Final = 1 << 18

# What connecting and talking may raise when the broker is away; OSError covers sockets and TLS.
LINK_ERRORS: Final = (OSError, EOFError, redis.exceptions.RedisError)

# SO_LINGER on, 0 s: closing throws away what was not sent yet, so a broken attempt cannot arrive behind its own retry.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class NotSentError(ConnectionError):
    """The connection turned out to be dead before it took a byte: nothing was executed."""


def connection_arguments(target: Target, address: Address, timeout: float, *, sentinel: bool = False) -> dict[str, Any]:
    """Keyword arguments for ``Connection`` or ``SSLConnection`` of redis-py 5 to 8, sync or asyncio."""
    return {
        **(target.sentinel_options if sentinel else target.options),
        "host": address[0],
        "port": address[1],
        "db": 0 if sentinel else target.database,
        "socket_timeout": timeout,
        "socket_connect_timeout": min(timeout, CONNECT_SECONDS),
        "protocol": 2,  # on RESP3 a pub/sub message has another shape
    }


def hopeless(error: BaseException) -> BackendError | None:
    """The error to raise at once when connecting again would fail in the same way: a password, a certificate."""
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return BackendError(
                f"the certificate of Redis cannot be verified: {cause.verify_message}; name its authority with ssl_ca_certs "
                "in the URL"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError)):
        return BackendError(f"Redis refused the connection: {error}; check user, password and database in the URL")
    return None


def abort_on_close(sock: Any) -> None:
    """Makes the next close of this socket a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    except (OSError, ValueError):  # it is closed already; uvloop says so by ValueError
        pass
