"""The fate of one script call over any number of attempts; no I/O. Both colours only carry bytes for it.

What decides is whether an attempt may have been executed without our knowing: from the first such attempt on, every
further one says how old that is, and the append script looks back for it. At the deadline the same question separates
`PublishUncertain` from `BackendUnavailable`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from typing_extensions import override

from ...errors import BackendUnavailable, PublishUncertain, SSEBridgeError
from ...follow.page import Page, ReadRequest
from ..base import Append, Appended
from .connecting import hopeless
from .resp import ReplyError
from .routes import Routes, redirection
from .scripts import LETTERS, READ, RETRYABLE, START, Codec, Script, error_code, refusal
from .urls import Address

T = TypeVar("T")


class Call(Generic[T]):
    """One script call.

    Attributes:
        channel: whose server gets it.
        result: set when it succeeded.
        error: set when it failed for good.
        done: either is set.
        ask: a cluster sent this call, and only this one, to another node while a slot moves.
        pause: wait a little before the next attempt; False where the broker only wants it put differently.
        whole: send the script's source, since the broker does not know its hash.
        sent_at: when the last attempt was sent (seconds, monotonic).
    """

    repeatable = True  # executing it twice does no harm

    def __init__(self, codec: Codec, channel: str) -> None:
        self.codec = codec
        self.channel = channel
        self.result: T | None = None
        self.error: SSEBridgeError | None = None
        self.done = False
        self.ask: Address | None = None
        self.pause = False
        self.whole = False
        self.sent_at = 0.0
        self._unknown_since: float | None = None
        self._last_trouble: BaseException | str = "no attempt was made"

    @property
    def script(self) -> Script:
        raise NotImplementedError

    @property
    def purpose(self) -> str:
        """What the call is for, in an error's words."""
        return f"channel {self.channel!r}"

    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        raise NotImplementedError

    def parse(self, reply: Any) -> T:
        raise NotImplementedError

    def command(self, now: float) -> bytes:
        """The bytes of the next attempt; call it right before they are sent."""
        self.sent_at = now
        age_ms = None if self._unknown_since is None else int((now - self._unknown_since) * 1000) + 1
        packed = self.script.call(self.arguments(age_ms), whole=self.whole)
        return packed if self.ask is None else b"*1\r\n$6\r\nASKING\r\n" + packed

    def replied(self, reply: Any, asked: Address) -> bool:
        """Takes the broker's answer; returns whether the routes are wrong."""
        self.ask = None
        if not isinstance(reply, ReplyError):
            self.result = self.parse(reply)
            self.done = True
            return False
        text = str(reply)
        code = error_code(text)
        self.pause = code != "NOSCRIPT"
        if code == "NOSCRIPT" and not self.whole:
            self.whole = True
        elif code == "ASK":
            self.ask = redirection(text, asked)
            self.pause = False
        elif code in RETRYABLE:
            self._last_trouble = text
            return code in ("MOVED", "READONLY", "CLUSTERDOWN")
        else:
            self.fail(refusal(text, self.channel))
        return False

    def refused(self, error: BaseException) -> None:
        """No connection: nothing was sent."""
        self.ask = None
        self.pause = True
        self._last_trouble = error

    def broke(self, error: BaseException) -> None:
        """The connection broke after the attempt was sent, or while."""
        self.refused(error)
        if self._unknown_since is None:
            self._unknown_since = self.sent_at
        if not self.repeatable:
            self.expire()

    def expire(self) -> None:
        """The deadline has come."""
        if self._unknown_since is None:
            self.fail(BackendUnavailable(f"Redis could not be reached for {self.purpose}: {self._last_trouble}"))
        else:
            self.fail(
                PublishUncertain(
                    f"channel {self.channel!r}: the connection broke after the event was sent, and no answer came before "
                    f"the deadline, so it may or may not be stored: {self._last_trouble}",
                    unknown_since=self._unknown_since,
                )
            )

    def fail(self, error: SSEBridgeError) -> None:
        self.error = error
        self.done = True

    def outcome(self) -> T:
        """The result; raises the error."""
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class AppendCall(Call[Appended]):
    """An append to one channel.

    Attributes:
        alone: it was refused together with others, perhaps for their sake.
    """

    @property
    @override
    def script(self) -> Script:
        return self.codec.append_script

    def __init__(self, codec: Codec, batch: Append) -> None:
        super().__init__(codec, batch.channel)
        self.batch = batch
        self.alone = False
        self._unknown_since = batch.unknown_since
        # There is no log in which a retry could find an ephemeral event: sent again it might be seen twice.
        self.repeatable = not batch.ephemeral

    @property
    def groupable(self) -> bool:
        """A first attempt with one new entry, which may share a command with those to other channels."""
        batch = self.batch
        if self.alone or self._unknown_since is not None or len(batch.entries) > 1:
            return False
        return not (batch.ephemeral or batch.close) and batch.idempotency_key is None

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return self.codec.append(self.batch, age_ms)

    @override
    def parse(self, reply: Any) -> Appended:
        return self.codec.appended(reply, self.batch)


class ReadCall(Call[Page]):
    @property
    @override
    def script(self) -> Script:
        return READ

    def __init__(self, codec: Codec, request: ReadRequest) -> None:
        super().__init__(codec, request.channel)
        self.request = request

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return self.codec.read(self.request)

    @override
    def parse(self, reply: Any) -> Page:
        return self.codec.page(reply, self.request)

    @override
    def expire(self) -> None:
        self._unknown_since = None  # whether a read was executed is of no interest
        super().expire()


class StartCall(Call[list[bytes]]):
    @property
    @override
    def script(self) -> Script:
        return START

    @property
    @override
    def purpose(self) -> str:
        return f"the retention it keeps under {self.channel!r}"

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return self.codec.start()

    @override
    def parse(self, reply: Any) -> list[bytes]:
        return [bytes(value) for value in reply]

    @override
    def expire(self) -> None:
        self._unknown_since = None
        super().expire()


class LettersCall(Call[list[bytes]]):
    """One step of the dead letters' box; `words` are the arguments of letters.lua."""

    def __init__(self, codec: Codec, *words: bytes) -> None:
        super().__init__(codec, codec.keys.dead.decode())  # no braces: the slot is that of the whole key
        self._words = words

    @property
    @override
    def script(self) -> Script:
        return LETTERS

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return (b"1", self.codec.keys.dead, *self._words)

    @override
    def parse(self, reply: Any) -> list[bytes]:
        return [bytes(value) for value in reply]

    @override
    def expire(self) -> None:
        self._unknown_since = None  # a letter that comes twice is one letter
        super().expire()


def backoff(attempt: int, longest: float) -> float:
    """Seconds to wait before attempt 1, 2, …: full jitter below a doubling bound, so that clients do not come in step."""
    bound = min(longest, 0.01 * (1 << min(attempt, 16)))
    return bound * (0.1 + 0.9 * secrets.randbelow(1 << 20) / (1 << 20))


LEAST_SECONDS: Final = 0.05  # an attempt with less time would fail for want of it, and hide why the others did


class Effort:
    """Calls under one deadline: whom to send to now, and how long to wait before the next round.

    Args:
        calls: what is to be done.
        now, timeout: seconds; the deadline is their sum.
    """

    def __init__(self, calls: Sequence[Call[Any]], now: float, timeout: float) -> None:
        self.deadline = now + timeout
        self.todo = calls
        self._round = 0

    def groups(self, routes: Routes) -> tuple[dict[Address, list[Call[Any]]], list[Call[Any]]]:
        """The open calls by address, and those for which the routes know none."""
        known: dict[Address, list[Call[Any]]] = {}
        unknown = []
        for call in self.todo:
            address = call.ask or routes.address(call.channel)
            if address is None:
                unknown.append(call)
            else:
                known.setdefault(address, []).append(call)
        return known, unknown

    def pause(self, now: float) -> float | None:
        """Seconds until the next round; None when every call has its result or its error."""
        self.todo = [call for call in self.todo if not call.done]
        if not self.todo:
            return None
        delay = 0.0
        if any(call.pause for call in self.todo):
            self._round += 1
            delay = backoff(self._round, 0.5)
        if now + delay + LEAST_SECONDS < self.deadline:
            return delay
        for call in self.todo:
            call.expire()
        return None


def refuse(calls: Sequence[Call[Any]], error: BaseException) -> None:
    """There is no connection for these calls; some reasons will not go away before the deadline."""
    fatal = hopeless(error)
    for call in calls:
        call.refused(error)
        if fatal is not None:
            call.fail(fatal)
