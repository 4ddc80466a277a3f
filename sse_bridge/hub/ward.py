"""Who may stay on a hub: the revocations it knows, and the leases of its readers; decisions without I/O.

A hub hears of revocations on the control channel of its upstream. As long as that link lives it knows all of them: it
lists them after every confirmation, and what comes later is told live. So a stream is judged without a round trip when
it opens, and closed at once when it is revoked. States of the link:

    apart    no link: what is revoked meanwhile is not heard of. After `APART_SECONDS` the streams of users end, and no
             new one opens; streams of nobody in particular go on.
    linked   confirmed; the list is due
    live     everything is known

All calls are serialised by the hub (its lock, its loop); `now` is `time.monotonic`. What is to be ended is returned and
not ended here, for that may need the hub's lock again.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Hashable
from typing import Any, Final, Literal, Protocol

from ..backends.admission import (
    BEAT_SECONDS,
    Beat,
    ControlRequest,
    ListRevocations,
    TakeLease,
    targets_of,
    user_key,
)

APART_SECONDS: Final = 10.0
RELEASES_AT_ONCE: Final = 100  # leases given back in one round trip
_PRUNE_SECONDS: Final = 30.0
_GUEST_SECONDS: Final = 86_400.0  # a source has no lifetime; one that runs for longer is not counted any more
_PAUSES: Final = (0.1, 2.0)  # after a failed request: from … to, doubling

Why = Literal["drain", "replaced", "revoked", "unavailable"]  # as in streams.pacing


class Stay(Protocol):
    """A stream that may be told to end; thread-safe, and without waiting."""

    def end_by(self, when: float, why: Why = "drain") -> None: ...


class Member:
    """One reader's stream.

    Attributes:
        user: the key of its user; None: of nobody in particular.
        channels: what it follows; none for a guest (see guests).
        stream: weak, for a stream that its server forgot is ended by its finalizer.
        lease: what it holds, or is about to.
        heir_of: the reader whose lease it takes over when both belong to one connection.
    """

    __slots__ = ("channels", "heir_of", "lease", "stream", "user")

    def __init__(self, user: str | None, channels: tuple[str, ...], stream: Stay, heir_of: Hashable | None) -> None:
        self.user = user
        self.channels = channels
        self.stream = weakref.ref(stream)
        self.lease: str | None = None
        self.heir_of = heir_of


Ends = list[tuple[weakref.ref[Stay], Why]]


class Ward:
    """See the module.

    Args:
        supported: the backend has the optional contract.
        limit: streams per user; 0: no limit.
        replace: the newest wins over the limit.
        lease_seconds: no stream of channels lasts longer.
    """

    def __init__(self, supported: bool, limit: int, replace: bool, lease_seconds: float) -> None:
        self.supported = supported
        self.members: dict[Hashable, Member] = {}
        self.waiting: set[Hashable] = set()  # asked `ready` and were told no
        self._limit = limit
        self._replace = replace
        self._lease_seconds = lease_seconds
        self._owner = secrets.token_hex(8)
        self._count = 0
        self._known: dict[str, float] = {}  # until; replaced or added to, so that other threads may look
        self._news: dict[str, float] = {}  # told while a list was on its way
        self._prune_at = 0.0
        self._apart_since: float | None = None
        self._linked = False
        self._live = False
        self._leases: dict[str, Hashable] = {}
        self._released: list[tuple[str, str]] = []
        self._to_restore: list[str] = []
        self._beat_at = 0.0
        self._not_before = 0.0
        self._pause = 0.0

    # streams

    def join(
        self, key: Hashable, user: str | None, channels: tuple[str, ...], stream: Stay, heir_of: Hashable | None = None
    ) -> None:
        self.members[key] = Member(None if user is None else user_key(user), channels, stream, heir_of)

    def leave(self, key: Hashable) -> bool:
        """The reader is gone; whether there is something to give back. Idempotent."""
        self.waiting.discard(key)
        member = self.members.pop(key, None)
        if member is None or member.lease is None:
            return False
        del self._leases[member.lease]
        assert member.user is not None
        self._released.append((member.user, member.lease))
        return True

    def ready(self, key: Hashable) -> bool:
        """Whether it is known if this reader may stay; otherwise it is in `waiting` from now on."""
        member = self.members.get(key)
        if member is None or member.user is None or self._live or not self.supported:
            return True
        self.waiting.add(key)
        return False

    def refuses(self, key: Hashable, now: float) -> bool:
        """Whether this reader's stream is revoked."""
        member = self.members.get(key)
        return member is not None and self._covered(member, now)

    def revoked(self, user: str | None, channels: tuple[str, ...], now: float) -> bool:
        """The same for a stream that has not entered; only what is known for sure. From any thread."""
        if not self._known or not self._live:
            return False
        key = None if user is None else user_key(user)
        return any(self._known.get(target, 0.0) > now for target in targets_of(key, channels))

    def lease_request(self, key: Hashable) -> TakeLease | None:
        """What to ask before this stream opens; None: it needs no lease, or has it. `took` follows, or `leave`."""
        member = self.members.get(key)
        if member is None or member.user is None or not self._limit:
            return None
        before = self.members.get(member.heir_of) if member.heir_of is not None else None
        if before is not None and before.user == member.user and before.lease is not None:
            member.lease, before.lease = before.lease, None
            self._leases[member.lease] = key
            return None
        self._count += 1
        # noted before it is asked for: whoever is cancelled in between gives it back all the same
        member.lease = f"{self._owner}.{self._count}"
        self._leases[member.lease] = key
        return self._lease_of(member, member.user, member.lease, self._limit, self._replace)

    def took(self, key: Hashable, admitted: bool) -> None:
        member = self.members.get(key)
        if member is not None and member.lease is not None and not admitted:
            del self._leases[member.lease]
            member.lease = None

    # the link

    def confirmed(self) -> None:
        self._linked = True
        self._live = False
        self._not_before = 0.0

    def lost(self, now: float) -> None:
        self._linked = self._live = False
        if self._apart_since is None:
            self._apart_since = now

    def unlinked(self) -> None:
        """The hub has no reader left and closed its link itself."""
        self._linked = self._live = False
        self._apart_since = None

    def told(self, message: bytes, now: float) -> Ends | None:
        """A message on the control channel; None: it is not ours."""
        kind, _, rest = message.decode("utf-8", "replace").partition(" ")
        if kind == "replaced":
            key = self._leases.pop(rest, None)
            member = self.members.get(key) if key is not None else None
            if member is None:
                return []  # of another hub
            member.lease = None
            return [(member.stream, "replaced")]
        milliseconds, _, target = rest.partition(" ")
        if kind != "revoked" or not (milliseconds.isascii() and milliseconds.isdigit()) or len(milliseconds) > 15:
            return None
        until = now + int(milliseconds) / 1000  # for no time at all: not any more
        self._known[target] = until
        if not self._live:
            self._news[target] = until
        return self._covered_streams(now)

    # requests

    @property
    def busy(self) -> bool:
        """The link is needed: a stream is here, or something is to be given back yet (it expires if that fails)."""
        return bool(self.members) or (bool(self._released) and not self._pause)

    def due_soon(self, now: float) -> bool:
        """Whether `due` would return a request."""
        if not self.supported or now < self._not_before:
            return False
        unread = self._linked and not self._live
        return unread or bool(self._to_restore or self._released) or (bool(self._leases) and now >= self._beat_at)

    def due(self, now: float) -> ControlRequest | None:
        """The request to carry out now; `done` or `failed` follows."""
        if not self.due_soon(now):
            return None
        if self._linked and not self._live:
            self._news = {}
            return ListRevocations()
        while self._to_restore:
            lease = self._to_restore.pop()
            holder = self._leases.get(lease)
            member = None if holder is None else self.members.get(holder)
            if member is not None and member.user is not None:
                return self._lease_of(member, member.user, lease, 0, False)
        if self._released or (self._leases and now >= self._beat_at):
            released, self._released = self._released[:RELEASES_AT_ONCE], self._released[RELEASES_AT_ONCE:]
            return Beat(self._owner, tuple(released))
        return None

    def done(self, request: ControlRequest, reply: Any, now: float) -> Ends:
        self._pause = 0.0
        if isinstance(request, Beat):
            if not reply:
                self._to_restore = list(self._leases)  # this process slept too long; the others took it for dead
            self._beat_at = now + BEAT_SECONDS
        elif isinstance(request, ListRevocations):
            if self._linked:
                self._live = True
                self._apart_since = None
            self._known = {**{target: now + left for target, left in reply.items()}, **self._news}
            return self._covered_streams(now)
        return []

    def failed(self, request: ControlRequest, now: float, *, for_good: bool) -> None:
        """The request failed. For good: nothing can be revoked here, so nobody has to wait for it."""
        if for_good:
            self.supported = False
            return
        if isinstance(request, Beat):
            self._released += request.released
        elif isinstance(request, TakeLease):
            self._to_restore.append(request.lease)
        shortest, longest = _PAUSES
        self._pause = min(longest, max(shortest, 2 * self._pause))
        self._not_before = now + self._pause

    def woken(self) -> list[Hashable]:
        """The readers that waited until everything is known."""
        if not (self._live or not self.supported):
            return []
        waiting, self.waiting = list(self.waiting), set()
        return waiting

    def tick(self, now: float) -> Ends:
        """Once a second."""
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_SECONDS
            self._known = {target: until for target, until in self._known.items() if until > now}
        if not self.supported or self._apart_since is None or now < self._apart_since + APART_SECONDS:
            return []
        return [(member.stream, "unavailable") for member in self.members.values() if member.user is not None]

    def guests(self) -> list[Hashable]:
        """The streams that have no reader on the hub."""
        return [key for key, member in self.members.items() if not member.channels]

    def _lease_of(self, member: Member, user: str, lease: str, limit: int, replace: bool) -> TakeLease:
        seconds = self._lease_seconds if member.channels else max(self._lease_seconds, _GUEST_SECONDS)
        return TakeLease(user, self._owner, lease, limit, replace, seconds)

    def _covered(self, member: Member, now: float) -> bool:
        if not self._known:
            return False
        return any(self._known.get(target, 0.0) > now for target in targets_of(member.user, member.channels))

    def _covered_streams(self, now: float) -> Ends:
        return [(member.stream, "revoked") for member in self.members.values() if self._covered(member, now)]
