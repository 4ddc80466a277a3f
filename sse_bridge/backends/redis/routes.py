"""The server that owns a channel: fixed, named by Sentinels, or by the slots of a cluster; no I/O.

A driver asks `address` first. When that is None it goes through a `Discovery`. redis-py's own cluster and Sentinel clients
are not used: they retry by themselves, which would publish an event twice, and each colour has another one.
"""

from __future__ import annotations

import binascii
import time
from collections.abc import Iterator
from typing import Any, Final

from .breaker import Breakers
from .resp import ReplyError
from .urls import Address, Target

_SLOTS: Final = 16384


def slot_of(channel: str) -> int:
    """The slot of a channel's keys, which is CRC-16/XMODEM of their hash tag (Redis Cluster specification)."""
    return binascii.crc_hqx(channel.encode(), 0) % _SLOTS


class Routes:
    """The addresses known to the clients of a process, shared by all its threads and event loops.

    A failure casts doubt on one server only: on a cluster its slots become unknown and it is asked last; behind Sentinels,
    the Sentinel that named it is asked last.
    """

    def __init__(self, target: Target) -> None:
        self.kind = target.kind
        self._target = target
        self._primary: Address | None = target.addresses[0] if target.kind == "redis" else None
        self._last_primary: Address | None = None
        self._named_by: Address | None = None
        self.owners: list[Address | None] = []  # of each slot of a cluster; a new list after each change
        self.candidates = target.addresses  # the servers to ask, the likeliest first; replaced as a whole

    def address(self, channel: str) -> Address | None:
        """The server for commands to this channel; None: discover."""
        if self.kind != "cluster":
            return self._primary
        slots = self.owners  # read once, since another thread may replace them
        return slots[slot_of(channel)] if slots else None

    def primary(self) -> Address:
        """The one server, or whichever the Sentinels named; raises `ConnectionError` if it is lost again by now."""
        if self._primary is None:
            raise ConnectionError("the primary was lost again while the Sentinels were asked for it")
        return self._primary

    def primaries(self) -> set[Address]:
        if self.kind != "cluster":
            return {self._primary} if self._primary else set()
        return {address for address in self.owners if address}

    def check_primary(self, address: Address, role: Any) -> None:
        """Raises unless `role`, the answer to ROLE, is a primary's: Sentinels may still name one that was demoted."""
        if not isinstance(role, ReplyError) and role[0] != b"master":
            raise ConnectionError(f"expected a primary at {address[0]}:{address[1]}, got the role {role[0]!r}")

    @property
    def question(self) -> tuple[bytes | str, ...]:
        if self.kind == "sentinel":
            return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
        return ("CLUSTER", "SLOTS")

    def learned(self, reply: Any, asked: Address) -> bool:
        """Takes an answer to `question`; False if no address follows from it."""
        if not isinstance(reply, list):
            return False
        if self.kind == "sentinel":
            if len(reply) != 2:
                return False
            self._named_by = asked
            self._primary = self._last_primary = (reply[0].decode(), int(reply[1]))
            return True
        slots: list[Address | None] = [None] * _SLOTS
        for start, stop, primary, *_ in reply:
            # an empty or missing host stands for the asked node (cluster-preferred-endpoint-type unknown-endpoint)
            host = primary[0].decode() if primary[0] not in (None, b"", b"?") else asked[0]
            slots[start : stop + 1] = [(host, primary[1])] * (stop + 1 - start)
        if not any(slots):
            return False
        self.owners = slots
        primaries = self.primaries()
        known = dict.fromkeys([*self.candidates, *sorted(primaries)])
        self.candidates = tuple(node for node in known if node in primaries or node in self._target.addresses)
        return True

    def recall(self) -> bool:
        """Whether the last known primary is tried again, as no Sentinel answered; connecting checks its role."""
        if self.kind == "sentinel" and self._primary is None:
            self._primary = self._last_primary
        return self.kind == "sentinel" and self._primary is not None

    def doubt(self, node: Address) -> None:
        """Moves a server to the end of `candidates`: it did not answer, or answered wrongly."""
        if node in self.candidates:
            self.candidates = (*[each for each in self.candidates if each != node], node)

    def forget(self, address: Address) -> None:
        """Makes a discovery due before the next command to this server, which failed or is not in charge any more."""
        if self.kind == "sentinel" and self._primary == address:
            self._primary = None
            if self._named_by is not None:
                self.doubt(self._named_by)
        elif self.kind == "cluster":
            self.doubt(address)
            slots = self.owners
            if address in slots:
                self.owners = [None if each == address else each for each in slots]


class Discovery:
    """One search for addresses: a driver sends the routes' `question` to each yielded server until an answer helps.

    Each server comes with its share of the seconds left, so that silent ones leave some for the others and for the
    connection.

    Args:
        breakers: the one for unknown servers closes with a helpful answer.
        deadline: of the search and the connection after it (seconds, monotonic).
    """

    def __init__(self, routes: Routes, breakers: Breakers, deadline: float) -> None:
        self._routes = routes
        self._breakers = breakers
        self._deadline = deadline
        # None: the search is over; the routes always have a candidate, so that only the deadline keeps it from asking one
        self._trouble: BaseException | None = ConnectionError(
            f"the deadline passed before a server could be asked {routes.question!r}"
        )

    def __iter__(self) -> Iterator[tuple[Address, float]]:
        nodes = self._routes.candidates
        for asked, address in enumerate(nodes):
            timeout = min(1.0, (self._deadline - time.monotonic()) / (len(nodes) - asked + 1))
            if timeout <= 0 or self._trouble is None:
                return
            yield address, timeout

    def failed(self, address: Address, error: BaseException) -> None:
        self._trouble = error
        self._routes.doubt(address)

    def answered(self, address: Address, reply: Any) -> None:
        if self._routes.learned(reply, address):
            self._trouble = None
            self._breakers.answered(None, time.monotonic())
        else:
            question = self._routes.question
            self._trouble = ConnectionError(f"{address[0]}:{address[1]} answered {question!r} with {reply!r:.200}")

    def end(self) -> None:
        """Raises the last error, if no answer helped and there is no previous primary to try again."""
        if self._trouble is not None and not self._routes.recall():
            raise self._trouble


def redirection(text: str, asked: Address) -> Address | None:
    """The address in ``MOVED <slot> <host>:<port>`` or ``ASK …``; an empty host stands for the asked node."""
    words = text.split(" ")
    if len(words) != 3:
        return None
    host, _, port = words[2].rpartition(":")
    return (host or asked[0], int(port)) if port.isdigit() else None
