"""Clients that come back together: what one of them gets is decided once, and all of them get the very same bytes.

After a restart or a lost link thousands resume within a second, most of them from a few places. What a client gets then
depends on its request and on the windows, and on nothing else where no look at the log is needed. So a follower of nobody
comes by that request, delivers what one write holds, and must stand where a group of shared readers stands. A client
that is written the same stands there, too: its reader joins the group without a follower of its own, or, if the group
moved on meanwhile, goes on alone from a copy.

A resumption is kept in the hub's cache of batches, goes with them when a window changes, and is believed only while every
feed is live, its window holds what the request begins with, and the group has nothing more to get.

Other openings are left to the long way: a start word, since `now` is the top of the log as it is when the client comes, and
a window may lag behind that; an id that the log must confirm; another policy than ``catch_up``; more than one write holds;
a channel that has ended.
"""

from __future__ import annotations

from ..follow.follower import Follower
from ..follow.subscribe_request import SubscribeRequest
from .shared_readers import AllSharedReaders, Pushed, Rendering, SharedReaders, Target
from .state import HubState


class Resumption:
    """The frames that a request gets at once, and where its reader stands behind them. Shared, so never changed.

    Attributes:
        request: held, for it is known by its identity.
        shared: the group that stands there, for as long as it has members.
        id: of the first frame.
        data: the frames behind that one; may be empty.
        follower: behind them; of no reader.
        client_id: the id that the client has then, if nothing was hidden from it since; else None.
    """

    __slots__ = ("_ways", "client_id", "data", "follower", "id", "request", "shared")

    def __init__(
        self,
        request: SubscribeRequest,
        shared: SharedReaders,
        id: bytes,
        starts: list[int],
        data: bytes,
        follower: Follower,
    ) -> None:
        self.request = request
        self.shared = shared
        self.id = id
        self.data = data
        self.follower = follower
        self.client_id = None if follower.hidden else follower.id()
        # Of each channel the serials of its first item and behind its last one, and the mark there.
        self._ways = [(start, own.serial, own.mark) for start, own in zip(starts, follower.cursors, strict=True)]

    @property
    def stands(self) -> bool:
        """Whether it is still true, and the group stands where it ends, with nothing more to get as far as anyone
        knows.

        A group that has not moved has no more hidden entries to tell of than when the resumption was made.
        """
        if not self.shared.members:
            return False
        for cursor, (start, serial, mark) in zip(self.shared.follower.cursors, self._ways, strict=True):
            feed = cursor.feed
            window = feed.window
            if (
                window is None
                or not feed.confirmed
                or feed.stale
                or feed.doubted
                or window.closed
                or cursor.ended
                or cursor.gap is not None
                or cursor.serial != window.end_serial
                or cursor.serial != serial
                or start < window.first_serial  # the log may have been trimmed further than the cache knows
                or cursor.mark != mark
            ):
                return False
        return True

    def settle(self, reader: Pushed, target: Target, state: HubState, *, written: bool) -> bool:
        """Whether the reader joins the group; else it goes on alone, from behind what its client gets.

        Args:
            written: the client was written all of it, so that the reader may join unless anything has come meanwhile.
        """
        if written and self.stands:
            self.shared.add(reader, target)
            return True
        reader.follower = self.follower.copy()
        state.join(reader)
        return False


def find_resumption(groups: AllSharedReaders, request: SubscribeRequest, rendering: Rendering) -> Resumption | None:
    """The resumption that is true of a request now, whose `settle` must follow; None: the long way."""
    state = groups.state
    state.mend()
    openings = state.cache.openings
    mark = (id(request), rendering.name)
    known: Resumption | None = openings.get(mark)
    outdated = mark not in openings if known is None else not known.shared.members
    if outdated:
        known = _anew(groups, request, rendering, mark)
    if known is None or not known.stands:
        return None
    for cursor in known.shared.follower.cursors:
        cursor.feed.read_at = state.windows.passes  # as if it had joined
    return known


def _anew(groups: AllSharedReaders, request: SubscribeRequest, rendering: Rendering, mark: object) -> Resumption | None:
    """A resumption of this request; None where there is none, or no group stands."""
    if request.policy != "catch_up" or None in request.positions:
        return None
    shared = groups.standing(((request.channels, request.filter), rendering.name))
    if shared is None or not (shared.follower.waits and all([cursor.feed.live for cursor in shared.follower.cursors])):
        return None  # no resumption would be true, since something may be there for the group's members
    state = groups.state
    follower = state.follower(request)
    try:
        id = follower.id()
        if not follower.ready:
            return None  # not kept, since a page of the log that is on its way brings what the windows lack
        starts = [cursor.serial for cursor in follower.cursors]
        data = b""
        while not data and (batch := state.pull(follower, groups.max_write_bytes)) is not None:
            data = rendering.batch(batch)
        made = Resumption(request, shared, id, starts, data, follower) if follower.waits else None
    except Exception:  # noqa: BLE001  # a frame cannot be made: the long way meets the error where it always did
        made = None
    finally:
        for cursor in follower.cursors:
            cursor.feed.forget(cursor)
    state.cache.put_opening(mark, made, 0 if made is None else len(made.data))
    return made
