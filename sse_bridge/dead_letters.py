"""The part of the façade for the spool: its counters, and dead letters to list and resend."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from .backends.base import Append, Appended
from .errors import BackendUnavailable, ForeignRecord, InvalidInput, PublishUncertain, SSEBridgeError
from .events import Position, channel_key
from .part import Part
from .publishing.letters import DeadLetter, LetterBox, decode_letter
from .publishing.spool import Spool
from .publishing.spooling import Spooling

log = logging.getLogger("sse_bridge.spool")

MAX_LIMIT = 10_000
CLOCKS_SECONDS = 60.0  # tolerated difference between two machines' clocks, by which the log is searched further back


class Resent(NamedTuple):
    """The outcome of resending a dead letter: the position of its last event, or the error for which it was kept."""

    letter: DeadLetter
    result: Position | SSEBridgeError


class DeadLetters(Part):
    """Methods of `Bridge`."""

    @property
    def spool(self) -> Spool:
        """Counters of what this process spooled; all are 0 unless ``on_unavailable`` is ``"spool"``."""
        return self.backend.spool if isinstance(self.backend, Spooling) else Spool(self.settings)

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters: first those stored in Redis by any process, then those of this process.

        Args:
            limit: 1 to 10,000.

        Raises:
            BackendUnavailable: Redis did not answer; ``bridge.spool.letters`` holds those of this process.
        """
        self._check_sync("dead_letters")
        return [letter for letter, _ in self._letters(limit)]

    async def adead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The async twin of `dead_letters`; it runs on a thread, since it is on no event's path."""
        self._check_open()
        return await asyncio.to_thread(self.dead_letters, limit)

    def resend_dead_letters(self, limit: int = 100, *, uncertain: bool = False) -> list[Resent]:
        """Publishes dead letters, the oldest first, and removes those published.

        Their events follow those that the channels hold by now. Two processes at the same time publish each letter once. A
        letter that may have been published already is searched in the log first, and kept if the log proves neither.

        Args:
            limit: the most letters to try, 1 to 10,000.
            uncertain: also send letters of which the log proves nothing, and which may then be published twice.

        Returns:
            One result for each letter tried; ends early when the broker is away. On a cluster, only letters to channels of
            a primary that is away are left out.

        Raises:
            BackendUnavailable: Redis did not answer the list.
        """
        self._check_sync("resend_dead_letters")
        done: list[Resent] = []
        server_of: Callable[[str], Hashable] | None = getattr(self.backend, "server_of", None)
        away: set[Hashable] = set()
        for letter, stored in self._letters(limit):
            if server_of is not None and server_of(letter.channel) in away:
                continue
            result = self._resend(letter, letter.unknown_ms)
            if isinstance(result, PublishUncertain) and result.unknown_since is None and uncertain:
                result = self._resend(letter, None)
            done.append(Resent(letter, result))
            if isinstance(result, BackendUnavailable):
                if server_of is None:
                    break
                away.add(server_of(letter.channel))
            if isinstance(result, Position):
                self._forget(letter, stored)
        return done

    async def aresend_dead_letters(self, limit: int = 100, *, uncertain: bool = False) -> list[Resent]:
        """The async twin of `resend_dead_letters`, likewise on a thread."""
        self._check_open()
        return await asyncio.to_thread(self.resend_dead_letters, limit, uncertain=uncertain)

    def _letters(self, limit: int) -> list[tuple[DeadLetter, list[bytes]]]:
        """The oldest letters, each with its copies in the broker."""
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(f"limit must be 1 to {MAX_LIMIT}, got {limit!r}")
        found: dict[bytes, tuple[DeadLetter, list[bytes]]] = {}
        box: LetterBox | None = getattr(self.backend, "letter_box", None)
        for data in [] if box is None else box.look(limit):
            try:
                letter = decode_letter(data)
            except ForeignRecord as error:
                log.warning("foreign dead letter left out of the list: %s", error)
                continue
            found.setdefault(letter.name, (letter, []))[1].append(data)
        for letter in list(self.spool.letters):
            found.setdefault(letter.name, (letter, []))
        return list(found.values())[:limit]

    def _resend(self, letter: DeadLetter, unknown_ms: int | None) -> Position | SSEBridgeError:
        batch = again(letter, unknown_ms, time.monotonic(), time.time())
        backend = self.backend.inner if isinstance(self.backend, Spooling) else self.backend
        try:
            appended: Appended = backend.append(batch)
        except SSEBridgeError as error:
            return error
        key = channel_key(batch.channel).decode()
        return Position(key, appended.epoch.decode(), appended.last, appended.check.decode(), batch.close)

    def _forget(self, letter: DeadLetter, stored: list[bytes]) -> None:
        box: LetterBox | None = getattr(self.backend, "letter_box", None)
        if stored and box is not None:
            box.remove(stored)
        if isinstance(self.backend, Spooling):
            self.backend.forget([letter])


def again(letter: DeadLetter, unknown_ms: int | None, now: float, wall: float) -> Append:
    """The append that publishes a dead letter, with an idempotency key, so that only one of several resends wins.

    Args:
        unknown_ms: search the log for it, back to this time (milliseconds since 1970); None: do not search.
        now, wall: the current `time.monotonic` and `time.time`.
    """
    key = letter.batch.idempotency_key or f"dead-letter:{letter.name.decode()}"
    since = None if unknown_ms is None else now - max(0.0, wall - unknown_ms / 1000) - CLOCKS_SECONDS
    return letter.batch._replace(idempotency_key=key, unknown_since=since)
