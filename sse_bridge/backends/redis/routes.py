"""Which server owns a channel: fixed, named by Sentinels, or by the slots of a cluster; no I/O.

A driver asks `address` first. When that is None it discovers: it sends `question` to the `candidates` in turn until
`learned` accepts an answer. redis-py's own cluster and Sentinel clients are not used: they retry by themselves, which
would publish an event twice, and each colour has another one.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

from .urls import Address, Target

_SLOTS: Final = 16384


def slot_of(channel: str) -> int:
    """The slot of a channel's keys, which is CRC-16/XMODEM of their hash tag (Redis Cluster specification)."""
    return binascii.crc_hqx(channel.encode(), 0) % _SLOTS


class Routes:
    """The addresses that a client knows at the moment."""

    def __init__(self, target: Target) -> None:
        self.kind = target.kind
        self._target = target
        self._primary: Address | None = target.addresses[0] if target.kind == "redis" else None
        self._slots: list[Address | None] = []

    def address(self, channel: str) -> Address | None:
        """The server to which commands for this channel go; None: discover."""
        if self.kind != "cluster":
            return self._primary
        slots = self._slots  # another thread may empty it
        return slots[slot_of(channel)] if slots else None

    def primaries(self) -> set[Address]:
        if self.kind != "cluster":
            return {self._primary} if self._primary else set()
        return {address for address in self._slots if address}

    def candidates(self) -> list[Address]:
        """Whom to ask, the likeliest first."""
        known = list(self.primaries()) if self.kind == "cluster" else []
        return known + [address for address in self._target.addresses if address not in known]

    @property
    def question(self) -> tuple[bytes | str, ...]:
        if self.kind == "sentinel":
            return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._target.service)
        return ("CLUSTER", "SLOTS")

    def learned(self, reply: Any, asked: Address) -> bool:
        """Takes an answer; False if it does not help."""
        if not isinstance(reply, list):
            return False
        if self.kind == "sentinel":
            if len(reply) != 2:
                return False
            self._primary = (reply[0].decode(), int(reply[1]))
            return True
        slots: list[Address | None] = [None] * _SLOTS
        for start, stop, primary, *_ in reply:
            # an empty or missing host means: the one you asked (cluster-preferred-endpoint-type unknown-endpoint)
            host = primary[0].decode() if primary[0] not in (None, b"", b"?") else asked[0]
            slots[start : stop + 1] = [(host, primary[1])] * (stop + 1 - start)
        if not any(slots):
            return False
        self._slots = slots
        return True

    def forget(self) -> None:
        """What is known has proved wrong: discover before the next command."""
        if self.kind == "sentinel":
            self._primary = None
        elif self.kind == "cluster" and self._slots:
            self._target = Target("cluster", tuple(dict.fromkeys([*self.primaries(), *self._target.addresses])))
            self._slots = []


def redirection(text: str, asked: Address) -> Address | None:
    """The address in ``MOVED <slot> <host>:<port>`` or ``ASK …``; an empty host means the one that was asked."""
    words = text.split(" ")
    if len(words) != 3:
        return None
    host, _, port = words[2].rpartition(":")
    return (host or asked[0], int(port)) if port.isdigit() else None
