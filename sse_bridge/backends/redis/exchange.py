"""One round trip of several calls over one connection; no I/O.

Appends of one entry to different channels share commands where one server has all channels, which saves Redis a sixth and
the client a seventh. Each has an outcome of its own; one whose outcome is unknown is retried alone, since a retry carries
the age of its first attempt.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from .calls import AppendCall, Call
from .resp import ReplyError
from .scripts import error_code
from .urls import Address

# In one command, during which Redis serves no other client: a third of a millisecond with short events.
MOST_COMBINED: Final = 32
MOST_COMBINED_BYTES: Final = 65_536
# Errors of a command that changed nothing, and that may concern only some of its channels.
DIVIDED: Final = frozenset({"NOPERM", "CROSSSLOT"})


class Command(Protocol):
    """One command with one reply, for one call or several."""

    @property
    def ask(self) -> Address | None: ...

    def command(self, now: float) -> bytes: ...

    def replied(self, reply: Any, asked: Address) -> bool: ...

    def broke(self, error: BaseException) -> None: ...


class CombinedAppends:
    """Groupable appends to different channels, in one command."""

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
        if isinstance(reply, ReplyError):  # of the whole command, instead of a list
            code = error_code(str(reply))
            if code in DIVIDED:
                for call in self._calls:
                    call.refused(reply)
                    call.alone = True
                    call.pause = False
                    if code == "CROSSSLOT":  # a cluster's server behind the URL of a single one
                        call.codec.groups = False
                return False
            replies = [reply] * len(self._calls)
        return any([call.replied(own, asked) for call, own in zip(self._calls, replies, strict=True)])

    def broke(self, error: BaseException) -> None:
        for call in self._calls:
            call.broke(error)


class Exchange:
    """One payload, its replies in order, and the outcome of a broken connection."""

    def __init__(self, calls: Sequence[Call[Any]], address: Address, now: float) -> None:
        commands: Sequence[Command] = calls
        if len(calls) > 1 and calls[0].codec.groups:
            commands = list(_commands(calls))
        self.payload = b"".join([command.command(now) for command in commands])
        self.wrong_routes = False  # whether a reply showed that this server is not, or no longer, the one to ask
        self._address = address
        self.waiting = deque(commands)  # for their replies
        self._skip = bool(commands[0].ask)

    def replied(self, reply: Any) -> None:
        if self._skip:  # the reply to ASKING
            self._skip = False
            return
        if self.waiting.popleft().replied(reply, self._address):
            self.wrong_routes = True
        self._skip = bool(self.waiting and self.waiting[0].ask)

    def broke(self, error: BaseException) -> None:
        for command in self.waiting:
            command.broke(error)


def _commands(calls: Sequence[Call[Any]]) -> Iterator[Command]:
    """Commands for a server outside a cluster; two appends to one channel stay in one script, which keeps their order."""
    counts = Counter([call.channel for call in calls])
    group: list[AppendCall] = []
    size = 0
    for call in calls:
        if not (isinstance(call, AppendCall) and call.groupable) or counts[call.channel] > 1:
            yield call
            continue
        group.append(call)
        size += len(call.batch.entries[0].data)
        if len(group) == MOST_COMBINED or size >= MOST_COMBINED_BYTES:
            yield _combined(group)
            group, size = [], 0
    if group:
        yield _combined(group)


def _combined(calls: Sequence[AppendCall]) -> Command:
    return CombinedAppends(calls) if len(calls) > 1 else calls[0]
