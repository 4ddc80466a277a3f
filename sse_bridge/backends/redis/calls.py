"""The outcome of one script call over any number of attempts; no I/O.

From the first attempt on that may have been executed without an answer, every further one carries the age of that
attempt, and the append script searches the log back to it. At the deadline such an attempt separates
`PublishUncertain` from `BackendUnavailable`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from typing_extensions import override

from ...errors import BackendError, BackendUnavailable, PublishUncertain, SSEBridgeError
from ...records.continuity import Page, ReadRequest
from ..base import Append, Appended
from .connecting import NotAwayError
from .resp import ReplyError
from .routes import redirection
from .scripts import AWAY, LETTERS, READ, RETRYABLE, UNWRITABLE, Codec, Script, error_code, refusal
from .urls import Address

T = TypeVar("T")


class Call(Generic[T]):
    """One script call; its channel determines the server."""

    repeatable = True  # executing it twice does no harm
    writes = False  # a server that takes no writes refuses the call

    # Class attributes as defaults save 0.2 µs an append, since most calls change only two of them.
    result: T | None = None
    error: SSEBridgeError | None = None  # set on a final failure
    done = False  # whether either is set
    ask: Address | None = None  # the node to which an ASK reply sent this call alone, while its slot moves
    pause = False  # whether to wait before the next attempt; False after replies such as NOSCRIPT or MOVED
    whole = False  # whether to send the script's source, since the broker does not know its hash
    sent_at = 0.0  # when the last attempt was sent (seconds, monotonic)
    asked: Address | None = None  # the server of the last attempt; None: none was known
    away = False  # whether the last attempt had no answer, or one by which its server can serve no call now
    unwritable = False  # whether a server that is `away` still serves reads
    _unknown_since: float | None = None
    trouble: BaseException | str = "no attempt was made"  # the outcome of the last attempt

    def __init__(self, codec: Codec, channel: str) -> None:
        self.codec = codec
        self.channel = channel

    @property
    def script(self) -> Script:
        raise NotImplementedError

    @property
    def purpose(self) -> str:
        """The first words of an error: what the call was to do."""
        raise NotImplementedError

    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        raise NotImplementedError

    def parse(self, reply: Any) -> T:
        raise NotImplementedError

    def command(self, now: float) -> bytes:
        """The bytes of the next attempt; call this right before they are sent."""
        self.sent_at = now
        age_ms = None if self._unknown_since is None else int((now - self._unknown_since) * 1000) + 1
        packed = self.script.call(self.arguments(age_ms), whole=self.whole)
        return packed if self.ask is None else b"*1\r\n$6\r\nASKING\r\n" + packed

    def replied(self, reply: Any, asked: Address) -> bool:
        """Takes the broker's answer; returns whether the routes are wrong."""
        self.ask = None
        if not isinstance(reply, ReplyError):
            try:
                self.result = self.parse(reply)
            except (ValueError, TypeError, LookupError, AttributeError) as error:  # others share the connection
                self.fail(self.misread(reply, error))
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
            self.trouble = text
            self.away = code in AWAY
            self.unwritable = self.writes and code in UNWRITABLE
            return code in ("MOVED", "READONLY", "CLUSTERDOWN")
        else:
            self.fail(refusal(text, self.channel, self.purpose))
        return False

    def misread(self, reply: Any, error: Exception) -> SSEBridgeError:
        """The error for a reply of unexpected form."""
        return BackendError(
            f"{self.purpose}: expected the answer of this version's script, got {reply!r:.200}: {error}"
        )

    def refused(self, error: BaseException) -> None:
        """Takes the failure to connect: nothing was sent."""
        self.ask = None
        self.pause = True
        self.away = not isinstance(error, NotAwayError)
        self.unwritable = False
        self.trouble = error

    def broke(self, error: BaseException) -> None:
        """Takes the break of the connection during or after sending: the attempt may have been executed."""
        self.refused(error)
        if self._unknown_since is None:
            self._unknown_since = self.sent_at
        if not self.repeatable:
            self.expire()

    def expire(self) -> None:
        """The deadline has come. Whether the call was executed matters for appends only: the others may be made again."""
        self.fail(BackendUnavailable(f"{self.purpose}: Redis could not be reached: {self.trouble}"))

    def stay(self, reason: str) -> None:
        """Ends the call as if the deadline had come, since its server is not worth waiting for (see breaker.py)."""
        self.trouble = reason
        self.expire()

    def named(self, error: BackendError) -> BackendError:
        """The error of this call for a failure that keeps every call from working."""
        message = f"{self.purpose}: {error}"
        if isinstance(error, BackendUnavailable):
            return BackendUnavailable(message)
        return BackendError(message, permanent=error.permanent)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Raises a `BackendError` of what must come before this call as one of this call."""
        try:
            yield
        except BackendError as error:
            raise self.named(error) from error

    def fail(self, error: SSEBridgeError) -> None:
        self.error = error
        self.done = True

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class AppendCall(Call[Appended]):
    writes = True

    @property
    @override
    def script(self) -> Script:
        return self.codec.append_script

    @property
    @override
    def purpose(self) -> str:
        return f"{'closing' if self.batch.close else 'publishing to'} {self.channel!r}"

    def __init__(self, codec: Codec, batch: Append) -> None:
        super().__init__(codec, batch.channel)
        self.batch = batch
        self.alone = False  # whether to repeat it alone, after a refusal that may concern only calls combined with it
        self._unknown_since = batch.unknown_since
        # A retry cannot search the log for an ephemeral event, so sending it again might duplicate it.
        self.repeatable = not batch.ephemeral

    @property
    def groupable(self) -> bool:
        """Whether this is a first attempt with one new entry, which may share a command with those to other channels."""
        return self.batch.plain and not self.alone and self._unknown_since is None and len(self.batch.entries) == 1

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return self.codec.append(self.batch, age_ms)

    @override
    def parse(self, reply: Any) -> Appended:
        return self.codec.appended(reply, self.batch)

    @override
    def misread(self, reply: Any, error: Exception) -> SSEBridgeError:
        return PublishUncertain(
            f"{self.purpose}: the event was sent, and the answer {reply!r:.200} does not say what became of it: {error}"
        )

    @override
    def expire(self) -> None:
        if self._unknown_since is None:
            super().expire()
            return
        self.fail(
            PublishUncertain(
                f"{self.purpose}: the connection broke after the event was sent, and no answer came before "
                f"the deadline, so it may or may not be stored: {self.trouble}",
                unknown_since=self._unknown_since,
            )
        )


class ReadCall(Call[Page]):
    script = READ

    @property
    @override
    def purpose(self) -> str:
        return f"reading {self.channel!r}"

    def __init__(self, codec: Codec, request: ReadRequest) -> None:
        super().__init__(codec, request.channel)
        self.request = request

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return self.codec.read(self.request)

    @override
    def parse(self, reply: Any) -> Page:
        return self.codec.page(reply, self.request)


class LettersCall(Call[list[bytes]]):
    """One step of the dead letters' box; `words` are the arguments of letters.lua. A letter that comes twice is one letter."""

    script = LETTERS

    def __init__(self, codec: Codec, *words: bytes) -> None:
        super().__init__(codec, codec.keys.dead.decode())  # a key without a hash tag is hashed as a whole
        self._words = words
        self.writes = words[0] != b"look"

    @property
    @override
    def purpose(self) -> str:
        return f"dead letters under {self.channel!r} ({self._words[0].decode()})"

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        return (b"1", self.codec.keys.dead, *self._words)

    @override
    def parse(self, reply: Any) -> list[bytes]:
        return [bytes(value) for value in reply]


def backoff(attempt: int, longest: float) -> float:
    """Seconds to wait before attempt 1, 2, …: full jitter below a doubling bound, so that clients do not synchronise."""
    bound = min(longest, 0.01 * (1 << min(attempt, 16)))
    return bound * (0.1 + 0.9 * secrets.randbelow(1 << 20) / (1 << 20))
