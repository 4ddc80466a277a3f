"""When a stream ends, or is refused, and how: by a status, a last frame, a cut, or a close code.

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
import math
import time
from typing import Final, Literal

from ...admission.admissions import Refused
from ...admission.grants import Grant
from ...config import Settings
from ...errors import BackendUnavailable, NotAuthorized, SSEBridgeError, TooManyStreams
from ...runtime.chance import CHANCE
from ...wire import Format
from .bridge_protocol import BridgeProtocol

LAST_WRITE_SECONDS: Final = 1.0  # for a write under way when the stream's end is due; within the drain's grace

# No timer takes "never"; streams of channels end before this, and one comment a month harms no other stream.
SELDOM_SECONDS: Final = 30 * 86_400.0

Due = Literal["heartbeat", "lifetime", "expired", "drain", "replaced", "revoked", "unavailable"]
Reason = Due | Literal["limit", "slow", "idle"]  # of an end before the end

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


class Deadlines:
    """When one stream must say something, and when it must end; `end_at` is valid before `open`.

    Time comes in as an argument (seconds, monotonic).

    Args:
        settings: `heartbeat_seconds` is used.

    Attributes:
        ends_at: the stream's end; infinite while none is set.
        wrote_at: the last write; the next heartbeat is counted from it.
    """

    __slots__ = ("_ends_anyway", "_heartbeat_seconds", "_why", "ends_at", "wrote_at")

    def __init__(self, settings: Settings) -> None:
        self._heartbeat_seconds = settings.heartbeat_seconds or SELDOM_SECONDS
        self.wrote_at = math.inf  # no heartbeat before `open`
        self.ends_at = math.inf
        self._why: Due = "lifetime"
        self._ends_anyway: tuple[float, Due] | None = None  # the end apart from the credentials'; None: none expire

    def open(self, now: float, lifetime_seconds: float = math.inf, expires_at: float | None = None) -> None:
        """Starts the clock of a stream that is open now.

        Args:
            lifetime_seconds: the longest lifetime, of which `open` takes a random 0.8 to 1.0, so that streams opened
                together do not reconnect together.
            expires_at: the end of the credentials; None: never.
        """
        self.wrote_at = now
        self.end_at(now + lifetime_seconds * CHANCE.uniform(0.8, 1.0), "lifetime")
        if expires_at is not None:
            self.expire_at(expires_at)

    def end_at(self, when: float, why: Due = "drain") -> None:
        """Ends the stream at `when` at the latest.

        No call stands between a comparison and its store: under the GIL the end that another thread tells cannot get lost.
        """
        if self._ends_anyway is not None and when < self._ends_anyway[0]:
            self._ends_anyway = when, why
        if when < self.ends_at:
            self.ends_at, self._why = when, why

    def expire_at(self, when: float | None) -> None:
        """Sets the end of the credentials (None: never), in place of an earlier one."""
        if self._ends_anyway is not None:
            self.ends_at, self._why = self._ends_anyway
        elif when is not None:
            self._ends_anyway = self.ends_at, self._why
        if when is not None and when < self.ends_at:
            self.ends_at, self._why = when, "expired"

    def due(self, now: float, wrote_at: float = -math.inf) -> Due | None:
        """The end or heartbeat that is due now; `wrote_at`: the hub's last write for the stream."""
        if wrote_at > self.wrote_at:
            self.wrote_at = wrote_at
        if now >= self.ends_at:
            return self._why
        if now >= self.wrote_at + self._heartbeat_seconds:
            return "heartbeat"
        return None

    def given_up_at(self) -> float:
        """The moment at which a write that still waits for the client is given up, without a last frame."""
        return self.ends_at + LAST_WRITE_SECONDS

    def next(self) -> float:
        """The next deadline if nothing is written before."""
        return min(self.ends_at, self.wrote_at + self._heartbeat_seconds)


class Script:
    """The base of all streams' scripts: the user, the deadlines and the ending of one stream, decided without I/O.

    For the thread that serves the stream, except `deadlines.end_at`, which is thread-safe.

    Args:
        bridge: settings, hubs and registry.
        format: of the frames.
        grant: the outcome of the authorize hook: the stream's user, and the end of the credentials.

    Attributes:
        deadlines: of heartbeats and of the end.
        incomplete: why the connection must be cut, in a format that cannot say that something is missing.
    """

    __slots__ = ("_expires_at", "_settings", "bridge", "deadlines", "incomplete", "user", "wire")

    def __init__(self, bridge: BridgeProtocol, format: Format, grant: Grant | None) -> None:
        self.bridge = bridge
        self.user = None if grant is None else grant.user
        self.wire = format
        self.deadlines = Deadlines(bridge.settings)
        self.incomplete: str | None = None
        self._settings = bridge.settings
        self._expires_at: float | None = None  # of `time.monotonic`
        if grant is not None and grant.expires_at is not None:
            self._expires_at = time.monotonic() + grant.expires_at - time.time()

    def refusal(self, reason: Refused) -> SSEBridgeError | None:
        """The error that answers a stream that may not open while its status is unsent; None: 200 and `refuse`."""
        return answer(reason, self._settings, has_last_frame=True)

    def refuse(self, reason: Refused) -> bytes:
        """The only frame of a stream that may not open, behind a status of 200; may set `incomplete`."""
        return self.goodbye(reason)

    def goodbye(self, reason: Reason, replaced_id: bytes | None = None) -> bytes:
        """The frame with the reason of the end, or nothing and `incomplete`; see `last_frame`."""
        if self.wire.cuts:
            self.incomplete, replaced_id = reason, None
        return last_frame(self.wire, reason, self._settings, replaced_id)

    def check_complete(self) -> None:
        """Raises `IncompleteStream` where the end of the body must not look like one, however often it is asked for."""
        if self.incomplete is not None:
            raise IncompleteStream(self.incomplete)
