"""The part of the façade that revokes access: `Bridge.revoke` and its request to the backend."""

from __future__ import annotations

from typing import Any

from .admission.admissions import target_of
from .admission.contract import Revoke
from .admission.grants import MAX_USER_CHARACTERS
from .config import Settings
from .errors import ConfigurationError, InvalidInput
from .events import check_channel
from .part import Part

MAX_SECONDS = 10 * 365 * 86_400  # ten years, up to which the backend's arithmetic is exact


def revocation(settings: Settings, user: str | None, channel: str | None, seconds: float | None) -> Revoke:
    """The checked request, in which 0 seconds take a revocation back; raises `InvalidInput`."""
    if user is None and channel is None:
        raise InvalidInput("nothing to revoke: give user=, channel=, or both")
    if user is not None and (not isinstance(user, str) or not 0 < len(user) <= MAX_USER_CHARACTERS):
        raise InvalidInput(f"user must be a text of 1 to {MAX_USER_CHARACTERS} characters, got {user!r:.120}")
    if channel is not None:
        channel = check_channel(channel)
    if seconds is None:
        seconds = settings.max_stream_seconds
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
        raise InvalidInput(f"seconds must be from 0 to {MAX_SECONDS}, got {seconds!r}")
    return Revoke(target_of(user, channel), seconds)


class Revocations(Part):
    """Methods of `Bridge`."""

    def revoke(self, *, user: str | None = None, channel: str | None = None, seconds: float | None = None) -> None:
        """Ends the streams of a user, of a channel, or of a user on a channel, in all processes, and refuses new ones.

        A process with a live link to the broker ends them at once; one that has lost it ends the streams of all users
        after 10 s. Responses made of an iterable belong to the user of their `Grant`; one on a WSGI server's own thread
        ends at its next item. Clients that reconnect are answered 403. A repeated call sets the time anew.

        Args:
            user: as in `Grant.user`; any text.
            channel: a channel's name; streams that also follow other channels end, too.
            seconds: how long the revocation stays in force, above 0; ``max_stream_seconds`` if omitted.

        Raises:
            InvalidInput: neither user nor channel, or a value that breaks a rule.
            ConfigurationError: the backend cannot revoke, or Redis evicts keys.
            BackendUnavailable: the broker did not confirm the revocation; call this again.
            AsyncContextError: this thread runs an event loop; use `arevoke`.
        """
        self._check_sync("revoke")
        self._control().control(revocation(self.settings, user, channel, seconds))

    async def arevoke(
        self, *, user: str | None = None, channel: str | None = None, seconds: float | None = None
    ) -> None:
        """The async twin of `revoke`."""
        self._check_open()
        await self._control().acontrol(revocation(self.settings, user, channel, seconds))

    def unrevoke(self, *, user: str | None = None, channel: str | None = None) -> None:
        """Takes back a `revoke` with the same arguments, so that clients may connect again."""
        self._check_sync("unrevoke")
        self._control().control(revocation(self.settings, user, channel, 0))

    async def aunrevoke(self, *, user: str | None = None, channel: str | None = None) -> None:
        """The async twin of `unrevoke`."""
        self._check_open()
        await self._control().acontrol(revocation(self.settings, user, channel, 0))

    def _control(self) -> Any:
        if not getattr(self.backend, "can_control", False):
            raise ConfigurationError(
                f"the backend {self.backend.name!r} cannot revoke: it lacks the optional contract of "
                "sse_bridge.admission.contract"
            )
        return self.backend
