"""One round trip of several calls over one connection; no I/O.

Appends of one entry to different channels share commands where one server has all channels, which costs Redis a sixth less
and the client a seventh. Each still has a fate of its own, and one whose fate is unknown is tried again alone, for it must say
how old it is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from .calls import AppendCall, Call
from .resp import ReplyError
from .scripts import error_code
from .urls import Address

# In one command, which Redis does without looking up: short events for a third of a millisecond.
TOGETHER: Final = 32
BYTES_TOGETHER: Final = 65_536
# Errors for a whole call, which has done nothing then, that may be meant for some of its channels only.
DIVIDED: Final = frozenset({"NOPERM", "CROSSSLOT"})


class Parcel(Protocol):
    """One command and its one reply: a call, or several."""

    @property
    def ask(self) -> Address | None: ...

    def command(self, now: float) -> bytes: ...

    def replied(self, reply: Any, asked: Address) -> bool: ...

    def broke(self, error: BaseException) -> None: ...


class Together:
    """Appends to different channels in one command.

    Args:
        calls: plain ones.
    """

    ask = None

    def __init__(self, calls: Sequence[AppendCall]) -> None:
        self._calls = calls

    def command(self, now: float) -> bytes:
        calls = self._calls
        whole = False
        for call in calls:
            call.sent_at = now
            whole = whole or call.whole
        codec = calls[0].codec
        return codec.append_each_script.call(codec.append_each([call.batch for call in calls]), whole=whole)

    def replied(self, reply: Any, asked: Address) -> bool:
        replies = reply
        if isinstance(reply, ReplyError):  # instead of a list
            code = error_code(str(reply))
            if code in DIVIDED:
                for call in self._calls:
                    call.refused(reply)
                    call.alone = True
                    call.pause = False
                    if code == "CROSSSLOT":  # a server of a cluster, reached by the URL of a single one
                        call.codec.groups = False
                return False
            replies = [reply] * len(self._calls)
        return any([call.replied(own, asked) for call, own in zip(self._calls, replies, strict=True)])

    def broke(self, error: BaseException) -> None:
        for call in self._calls:
            call.broke(error)


class Exchange:
    """Bytes out, replies in, and what a break means.

    Attributes:
        payload: what to send.
        wrong_routes: an answer said that this server is not, or no longer, the one to ask.
    """

    def __init__(self, calls: Sequence[Call[Any]], address: Address, now: float) -> None:
        parcels: Sequence[Parcel] = calls
        if len(calls) > 1 and calls[0].codec.groups:
            parcels = list(_parcels(calls))
        self.payload = b"".join([parcel.command(now) for parcel in parcels])
        self.wrong_routes = False
        self._address = address
        self._waiting = deque(parcels)
        self._skip = bool(parcels[0].ask)

    @property
    def open(self) -> bool:
        """Whether replies are still to come."""
        return bool(self._waiting)

    def replied(self, reply: Any) -> None:
        if self._skip:  # the answer to ASKING
            self._skip = False
            return
        if self._waiting.popleft().replied(reply, self._address):
            self.wrong_routes = True
        self._skip = bool(self._waiting and self._waiting[0].ask)

    def broke(self, error: BaseException) -> None:
        for parcel in self._waiting:
            parcel.broke(error)


def _parcels(calls: Sequence[Call[Any]]) -> Iterator[Parcel]:
    """Calls to one server that is no cluster's. Two of one channel keep their order whatever is refused: by one script."""
    counts = Counter([call.channel for call in calls])
    group: list[AppendCall] = []
    size = 0
    for call in calls:
        if not (isinstance(call, AppendCall) and call.groupable) or counts[call.channel] > 1:
            yield call
            continue
        group.append(call)
        size += len(call.batch.entries[0].data)
        if len(group) == TOGETHER or size >= BYTES_TOGETHER:
            yield _together(group)
            group, size = [], 0
    if group:
        yield _together(group)


def _together(calls: Sequence[AppendCall]) -> Parcel:
    return Together(calls) if len(calls) > 1 else calls[0]
