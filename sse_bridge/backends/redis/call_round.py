"""Calls under one deadline: which server to try now, when to retry, and when to give up; no I/O.

The drivers (threads.py, aio.py) run a `CallRound` round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from .breaker import PROBE_SECONDS, Breakers, Key
from .calls import Call, backoff
from .connecting import NotAwayError, permanent_error
from .routes import Routes
from .urls import Address

LEAST_SECONDS: Final = 0.05  # an attempt with less time would fail for lack of it, and hide why the others did
_NO_OWNER: Final = NotAwayError("no known server is in charge of this channel")


class CallRound:
    """Calls and their attempts until one deadline.

    Args:
        now, timeout: seconds; the deadline is their sum.
        breakers: the servers for which calls do not wait.
        attempt_seconds: a call that waited for less than one attempt opens no breaker.

    Attributes:
        probing: the breakers of which this is the probe, and whether PONG came; usually empty, and then `probes`,
            `deadline_of` and `end` need not be called. Keys are added to a copy: all instances begin with one empty dict.
    """

    probing: dict[Key, bool] = {}  # noqa: RUF012
    _attempts = 0

    def __init__(
        self, calls: Sequence[Call[Any]], now: float, timeout: float, breakers: Breakers, attempt_seconds: float
    ) -> None:
        self.deadline = now + timeout
        self.todo = calls
        self._began = now
        self._proves = timeout >= attempt_seconds
        self._breakers = breakers

    def groups(self, routes: Routes, now: float) -> tuple[dict[Address, list[Call[Any]]], list[Call[Any]]]:
        """The open calls by address, and those without a known address; calls held back by a breaker are in neither."""
        known: dict[Address, list[Call[Any]]] = {}
        unknown = []
        for call in self.todo:
            address = call.asked = call.ask or routes.address(call.channel)
            if address is None:
                unknown.append(call)
            else:
                known.setdefault(address, []).append(call)
        if self._breakers.open:
            known = {address: group for address, group in known.items() if self._admitted(address, group, now)}
            if unknown and not self._admitted(None, unknown, now):
                unknown = []
        return known, unknown

    def regroup(self, routes: Routes, now: float) -> dict[Address, list[Call[Any]]]:
        """The open calls by address, after a discovery: those for which the routes know none even now are refused."""
        known, unknown = self.groups(routes, now)
        self.refuse(None, unknown, _NO_OWNER, now)
        return known

    def _admitted(self, address: Address | None, calls: Sequence[Call[Any]], now: float) -> bool:
        for key in _keys(calls[0]):
            if key in self.probing:
                continue
            admission = self._breakers.admit(key, now, self.deadline)
            if admission == "probe":
                self.probing = {**self.probing, key: key != address}  # a probe of writes needs no PONG
            elif admission == "stay":
                reason = self._breakers.reason(key, now) or "it was away just now"
                for call in calls:
                    call.stay(reason)
                return False
        return True

    def probes(self, address: Address | None) -> bool:
        """Whether this server must answer PING before anything else is sent."""
        return self.probing.get(address) is False

    def deadline_of(self, address: Address | None, now: float) -> float:
        """The deadline for a connection to this server, and for its PONG if one is due."""
        return min(self.deadline, now + PROBE_SECONDS) if self.probes(address) else self.deadline

    def ponged(self, address: Address) -> None:
        """Takes the probe's PONG: its calls now have their whole deadline, while others wait for their outcome."""
        self.probing[address] = True

    def refuse(self, address: Address | None, calls: Sequence[Call[Any]], error: BaseException, now: float) -> None:
        """Takes the failure to connect for these calls; a permanent reason ends them at once."""
        fatal = permanent_error(error)
        for call in calls:
            call.refused(error)
            if fatal is not None:
                call.fail(call.named(fatal))
        if self.probes(address):
            del self.probing[address]
            self._breakers.in_vain(address, self._began, now, str(error))

    def pause(self, now: float) -> float | None:
        """Seconds until the next round; None when every call has a result or an error."""
        self.todo = [call for call in self.todo if not call.done]
        if self.todo and self._breakers.open:
            self._hold_back(now)
        if not self.todo:
            return None
        delay = 0.0
        if any(call.pause for call in self.todo):
            self._attempts += 1
            delay = backoff(self._attempts, 0.5)
        if now + delay + LEAST_SECONDS < self.deadline:
            return delay
        for call in self.todo:
            if call.away and self._proves:
                self._breakers.in_vain(_blamed(call), self._began, now, str(call.trouble))
            call.expire()
        return None

    def _hold_back(self, now: float) -> None:
        """Ends the calls whose server's breaker has opened meanwhile, by other calls or by this probe."""
        for call in self.todo:
            if call.unwritable and self.probing.pop(_blamed(call), False):  # the server said so, and will say it again
                self._breakers.in_vain(_blamed(call), self._began, now, str(call.trouble))
            for key in _keys(call):
                reason = None if key in self.probing else self._breakers.reason(key, now)
                if reason is not None and not call.done:
                    call.stay(reason)
        self.todo = [call for call in self.todo if not call.done]

    def end(self) -> None:
        """Gives up each probe that is still undecided, so that the next call may be one."""
        for key in self.probing:
            self._breakers.give_up(key)


def _blamed(call: Call[Any]) -> Key:
    """The breaker to open for a call's failure."""
    return ("writes", call.asked) if call.unwritable else call.asked


def _keys(call: Call[Any]) -> tuple[Key, ...]:
    """The breakers that hold a call back."""
    return (call.asked, ("writes", call.asked)) if call.writes else (call.asked,)
