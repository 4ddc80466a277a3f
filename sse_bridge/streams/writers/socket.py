"""Writing to the client's socket from the hub, past a WSGI server's `write`: one thread serves all readers.

A WSGI server asks a body for its next piece on a thread or greenlet of the client's own. To wake it for every event
costs two switches, the server's loop and its bookkeeping: 30 to 60 µs, where the write itself takes 10. A server writes
a piece (PEP 3333), framed as a chunk (RFC 9112, section 7.1) for an HTTP/1.1 client, and should do nothing else.

That is verified once per stream. Nothing may stand between the body and the server, since events would pass it by: the
adapter says that the response still holds the bare body, and the caller that asks for the next piece must be the
server's own code, with the response and the adapter's iterable among its local names (a `map` around the body runs no
Python and would not be seen otherwise). `SocketWriter.of` looks at the object whose method the server's `write` is
(start_response returns `write`, and `PushMiddleware` keeps it): every byte that the body yielded must have been counted
there, and its socket must be a plain one. Then `write` is probed on a double with a recording socket and the same
plain data. The probe must write the piece once, bare or as one chunk, and change nothing but the count of bytes. A
`write` that behaves in any other way is called as ever.

A socket that takes only a part ends the hub's writing to it: the client's own thread waits for the rest.
"""

from __future__ import annotations

import _socket
import copy
import socket
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

from .transport import chunk

WRITE_KEY: Final = "sse_bridge.write"  # in the WSGI environ
_PROBE: Final = b"data: the probe\n\n"  # 0x11 bytes: servers write letters of a chunk's length in either case
_FAR: Final = 1 << 62  # bytes
_PLAIN: Final = (bool, int, str, bytes, type(None))
_NOW: Final[int] = getattr(socket, "MSG_DONTWAIT", 0)


class ServerWrite:
    """The way from a body to its server, as far as known.

    Attributes:
        write: the result of the server's start_response; None before it was called.
        body_is_outermost: the `id` of the iterable that the adapter gave to the server, while it holds the bare body;
            else 0. The adapter checks when the server has it.
    """

    __slots__ = ("body_is_outermost", "write")

    def __init__(self) -> None:
        self.write: Any = None
        self.body_is_outermost = 0


class PushMiddleware:
    """WSGI middleware that lets the hub write to the streams below it, where the server is gunicorn (gthread, gevent).

    Requests and responses stay unchanged; the cost is a microsecond. Flask's extension puts it in place by itself;
    in Django's ``wsgi.py``: ``application = PushMiddleware(get_wsgi_application())``.

    Args:
        app: any WSGI application.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        kept = environ[WRITE_KEY] = ServerWrite()

        def start(*arguments: Any, **options: Any) -> Any:
            kept.write = start_response(*arguments, **options)
            return kept.write

        return self._app(environ, start)


class SocketWriter:
    """The way to one client's socket; see the module. `push` under the hub's lock, `complete` on the client's thread.

    Args:
        on_full: called when the socket took less than all.
    """

    __slots__ = ("_frame", "_response", "_rest", "_send", "on_full")

    def __init__(
        self,
        response: Any,
        send: Callable[[bytes, int], int],
        frame: Callable[[bytes], bytes],
        on_full: Callable[[], None],
    ) -> None:
        self._response = response
        self._frame = frame
        self._send = send
        self._rest = b""
        self.on_full = on_full

    @classmethod
    def of(cls, server: ServerWrite, yielded: int, on_full: Callable[[], None]) -> SocketWriter | None:
        """The writer for a response whose body has yielded `yielded` bytes; None: only the server may write."""
        if not (_NOW and server.body_is_outermost):
            return None
        write = server.write
        try:
            response = write.__self__
            if response.sent != yielded or not _asks_itself(response, server.body_is_outermost):
                return None
            system = _system_socket(response.sock)
            if type(response.sock) is not socket.socket or system.gettimeout():
                return None  # of TLS, or one that Python itself waits for
            frame = _probed(write.__func__, response)
            return None if frame is None else cls(response, system.send, frame, on_full)
        except Exception:  # noqa: BLE001  # not made as expected; what it raised, it raised in the probe only
            return None

    def push(self, data: bytes) -> bool:
        """Writes `data`, which is not empty; False: the client's thread must call `complete`."""
        framed = self._frame(data)
        self._response.sent += len(data)
        try:
            taken = self._send(framed, _NOW)
        except OSError:  # full, or the client left: the client's own thread waits, or raises the same error
            taken = 0
        if taken == len(framed):
            return True
        self._rest = framed[taken:]
        self.on_full()
        return False

    def finish(self) -> None:
        """Lets the client's thread end the response, behind the last channel's end."""
        self.on_full()

    def complete(self) -> None:
        """Writes the bytes that the socket did not take, and waits as the server's own writes do."""
        rest, self._rest = self._rest, b""
        if rest:
            self._response.sock.sendall(rest)


def _system_socket(sock: Any) -> _socket.socket:
    """The system's socket, which must not wait: gevent's never does, and a plain one gets `MSG_DONTWAIT`."""
    found = getattr(sock, "_sock", sock)
    if not isinstance(found, _socket.socket):  # eventlet's, which waits all the same
        raise TypeError(f"expected a socket of the system, got {found!r:.100}")
    return found


def _asks_itself(response: Any, given: int) -> bool:
    """Whether the caller of this library is the server's code, which has the response among its local names.

    Args:
        given: the `id` of the iterable that the caller must have as well.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("sse_bridge"):
        frame = frame.f_back
    has = [] if frame is None else list(map(id, frame.f_locals.values()))
    return id(response) in has and given in has


class _Recorder:
    """A socket that writes nowhere; any other use of it fails the probe."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.written.append(data)


def _probed(function: Any, response: Any) -> Callable[[bytes], bytes] | None:
    """The server's framing of a piece; None if `function` does anything else."""
    written = _written(function, response, response.sent)
    if written != _written(function, response, _FAR):
        return None  # `function` counts down to a Content-Length
    if written == [_PROBE]:
        return bytes
    return chunk if written == [chunk(_PROBE)] else None


def _written(function: Any, response: Any, sent: int) -> list[bytes]:
    """The bytes that `function` writes after `sent` bytes; raises if it changes or needs more than plain data."""
    double = copy.copy(response)
    recorder = _Recorder()
    state: dict[str, Any] = {name: value for name, value in vars(response).items() if isinstance(value, _PLAIN)}
    vars(double).clear()
    vars(double).update(state, sock=recorder, sent=sent)
    function(double, _PROBE)
    if vars(double) != {**state, "sock": recorder, "sent": sent + len(_PROBE)}:
        raise ValueError("it keeps something")
    return recorder.written
