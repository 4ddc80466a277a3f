"""The primary of a cluster on which each channel is subscribed, and the orders when that changes; no I/O.

Each step's cost is proportional to the change: a new channel touches no other's place, and new routes only the channels of
slots with another owner.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from .connecting import LINK_ERRORS
from .routes import Routes, slot_of
from .urls import Address

log = logging.getLogger("sse_bridge.redis")

# where, subscribe or unsubscribe, which channels
Order = tuple[Address, bool, tuple[str, ...]]


class Placement:
    """The wanted channels and their primaries; discover routes before calling `orders` while `needs_routes`."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._owners = routes.owners  # at the last comparison with the places
        self._placed: dict[str, Address] = {}
        self._by_slot: defaultdict[int, set[str]] = defaultdict(set)  # placed channels
        self._counts: Counter[Address] = Counter()  # placed channels by address
        self._unplaced: dict[str, None] = {}  # unplaced channels in order of arrival
        self._fresh: dict[str, None] = {}  # unplaced channels whose owner was not looked up yet
        self._misrouted: set[str] = set()  # channels whose route proved wrong
        self._stale = False
        self.attempts = 0  # rounds in a row that have left something to do

    def want(self, channels: Iterable[str]) -> None:
        for channel in channels:
            if channel not in self._placed and channel not in self._unplaced:
                self._unplaced[channel] = self._fresh[channel] = None

    def drop(self, channels: Iterable[str]) -> list[Order]:
        leaving: defaultdict[Address, list[str]] = defaultdict(list)
        for channel in channels:
            self._unplaced.pop(channel, None)
            self._fresh.pop(channel, None)
            self._misrouted.discard(channel)
            address = self._placed.pop(channel, None)
            if address is not None:
                leaving[address].append(channel)
                self._forget_place(channel, address)
        return [(address, False, tuple(names)) for address, names in leaving.items()]

    def dropped_by_server(self, channels: Sequence[str]) -> list[Order]:
        """Channels that their server gave up or sent away need another place."""
        wanted = [channel for channel in channels if channel in self._placed]
        orders = self.drop(wanted)
        self.want(wanted)
        self._misrouted.update(wanted)
        self._stale = True
        return orders

    def unreachable(self) -> None:
        """Asks for new routes: another server may own the slots of one that cannot be reached."""
        self._stale = True

    @property
    def needs_routes(self) -> bool:
        """Whether routes are unknown or have proved wrong."""
        if self._stale:
            return True
        if self._routes.owners is not self._owners:
            return any(self._routes.address(channel) is None for channel in self._unplaced)
        return len(self._unplaced) > len(self._fresh) or any(
            self._routes.address(channel) is None for channel in self._fresh
        )

    def orders(self) -> list[Order]:
        """With fresh routes, places every unplaced channel and moves those whose owner has changed."""
        self._stale = False
        self._fresh.update(dict.fromkeys(self._misrouted))
        self._misrouted.clear()
        return self.arrivals()

    def arrivals(self) -> list[Order]:
        """Places each unplaced channel whose server is known, whatever else has to be discovered."""
        moved = self._moved()
        orders = self.drop(moved)
        self.want(moved)
        arriving: defaultdict[Address, list[str]] = defaultdict(list)
        for channel in self._fresh:
            owner = self._routes.address(channel)
            if owner is not None and channel not in self._misrouted:
                del self._unplaced[channel]
                self._placed[channel] = owner
                self._by_slot[slot_of(channel)].add(channel)
                self._counts[owner] += 1
                arriving[owner].append(channel)
        self._fresh.clear()
        return orders + [(address, True, tuple(names)) for address, names in arriving.items()]

    @contextmanager
    def round(self) -> Iterator[None]:
        """Logs the failure of a driver's attempt to place channels, which the next round repeats."""
        try:
            yield
            left = self.needs_routes
        except LINK_ERRORS as error:
            left = True
            if self.attempts == 0:
                log.warning("no cluster node answers, and new subscriptions wait for one: %s", error)
        except Exception:  # a bug must not leave the process without a live link
            left = True
            log.exception("placing subscriptions on cluster nodes failed; another attempt follows")
        self.attempts = self.attempts + 1 if left else 0

    def used(self) -> set[Address]:
        """The servers that hold a subscription."""
        return set(self._counts)

    def _moved(self) -> list[str]:
        """The placed channels whose owner has changed."""
        before, now = self._owners, self._routes.owners
        if now is before:
            return []
        self._owners = now
        self._fresh = dict(self._unplaced)
        if len(before) != len(now):
            slots: Iterable[int] = self._by_slot
        else:
            slots = [slot for slot, (was, owner) in enumerate(zip(before, now, strict=True)) if was != owner]
        moved = []
        for slot in slots:
            for channel in self._by_slot.get(slot, ()):
                owner = self._routes.address(channel)
                if owner is not None and owner != self._placed[channel]:
                    moved.append(channel)
        return moved

    def _forget_place(self, channel: str, address: Address) -> None:
        slot = slot_of(channel)
        self._by_slot[slot].discard(channel)
        if not self._by_slot[slot]:
            del self._by_slot[slot]
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]
