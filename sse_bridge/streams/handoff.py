"""Hand-off: a view decides and returns at once, and the middleware around it serves the stream; no thread is held.

1. The middleware puts a `Handoff` with a nonce into a ContextVar before it calls the inner app.
2. The view's adapter finds it (`current_handoff`; asgiref carries the context into the view's thread), offers its
   stream, and answers 200 with the nonce as header and as body.
3. The middleware strips the header always, and takes the stream over only when offer, nonce and status 200 agree. It
   streams after the inner app has returned, so the view's thread and database connection are free.

Nothing comes from the client, so nothing can be forged: the nonce is random per request and never leaves the server.
"""

from __future__ import annotations

import secrets
from contextvars import ContextVar
from typing import Final

from .response import StreamResponse

HANDOFF_HEADER: Final = "X-SSE-Bridge-Handoff"


class Handoff:
    """One request's offer.

    Attributes:
        nonce: what the answer must repeat.
        offered: the stream that the view wants served; None while there is none.
        closed: the request is over, or the stream was taken; offers are refused.
    """

    __slots__ = ("closed", "nonce", "offered")

    def __init__(self) -> None:
        self.nonce = secrets.token_urlsafe(16)
        self.offered: StreamResponse | None = None
        self.closed = False

    def offer(self, response: StreamResponse) -> bool:
        """Offers a stream; False if it is too late and the view must stream by itself. Thread-safe: one view offers."""
        if self.closed:
            return False
        self.offered = response
        return True

    def take(self, status: int, nonce: str | None) -> StreamResponse | None:
        """The offered stream, if the inner app's answer agrees with the offer; closes the hand-off."""
        offered, self.offered = self.offered, None
        self.closed = True
        if offered is None or status != 200 or nonce is None or not secrets.compare_digest(nonce, self.nonce):
            return None
        return offered

    def close(self) -> None:
        """The request is over."""
        self.closed = True
        self.offered = None


_current: ContextVar[Handoff | None] = ContextVar("sse_bridge_handoff", default=None)


def current_handoff() -> Handoff | None:
    """The hand-off of the request that runs now, if a middleware offers one and it is still open."""
    handoff = _current.get()
    return None if handoff is None or handoff.closed else handoff


def set_handoff(handoff: Handoff | None) -> None:
    """For the middleware: sets it in the request's own context."""
    _current.set(handoff)
