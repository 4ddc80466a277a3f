"""The revocations that a hub knows, and the leases of its readers; decisions without I/O.

A hub hears of revocations on the control channel of its upstream. While that link lives the hub knows all of them: it
lists them after every confirmation, and later ones arrive live. So a stream is judged without a round trip when it
opens, and closed at once when it is revoked. States of the link:

    apart    no link, so revocations are not heard of; after `APART_SECONDS` the streams of users end, and no new one
             opens; streams without a user go on
    linked   confirmed; the list is due
    live     all revocations are known

All calls are serialised by the hub (its lock, its loop); `now` is `time.monotonic`. Streams to end are returned and not
ended here, since a stream's end may need the hub's lock.
"""

from __future__ import annotations

import hashlib
import secrets
import weakref
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from .contract import BEAT_SECONDS, Beat, ControlRequest, ListRevocations, TakeLease

APART_SECONDS: Final = 10.0
RELEASES_AT_ONCE: Final = 100  # leases given back in one round trip
_PRUNE_SECONDS: Final = 30.0
_SOURCE_SECONDS: Final = 86_400.0  # a source has no lifetime; a longer one is not counted any more
_PAUSES: Final = (0.1, 2.0)  # after a failed request: from … to, doubling

Why = Literal["drain", "replaced", "revoked", "unavailable"]  # reasons to end a running stream from outside
Refused = Literal["limit", "revoked", "unavailable"]  # reasons why a stream may not open


def user_key(user: str) -> str:
    """The user's hash for keys and messages: 128 bits of BLAKE2b, as hexadecimal digits."""
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def target_of(user: str | None, channel: str | None) -> str:
    """The name of a revocation's target. Injective: the hash has a fixed length and contains no colon."""
    if user is None:
        return f"c:{channel}"
    return f"u:{user_key(user)}" if channel is None else f"b:{user_key(user)}:{channel}"


def targets_of(key: str | None, channels: Iterable[str]) -> list[str]:
    """Every target that covers a stream of these channels, held by the user with this key."""
    names = list(channels)
    targets = [f"c:{name}" for name in names]
    if key is not None:
        targets.append(f"u:{key}")
        targets += [f"b:{key}:{name}" for name in names]
    return targets


class Endable(Protocol):
    """A stream that may be told to end; thread-safe, and without waiting."""

    def end_by(self, when: float, why: Why = "drain") -> None: ...


@dataclass(slots=True, eq=False)
class Admitted:
    """One reader's stream.

    Attributes:
        user: the `user_key` of its user; None: no user.
        channels: the channels that it follows; none for a source (see members).
        stream: weak, since a stream that its server forgot is ended by its finalizer.
        replaces: the reader of the same connection whose lease it takes over.
        lease: the lease that it holds, or is about to take.
    """

    user: str | None
    channels: tuple[str, ...]
    stream: weakref.ref[Endable]
    replaces: Hashable | None
    lease: str | None = None


Ends = list[tuple[weakref.ref[Endable], Why]]


class Admissions:
    """See the module.

    Args:
        supported: the backend has the optional contract.
        limit: streams per user; 0: no limit.
        replace: over the limit the newest stream wins.
        lease_seconds: longer than any stream of channels.
    """

    def __init__(self, supported: bool, limit: int, replace: bool, lease_seconds: float) -> None:
        self.supported = supported
        self.members: dict[Hashable, Admitted] = {}
        self.waiting: set[Hashable] = set()  # for which `ready` was False
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
        self,
        key: Hashable,
        user: str | None,
        channels: tuple[str, ...],
        stream: Endable,
        replaces: Hashable | None = None,
    ) -> None:
        hashed = None if user is None else user_key(user)
        self.members[key] = Admitted(hashed, channels, weakref.ref(stream), replaces)

    def leave(self, key: Hashable) -> bool:
        """Removes a member; returns whether there is a lease to give back. Idempotent."""
        self.waiting.discard(key)
        member = self.members.get(key)
        lease = None if member is None else member.lease
        if member is not None and lease is not None:
            assert member.user is not None
            self._released.append((member.user, lease))  # first: an interrupted call gives a lease back twice at worst
            self._leases.pop(lease, None)
        self.members.pop(key, None)
        return lease is not None

    def ready(self, key: Hashable) -> bool:
        """Whether the admissions know if this member is revoked; otherwise the member is in `waiting` from now on."""
        member = self.members.get(key)
        if member is None or member.user is None or self._live or not self.supported:
            return True
        self.waiting.add(key)
        return False

    @property
    def user_may_wait(self) -> bool:
        """Whether a stream of a user may have to wait: until it is `ready`, or for a lease."""
        return bool(self._limit) or (self.supported and not self._live)

    def refuses(self, key: Hashable, now: float) -> bool:
        """Whether this member's stream is revoked."""
        member = self.members.get(key) if self._known else None
        return member is not None and self._covers(member.user, member.channels, now)

    def revoked(self, user: str | None, channels: tuple[str, ...], now: float) -> bool:
        """Whether a stream that has not joined is known to be revoked. Thread-safe."""
        if not self._known or not self._live:
            return False
        return self._covers(None if user is None else user_key(user), channels, now)

    def lease_request(self, key: Hashable) -> TakeLease | None:
        """The request to make before this stream opens; None: none is needed. `took` or `leave` follows."""
        member = self.members.get(key)
        if member is None or member.user is None or not self._limit:
            return None
        before = self.members.get(member.replaces) if member.replaces is not None else None
        if before is not None and before.user == member.user and before.lease is not None:
            member.lease, before.lease = before.lease, None
            self._leases[member.lease] = key
            return None
        self._count += 1
        # The lease is noted before the request, so that a stream cancelled in between gives it back.
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
        """Notes that the hub has closed its link itself, without a reader left."""
        self._linked = self._live = False
        self._apart_since = None

    def control_message(self, message: bytes, now: float) -> Ends | None:
        """Handles a message on the control channel; None: the message is not ours."""
        kind, _, rest = message.decode("utf-8", "replace").partition(" ")
        if kind == "replaced":
            key = self._leases.pop(rest, None)
            member = self.members.get(key) if key is not None else None
            if member is None:
                return []  # the lease is another hub's
            member.lease = None
            return [(member.stream, "replaced")]
        milliseconds, _, target = rest.partition(" ")
        if kind != "revoked" or not (milliseconds.isascii() and milliseconds.isdigit()) or len(milliseconds) > 15:
            return None
        until = now + int(milliseconds) / 1000  # 0 ends a revocation
        self._known[target] = until
        if not self._live:
            self._news[target] = until
        return self._covered_streams(now)

    # requests

    @property
    def busy(self) -> bool:
        """Whether the link is needed: for a member, or for leases to give back (which expire if that fails)."""
        return bool(self.members) or (bool(self._released) and not self._pause)

    def request_due(self, now: float) -> bool:
        """Whether `next_request` would return one."""
        if not self.supported or now < self._not_before:
            return False
        unread = self._linked and not self._live
        return unread or bool(self._to_restore or self._released) or (bool(self._leases) and now >= self._beat_at)

    def next_request(self, now: float) -> ControlRequest | None:
        """The request to carry out now; `done` or `failed` follows."""
        if not self.supported or now < self._not_before:
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
                # The process was taken for dead, or the broker lost its data; the oldest is popped first, to stay the oldest.
                self._to_restore = list(reversed(self._leases))
            self._beat_at = now + BEAT_SECONDS
        elif isinstance(request, ListRevocations):
            if self._linked:
                self._live = True
                self._apart_since = None
            self._known = {**{target: now + left for target, left in reply.items()}, **self._news}
            return self._covered_streams(now) if self._known else []
        return []

    def failed(self, request: ControlRequest, now: float, *, for_good: bool, refused: bool = False) -> None:
        """Notes a request that failed.

        Args:
            for_good: the backend cannot revoke at all, so no stream waits for revocations.
            refused: the broker would answer the same again; a lease that cannot be restored is dropped, so that other
                leases are restored and signs of life go on.
        """
        if for_good:
            self.supported = False
            return
        if refused and isinstance(request, TakeLease):
            return
        if isinstance(request, Beat):
            self._released += request.released
        elif isinstance(request, TakeLease):
            self._to_restore.append(request.lease)
        shortest, longest = _PAUSES
        self._pause = min(longest, max(shortest, 2 * self._pause))
        self._not_before = now + self._pause

    def woken(self) -> list[Hashable]:
        """The members that waited until all revocations are known; each is returned once."""
        if not (self._live or not self.supported):
            return []
        waiting, self.waiting = list(self.waiting), set()
        return waiting

    def tick(self, now: float) -> Ends:
        """The streams that end since the link is away for too long; called once a second."""
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_SECONDS
            self._known = {target: until for target, until in self._known.items() if until > now}
        if not self.supported or self._apart_since is None or now < self._apart_since + APART_SECONDS:
            return []
        return [(member.stream, "unavailable") for member in self.members.values() if member.user is not None]

    def source_members(self) -> list[Hashable]:
        """The keys of streams without a channel."""
        return [key for key, member in self.members.items() if not member.channels]

    def _lease_of(self, member: Admitted, user: str, lease: str, limit: int, replace: bool) -> TakeLease:
        seconds = self._lease_seconds if member.channels else max(self._lease_seconds, _SOURCE_SECONDS)
        return TakeLease(user, self._owner, lease, limit, replace, seconds)

    def _covers(self, user: str | None, channels: tuple[str, ...], now: float) -> bool:
        return any(self._known.get(target, 0.0) > now for target in targets_of(user, channels))

    def _covered_streams(self, now: float) -> Ends:
        members = self.members.values()
        return [(each.stream, "revoked") for each in members if self._covers(each.user, each.channels, now)]
