"""How a stream ends, or is refused, for a reason: by a status, a last frame, a cut, or a close code.

The table has a row per decision; the left column is the state of the stream when the reason comes:

    the status can be said      revoked: 403; limit: 429 where `over_limit` rejects or the format has no last frame;
                                unavailable: 503 where the format has none; else a 200 and the rows below
    the format has a frame      ``stream.close`` with the reason and its own random ``retry:``
    … and it was replaced       with an id that says so: else the client would reconnect and throw out its replacement
    the format has none         the connection is cut, so that the client does not take the body for complete
    a WebSocket                 the frame, and 4000 + the HTTP status of the reason (private codes: autobahn sends no other)
"""

from __future__ import annotations

import errno
from typing import Final

from ...admission.admissions import Refused
from ...config import Settings
from ...errors import BackendUnavailable, NotAuthorized, SSEBridgeError, TooManyStreams
from ...runtime.chance import CHANCE
from ...wire import Format
from .deadlines import Reason

REVOKED: Final = "access was revoked"
CLOSE_DONE: Final = 1000
_STATUS: Final = {"expired": 401, "idle": 408, "limit": 429, "replaced": 409, "revoked": 403}  # the others: 503


class IncompleteStream(ConnectionResetError):
    """A body ends early in a format that cannot say so; WSGI servers take it for a client that left and log nothing."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.ECONNRESET, f"the stream is incomplete ({why}) and its format cannot say so")


def refusal_error(reason: Refused) -> SSEBridgeError:
    """The error for a stream that may not open."""
    if reason == "revoked":
        return NotAuthorized(REVOKED)
    if reason == "limit":  # the same text for every limit: a client must not learn which one it reached
        return TooManyStreams("too many streams are open; close one, or come back later")
    return BackendUnavailable("whether this stream may open cannot be known now")


def answer(reason: Refused, settings: Settings, *, has_last_frame: bool) -> SSEBridgeError | None:
    """The error that answers a stream that may not open while its status is unsent; None: 200 and the last frame."""
    if reason == "revoked" or not has_last_frame or (reason == "limit" and settings.over_limit == "reject"):
        return refusal_error(reason)
    return None


def last_frame(format: Format, reason: Reason, settings: Settings, replaced_id: bytes | None = None) -> bytes:
    """The frame that gives the reason of an early end; empty where the format has none.

    Args:
        replaced_id: the id with which a replaced client reconnects once and gets 204; None: the format has no ids.
    """
    if reason == "replaced" and replaced_id is not None:
        return format.control("stream.close", {"reason": reason}, id=replaced_id, retry_ms=retry_ms(settings))
    return format.retry(retry_ms(settings), reason)


def close_code(reason: str) -> int:
    """The WebSocket close code of a stream that ended before its end."""
    return 4000 + _STATUS.get(reason, 503)


def retry_ms(settings: Settings) -> int:
    """The delay before the client reconnects: random, so that a deploy is not followed by a storm."""
    return CHANCE.randint(settings.retry_min_ms, settings.retry_max_ms)
