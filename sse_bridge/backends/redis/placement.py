"""On which primary of a cluster each channel's subscription stands, and what to order when that changes; no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .routes import Routes
from .urls import Address

# where, subscribe or unsubscribe, which channels
Order = tuple[Address, bool, tuple[str, ...]]


class Placement:
    """The wanted channels and their places.

    Args:
        routes: which address owns a channel; whoever calls `orders` discovers first when `needs_routes`.

    Attributes:
        needs_routes: what the routes say is unknown or has proved wrong.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._placed: dict[str, Address] = {}
        self._homeless: dict[str, None] = {}  # in the order in which they came
        self._stale = False

    def want(self, channels: Iterable[str]) -> None:
        self._homeless.update((channel, None) for channel in channels if channel not in self._placed)

    def drop(self, channels: Iterable[str]) -> list[Order]:
        """Nobody wants these any more."""
        leaving: defaultdict[Address, list[str]] = defaultdict(list)
        for channel in channels:
            self._homeless.pop(channel, None)
            address = self._placed.pop(channel, None)
            if address is not None:
                leaving[address].append(channel)
        return [(address, False, tuple(names)) for address, names in leaving.items()]

    def stray(self, channels: Sequence[str]) -> list[Order]:
        """Their server gave them up or sent them away."""
        wanted = [channel for channel in channels if channel in self._placed]
        orders = self.drop(wanted)
        self.want(wanted)
        self._stale = True
        return orders

    def unreachable(self) -> None:
        """A server cannot be reached: perhaps another one owns its slots by now."""
        self._stale = True

    @property
    def needs_routes(self) -> bool:
        return self._stale or any(self._routes.address(channel) is None for channel in self._homeless)

    def orders(self) -> list[Order]:
        """The routes are fresh: gives every homeless channel a place and moves those whose owner has changed."""
        self._stale = False
        moved = []
        for channel, address in self._placed.items():
            owner = self._routes.address(channel)
            if owner is not None and owner != address:
                moved.append(channel)
        orders = self.drop(moved)
        self.want(moved)
        arriving: defaultdict[Address, list[str]] = defaultdict(list)
        for channel in list(self._homeless):
            owner = self._routes.address(channel)
            if owner is not None:
                del self._homeless[channel]
                self._placed[channel] = owner
                arriving[owner].append(channel)
        return orders + [(address, True, tuple(names)) for address, names in arriving.items()]

    def used(self) -> set[Address]:
        """The servers that hold a subscription."""
        return set(self._placed.values())
