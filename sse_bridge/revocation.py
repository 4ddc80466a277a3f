"""From the arguments of `Bridge.revoke` to what the backend is asked."""

from __future__ import annotations

from .backends.admission import Revoke, target_of
from .config import Settings
from .errors import InvalidInput
from .events import check_channel
from .streams.response import MAX_USER_CHARACTERS

MAX_SECONDS = 10 * 365 * 86_400  # as good as for ever; the backend's arithmetic is exact up to there


def revocation(settings: Settings, user: str | None, channel: str | None, seconds: float | None) -> Revoke:
    """Raises `InvalidInput`; 0 seconds take a revocation back."""
    if user is None and channel is None:
        raise InvalidInput("nothing to revoke: give user=, channel=, or both")
    if user is not None and (not isinstance(user, str) or not 0 < len(user) <= MAX_USER_CHARACTERS):
        raise InvalidInput(f"user must be a text of 1 to {MAX_USER_CHARACTERS} characters, got {user!r:.120}")
    if channel is not None:
        check_channel(channel)
    if seconds is None:
        seconds = settings.max_stream_seconds
    if not 0 <= seconds <= MAX_SECONDS:
        raise InvalidInput(f"seconds must be from 0 to {MAX_SECONDS}, got {seconds!r}")
    return Revoke(target_of(user, channel), seconds)
