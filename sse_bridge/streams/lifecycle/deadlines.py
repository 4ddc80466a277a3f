"""When a stream must say something, and when it must end. Time comes in as an argument (seconds, monotonic)."""

from __future__ import annotations

import math
from typing import Final, Literal

from ...config import Settings
from ...runtime.chance import CHANCE

LAST_WRITE_SECONDS: Final = 1.0  # for a write under way when the stream's end is due; within the drain's grace

# No timer takes "never"; streams of channels end before this, and one comment a month harms no other stream.
SELDOM_SECONDS: Final = 30 * 86_400.0

Due = Literal["heartbeat", "lifetime", "expired", "drain", "replaced", "revoked", "unavailable"]
Reason = Due | Literal["limit", "slow", "idle"]  # of an end before the end


class Deadlines:
    """The deadlines of one stream; `end_at` is valid before `open`.

    Args:
        settings: `heartbeat_seconds` is used.

    Attributes:
        ends_at: the stream's end; infinite while none is set.
    """

    __slots__ = ("_ends_anyway", "_heartbeat_seconds", "_last_write", "_why", "ends_at")

    def __init__(self, settings: Settings) -> None:
        self._heartbeat_seconds = settings.heartbeat_seconds or SELDOM_SECONDS
        self._last_write = math.inf  # no heartbeat before `open`
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
        self._last_write = now
        self.end_at(now + lifetime_seconds * CHANCE.uniform(0.8, 1.0), "lifetime")
        if expires_at is not None:
            self.expire_at(expires_at)

    def wrote(self, now: float) -> None:
        self._last_write = now

    def wrote_at_least(self, when: float) -> None:
        """Notes a write at `when` that the hub made."""
        if when > self._last_write:
            self._last_write = when

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

    def due(self, now: float) -> Due | None:
        """The end or heartbeat that is due now."""
        if now >= self.ends_at:
            return self._why
        if now >= self._last_write + self._heartbeat_seconds:
            return "heartbeat"
        return None

    def given_up_at(self) -> float:
        """The moment at which a write that still waits for the client is given up, without a last frame."""
        return self.ends_at + LAST_WRITE_SECONDS

    def next(self) -> float:
        """The next deadline if nothing is written before."""
        return min(self.ends_at, self._last_write + self._heartbeat_seconds)
