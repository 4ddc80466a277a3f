"""The contract of a backend: a log per channel, appended atomically, read by range, announced live.

A backend keeps per channel a *list* of records and a *meta* (epoch, top offset, top check, closed). What must hold:

1. ``append`` is atomic: offset, check, record and announcement of one call are one step for every other client, so
   that live order = replay order = id order. All entries of a call are stored, or none.
2. An entry's ``prev`` is the check of the entry before it; the first of an epoch has `GENESIS`.
3. When the meta is missing the log begins a new life: the check of the first entry becomes the epoch, what is left of
   the list is dropped. ``read`` creates a missing meta too, so that a reader of a quiet channel can resume.
4. ``append`` recognises a retry of itself (same checks) and a known idempotency key, and returns the first position.
5. Announcements are wake-ups that carry a copy. They may be lost, and a backend says so through `Sink.lost` or a
   repeated `Sink.confirmed`; the list is the truth.

Leases and revocations are an optional part of the contract, in `admission`.

A backend implements one colour or both; `adapt` makes the missing one with asgiref. All offsets are ints, all tokens
bytes. Errors are `BackendUnavailable` (nothing happened), `PublishUncertain` (it may have) and `ChannelClosed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..errors import SSEBridgeError
from ..follow.page import Page, ReadRequest
from ..records import Announcement


class NewEntry(NamedTuple):
    """An entry as the publisher knows it: its nonce (`new_token`), the known part of its header (`record_head`) and its
    data."""

    check: bytes
    head: bytes
    data: bytes


class Append(NamedTuple):
    """One append to one channel.

    Attributes:
        channel: its name.
        entries: one or more, in order.
        ephemeral: announce only: no offset, not stored.
        close: the last entry is the end; nothing can be appended after it.
        idempotency_key: for a single entry; the first payload under a key wins for 5 minutes.
        unknown_since: `time.monotonic` of the first attempt whose fate is unknown, if there was one (see
            `PublishUncertain.unknown_since`): the log is searched before it is appended.
    """

    channel: str
    entries: tuple[NewEntry, ...]
    ephemeral: bool = False
    close: bool = False
    idempotency_key: str | None = None
    unknown_since: float | None = None


class Appended(NamedTuple):
    """Where the entries of an append stand.

    Attributes:
        epoch: the log's epoch.
        last: the offset of the last entry; the first is ``last - len(entries) + 1``.
        check: the check of the last entry (of the first publish under the idempotency key).
        recognised: it was there already: a retry, or a known idempotency key.
        announced: whether the live message could be sent; readers find the entry in the log anyway.
        spooled: it is kept in memory until the broker is back, and stands nowhere yet.
    """

    epoch: bytes
    last: int
    check: bytes
    recognised: bool = False
    announced: bool = True
    spooled: bool = False


class Sink(Protocol):
    """Who is told what arrives on an upstream; called from one thread or task at a time, and never blocks."""

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        """A live message; None when it was no record of ours (read the log)."""

    def confirmed(self, channel: str) -> None:
        """The broker confirmed a subscription, for the first time or again: what came before may be lost."""

    def lost(self, channels: Sequence[str] | None, why: str) -> None:
        """The link is gone for these channels (None: all); each is confirmed again when it is back."""

    def told(self, message: bytes) -> None:
        """A message on the control channel (see `admission`); only for who subscribed to it."""

    def flush(self) -> None:
        """Everything that one read of the socket brought has been told: wake the readers now."""


class Upstream(Protocol):
    """One live link per process (per loop for asyncio), shared by all readers. No method blocks."""

    def subscribe(self, channels: Sequence[str]) -> None:
        """Asks for live messages; `Sink.confirmed` follows for each."""

    def unsubscribe(self, channels: Sequence[str]) -> None: ...

    def close(self) -> None:
        """Ends the link; the sink is not called again once it returned."""


class SyncBackend(Protocol):
    """What threads and greenlets use. Safe for any number of threads, and after fork."""

    def append(self, batch: Append) -> Appended: ...

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        """Appends to several channels, in one round trip where the broker allows it; an outcome per batch."""

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        """One page per request, in one round trip where the broker allows it."""

    def upstream(self, sink: Sink) -> Upstream: ...

    def close(self) -> None: ...


class AsyncBackend(Protocol):
    """What coroutines use. One instance serves any number of event loops; connections are per loop."""

    async def aappend(self, batch: Append) -> Appended: ...

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]: ...

    def aupstream(self, sink: Sink) -> Upstream:
        """Called on the running loop, on which the sink is called too."""

    async def aclose(self) -> None: ...


class Backend(SyncBackend, AsyncBackend, Protocol):
    """Both colours.

    Attributes:
        name: the URL's scheme family: ``memory``, ``redis``, ``sentinel``, ``cluster``; used in messages and metrics.
        can_block: whether a publisher can wait for readers (policy ``block``): they are in the same process.
    """

    name: str
    can_block: bool
