"""Circuit breakers per server: after one call has missed its deadline, others fail at once; no I/O, no clock.

States of each server:

    closed     calls have their whole deadline
    open       a call missed its deadline, and no call has had an answer meanwhile: calls fail at once
    half-open  the pause is over: one call is the *probe*, the others fail at once. The probe sends a PING and waits
               `PROBE_SECONDS` for the answer; then it goes on with its whole deadline.

An answer to any call, or a reconnected live link, closes a breaker. A failed probe opens it again, for a longer time; one
given up (a cancelled task, a killed greenlet) makes room for the next. Where no server is known (all Sentinels, or all nodes
of a cluster, are away), the address is None.

A server that answers but refuses writes (READONLY, MISCONF, NOREPLICAS) has a second breaker for writes, which answers
to reads do not close and reads do not wait for.

Shared by all threads and event loops of a process. Times are seconds of `time.monotonic`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Literal

from ...runtime.chance import CHANCE
from .urls import Address

# Between probes: from … to, doubling, jittered so that processes do not come in step.
PAUSE_SECONDS: Final = (0.25, 2.0)
PROBE_SECONDS: Final = 1.0  # a probe's wait for a connection and a PONG

Admission = Literal["go", "probe", "stay"]
Key = Address | tuple[Literal["writes"], Address | None] | None


@dataclass(slots=True, eq=False)
class _Open:
    """The state of a server's breaker while it is open or half-open."""

    since: float  # when the call began that missed its deadline
    pause: float
    until: float  # when the next probe may go
    why: str
    probing_until: float = 0.0  # half-open until then; after that a probe without an outcome counts as given up


class Breakers:
    """The breakers of all servers; see the module."""

    def __init__(self) -> None:
        self.open: dict[Key, _Open] = {}  # open and half-open ones; usually empty, which costs callers one look
        self._answered_at: dict[Address | None, float] = {}
        self._written_at: dict[Address | None, float] = {}
        self._lock = threading.RLock()  # reentrant: a finalizer may take it on the same thread

    def answered(self, address: Address | None, sent_at: float, writes: bool = False) -> None:
        """Closes the breaker of a server that carried out a call or refused it for good; that for writes if it was one."""
        if writes:  # also an answer for reads, recorded once
            self._written_at[address] = sent_at
        else:
            self._answered_at[address] = sent_at
        if self.open:
            with self._lock:
                self.open.pop(address, None)
                if writes:
                    self.open.pop(("writes", address), None)

    def admit(self, address: Key, now: float, deadline: float) -> Admission:
        """Whether a call that has until `deadline` may go to this server; ``probe``: `answered`, `in_vain` or `give_up` follows."""
        if address not in self.open:
            return "go"
        with self._lock:
            server = self.open.get(address)
            if server is None:
                return "go"
            if now < max(server.until, server.probing_until):
                return "stay"
            server.probing_until = deadline + PROBE_SECONDS
            return "probe"

    def in_vain(self, address: Key, began: float, now: float, why: str) -> None:
        """Opens the breaker: since `began` neither this call nor any other has had an answer from the server."""
        if self._last_answer(address, began - 1) >= began:
            return  # other calls had an answer since
        with self._lock:
            server = self.open.get(address)
            low, high = PAUSE_SECONDS
            if server is not None and now < server.until:
                return  # another call that waited for the same server has opened the breaker
            pause = low if server is None else min(high, 2 * server.pause)
            since = began if server is None else server.since
            self.open[address] = _Open(since, pause, now + pause * CHANCE.uniform(0.5, 1.0), why)

    def _last_answer(self, key: Key, default: float) -> float:
        if key is None or isinstance(key[1], int):
            return max(self._answered_at.get(key, default), self._written_at.get(key, default))
        return self._written_at.get(key[1], default)

    def give_up(self, address: Key) -> None:
        """A probe ended without an outcome, so the next call may be a probe."""
        with self._lock:
            server = self.open.get(address)
            if server is not None:
                server.probing_until = 0.0

    def reason(self, address: Key, now: float) -> str | None:
        """Why calls to this server fail at once; None: the breaker is closed."""
        server = self.open.get(address)
        if server is None:
            return None
        return f"it has not answered for {now - server.since:.0f} s, and is asked again soon: {server.why}"
