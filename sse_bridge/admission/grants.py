"""The result of an application's check of a client: the stream's user, its end, and its filter."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, Final

from ..errors import ConfigurationError, NotAuthenticated, NotAuthorized
from ..filters import Filter

MAX_USER_CHARACTERS: Final = 10_000


@dataclasses.dataclass(frozen=True)
class Grant:
    """A result of an authorize hook, with more to say than True.

    Attributes:
        user: the stream's user for limits and revocation, a text of 1 to 10,000 characters; None: no user.
        expires_at: the end of the credentials and so of the stream, seconds since 1970, finite; None: never.
        filter: hides events from this user; trusted, so it may ask for every visibility.
    """

    user: str | None = None
    expires_at: float | None = None
    filter: Filter | None = None

    def __post_init__(self) -> None:
        # An empty name is a login that got lost, and 42 would not match the "42" of a revocation.
        if self.user is not None and not (isinstance(self.user, str) and 0 < len(self.user) <= MAX_USER_CHARACTERS):
            raise ConfigurationError(
                f"Grant.user must be a text of 1 to {MAX_USER_CHARACTERS} characters, or None for nobody in particular, "
                f"got {self.user!r:.120}"
            )
        at = self.expires_at
        # A NaN compares as later than no time, so the stream would outlive its credentials.
        if at is not None and (isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at)):
            raise ConfigurationError(
                f"Grant.expires_at must be seconds since 1970, such as time.time() + 300, or None for never, got {at!r:.120}"
            )

    def check_time(self) -> None:
        """Raises `NotAuthenticated` if the credentials have ended: else a stream would end and reconnect for ever."""
        if self.expires_at is not None and self.expires_at <= time.time():
            raise NotAuthenticated("the credentials have expired")


_ANYBODY: Final = Grant()


def grant_of(result: Any) -> Grant:
    """An authorize hook's result as a `Grant`.

    Raises:
        NotAuthorized: the result is False or None. (A hook may raise `NotAuthenticated` itself.)
        ConfigurationError: the result is anything but False, None, True or a `Grant`.
    """
    if isinstance(result, Grant):
        return result
    if result is True:
        return _ANYBODY
    if result is False or result is None:
        raise NotAuthorized("the authorize hook does not allow these channels")
    raise ConfigurationError(f"an authorize hook must return False, True or a Grant, got {result!r:.100}")
