"""When a stream must say something, and when it must end. Time comes in as an argument (seconds, monotonic)."""

from __future__ import annotations

from typing import Final, Literal

from ..chance import CHANCE
from ..config import Settings

LAST_WRITE_SECONDS: Final = 1.0  # for a write under way when the stream's end is due; within the drain's grace

Due = Literal["heartbeat", "lifetime", "expired", "drain", "replaced", "revoked", "unavailable"]
Why = Literal["drain", "replaced", "revoked", "unavailable"]  # somebody wants the stream to end


class Pacing:
    """The clock of one stream.

    Args:
        settings: heartbeat and lifetime.
        now: when the stream opened.
        expires_at: when its credentials end; None: never.

    Attributes:
        ends_at: the end of its lifetime: max_stream_seconds × random 0.8–1.0, so that streams opened together do not
            come back together; or its credentials' end.
    """

    __slots__ = ("_heartbeat_seconds", "_last_write", "_why", "ends_at")

    def __init__(self, settings: Settings, now: float, expires_at: float | None = None) -> None:
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._last_write = now
        self.ends_at = now + settings.max_stream_seconds * CHANCE.uniform(0.8, 1.0)
        self._why: Due = "lifetime"
        if expires_at is not None and expires_at < self.ends_at:
            self.ends_at, self._why = expires_at, "expired"

    def wrote(self, now: float) -> None:
        self._last_write = now

    def wrote_at_least(self, when: float) -> None:
        """Somebody else wrote to this stream at `when`."""
        if when > self._last_write:
            self._last_write = when

    def end_at(self, when: float, why: Why = "drain") -> None:
        """The server goes down, or the stream may not go on: end at `when` at the latest."""
        if when < self.ends_at:
            self.ends_at, self._why = when, why

    def due(self, now: float) -> Due | None:
        """What is due now."""
        if now >= self.ends_at:
            return self._why
        if now >= self._last_write + self._heartbeat_seconds:
            return "heartbeat"
        return None

    def given_up_at(self) -> float:
        """When a write that still waits for the client is given up, without a last frame."""
        return self.ends_at + LAST_WRITE_SECONDS

    def next(self) -> float:
        """When to ask again if nothing is written until then."""
        return min(self.ends_at, self._last_write + self._heartbeat_seconds)


def retry_ms(settings: Settings) -> int:
    """When the client should come back: random, so that a deploy is not followed by a storm."""
    return CHANCE.randint(settings.retry_min_ms, settings.retry_max_ms)
