"""Hand-off: a view decides and returns at once, and the middleware around it serves the stream; no thread is held.

1. The middleware puts an open `Handoff` into a ContextVar before it calls the inner app.
2. The view's adapter finds the hand-off (`current_handoff`; asgiref carries the context into the view's thread) and
   offers its stream. Each offer gets a nonce of its own, and the view answers 200 with the nonce as header and as body,
   so that an answer names its stream, however many streams its view has made.
3. The middleware strips the header always, and serves the offer that a 200 answer repeats. All other offers are closed.
   The stream begins after the inner app has returned, so the view's thread and database connection are free.

Nothing comes from the client, so nothing can be forged: nonces are random and never leave the server with a stream.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

from ..http.response import StreamResponse

HANDOFF_HEADER: Final = "X-SSE-Bridge-Handoff"


class Handoff:
    """The streams that one request's code has offered. Safe for threads: a view may run in several.

    Attributes:
        closed: the answer has begun, or the request is over; offers are refused.
    """

    __slots__ = ("_lock", "_offers", "closed")

    def __init__(self) -> None:
        self.closed = False
        # Both are None once the hand-off is closed, since it stays in the context of each open stream.
        self._lock: threading.Lock | None = threading.Lock()
        self._offers: dict[str, StreamResponse] | None = {}

    def offer(self, stream: StreamResponse) -> str | None:
        """Offers a stream.

        Returns:
            The nonce with which a 200 answer asks for this stream, as `HANDOFF_HEADER` and as its body; None: the
            hand-off is closed, and the view must stream by itself.
        """
        nonce, lock = secrets.token_urlsafe(16), self._lock
        if lock is None:
            return None
        with lock:
            if self._offers is None:
                return None
            self._offers[nonce] = stream
        return nonce

    def take(self, status: int, nonces: Sequence[str]) -> StreamResponse | None:
        """The stream that an answer names; None if it names none. Closes the hand-off and all other offers.

        Args:
            status: the answer's.
            nonces: the values of its header `HANDOFF_HEADER`; an answer that has several names no stream.
        """
        chosen, lock = None, self._lock
        if lock is None:
            return None
        with lock:
            self.closed = True
            offers, self._offers, self._lock = self._offers or {}, None, None
        if status == 200 and len(nonces) == 1:
            chosen = offers.pop(nonces[0], None)
        for stream in offers.values():
            stream.close()
        return chosen

    def close(self) -> None:
        """Closes the hand-off at the request's end; idempotent."""
        self.take(0, ())


_current: ContextVar[Handoff | None] = ContextVar("sse_bridge_handoff", default=None)


def current_handoff() -> Handoff | None:
    """The hand-off of the request that runs now, if a middleware offers one and it is still open."""
    handoff = _current.get()
    return None if handoff is None or handoff.closed else handoff


def set_handoff(handoff: Handoff | None) -> None:
    """Sets the hand-off in the request's own context; for the middleware."""
    _current.set(handoff)
