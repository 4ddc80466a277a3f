"""The contract of a backend: a log per channel, appended atomically, read by range, announced live.

A backend keeps per channel a *list* of records and a *meta* (epoch, top offset, top check, closed). The rules:

1. ``append`` is atomic: offset, check, record and announcement of one call are one step for every other client, so
   that live order = replay order = id order. All entries of a call are stored, or none.
2. An entry's ``prev`` is the check of the entry before it; the first of an epoch has `GENESIS`.
3. When the meta is missing the log begins anew: the check of the first entry becomes the epoch, and the rest of the
   list is dropped. Neither ``read`` nor an ephemeral append makes a meta: without one a page has `NO_EPOCH` and top 0,
   and a position in it continues with the first entry of the next epoch.
4. ``append`` recognises a retry of itself (same checks) and a known idempotency key, and returns the first position.
5. Announcements are wake-ups that carry a copy. A backend reports lost ones through `Sink.lost` or a repeated
   `Sink.confirmed`, and readers go back to the list.
6. A channel that cannot be read, appended to or subscribed to fails alone.

Leases and revocations are an optional part of the contract, in `admission`.

A backend implements one colour or both; `adapt` makes the missing one with asgiref. All offsets are ints, all tokens
bytes. Errors are `BackendUnavailable` (nothing stored), `PublishUncertain` (perhaps stored) and `ChannelClosed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..errors import SSEBridgeError
from ..records.codec import Announcement
from ..records.continuity import Page, ReadRequest


class NewEntry(NamedTuple):
    """The publisher's part of an entry: a nonce (`new_token`), its part of the header (`record_head`) and the data."""

    check: bytes
    head: bytes
    data: bytes


class Append(NamedTuple):
    """One append to one channel.

    Attributes:
        channel: the channel's name.
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

    @property
    def plain(self) -> bool:
        """Whether its entries may travel with those of its channel's neighbours as one append."""
        return not (self.ephemeral or self.close or self.idempotency_key is not None or self.unknown_since is not None)


class Appended(NamedTuple):
    """The position of an append's entries.

    Attributes:
        epoch: the log's epoch.
        last: the offset of the last entry; the first is ``last - len(entries) + 1``.
        check: the check of the last entry (of the first publish under the idempotency key).
        recognised: the entries were stored before: by a retry, or under a known idempotency key.
        announced: whether the live message could be sent; readers find the entry in the log anyway.
        spooled: the append is kept in memory until the broker is back, and has no position yet.
    """

    epoch: bytes
    last: int
    check: bytes
    recognised: bool = False
    announced: bool = True
    spooled: bool = False


class Sink(Protocol):
    """The receiver of an upstream's messages; called from one thread or task at a time, and never blocks."""

    def announced(self, channel: str, announcement: Announcement | None) -> None:
        """Takes a live message; None: a message of another form (read the log)."""

    def confirmed(self, channel: str) -> None:
        """Takes the broker's confirmation of a subscription, first or repeated: earlier messages may be lost."""

    def lost(self, channels: Sequence[str] | None, why: str, error: SSEBridgeError | None = None) -> None:
        """Takes the loss of the link for these channels (None: all), each of which is confirmed again when it is back.

        `error` is a lasting refusal, of a password or by an access rule, which is raised in opens of these channels.
        """

    def control_message(self, message: bytes) -> None:
        """Takes a message on the control channel (see `admission`), if the sink subscribed to it."""

    def flush(self) -> None:
        """Wakes the readers, behind the last message of one read of the socket."""


class Upstream(Protocol):
    """One live link per process (per loop for asyncio), shared by all readers. No method blocks."""

    def subscribe(self, channels: Sequence[str]) -> None:
        """Asks for live messages; `Sink.confirmed` follows for each."""

    def unsubscribe(self, channels: Sequence[str]) -> None: ...

    def close(self) -> None:
        """Ends the link; the sink is not called after the return."""


class SyncBackend(Protocol):
    """A backend for threads and greenlets. Safe for any number of threads, and after fork."""

    def append(self, batch: Append) -> Appended: ...

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        """Appends to several channels, in one round trip where the broker allows it; an outcome per batch.

        This default appends one by one, for backends without round trips to save.
        """
        outcomes: list[Appended | SSEBridgeError] = []
        for batch in batches:
            try:
                outcomes.append(self.append(batch))
            except SSEBridgeError as error:
                outcomes.append(error)
        return outcomes

    def read(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]:
        """A page or an error per request, in one round trip where the broker allows it. An error of one channel is
        returned and leaves the others alone; a raised error concerns all of them."""

    def upstream(self, sink: Sink) -> Upstream: ...

    def close(self) -> None: ...


class AsyncBackend(Protocol):
    """A backend for coroutines. One instance serves any number of event loops; connections are per loop."""

    async def aappend(self, batch: Append) -> Appended: ...

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page | SSEBridgeError]: ...

    def aupstream(self, sink: Sink) -> Upstream:
        """Opens a link on the running loop, on which the sink is called, too."""

    async def aclose(self) -> None: ...


class Backend(SyncBackend, AsyncBackend, Protocol):
    """Both colours.

    Attributes:
        name: the URL's scheme family: ``memory``, ``redis``, ``sentinel``, ``cluster``; used in messages and metrics.
        can_block: whether a publisher can wait for readers (policy ``block``), which needs them in the same process.

    A backend of several servers may have one more, ``server_of``: a function from a channel to the server that answers
    for it (anything hashable). A hub waits for each server apart.
    """

    name: str
    can_block: bool


def pages_of(outcomes: Sequence[Page | SSEBridgeError]) -> list[Page]:
    """The pages of a read that is of no use without all of them; raises the first error."""
    pages: list[Page] = []
    for outcome in outcomes:
        if isinstance(outcome, SSEBridgeError):
            raise outcome
        pages.append(outcome)
    return pages


def page_of(outcomes: Sequence[Page | SSEBridgeError]) -> Page:
    """The page of a single read; raises its error."""
    (page,) = pages_of(outcomes)
    return page
