"""The part of the façade that looks at the spool: its counters, and dead letters to list and to send again."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from .backends.base import Append, Appended
from .backends.letters import DeadLetter, LetterBox, decode_letter
from .backends.spool import Spool
from .backends.spooling import Spooling
from .errors import BackendUnavailable, ForeignRecord, InvalidInput, PublishUncertain, SSEBridgeError
from .events import Position, channel_key
from .part import Part

log = logging.getLogger("sse_bridge.spool")

MAX_LIMIT = 10_000
CLOCKS_SECONDS = 60.0  # so far the clocks of two machines may be apart; the log is searched back that much further


class Resent(NamedTuple):
    """What became of a dead letter: the position of its last event, or the error that kept it a dead letter."""

    letter: DeadLetter
    result: Position | SSEBridgeError


class DeadLetters(Part):
    """Methods of `Bridge`."""

    @property
    def spool(self) -> Spool:
        """Counters of what this process spooled; all are 0 unless ``on_unavailable`` is ``"spool"``."""
        return self.backend.spool if isinstance(self.backend, Spooling) else Spool(self.settings)

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters: those that any process has put into Redis, then those of this process.

        Args:
            limit: 1 to 10,000.

        Raises:
            BackendUnavailable: Redis could not be asked; ``bridge.spool.letters`` holds those of this process.
        """
        self._check_sync("dead_letters")
        return [letter for letter, _ in self._letters(limit)]

    async def adead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """The async twin of `dead_letters`; it works on a thread, since it is no path of an event."""
        self._check_open()
        return await asyncio.to_thread(self.dead_letters, limit)

    def resend_dead_letters(self, limit: int = 100, *, uncertain: bool = False) -> list[Resent]:
        """Publishes dead letters, the oldest first; each that is published is a dead letter no more.

        They go behind what their channels hold by now. Two processes that do it at the same time publish each once. What may
        have been published already is looked up in the log first; if the log cannot prove it, it stays a dead letter.

        Args:
            limit: look at so many, 1 to 10,000.
            uncertain: send those too of which the log can prove nothing; they may then be there twice.

        Returns:
            One result for each that was tried; it ends early when the broker is away.

        Raises:
            BackendUnavailable: Redis could not be asked for them.
        """
        self._check_sync("resend_dead_letters")
        done: list[Resent] = []
        for letter, stored in self._letters(limit):
            result = self._resend(letter, letter.unknown_ms)
            if isinstance(result, PublishUncertain) and result.unknown_since is None and uncertain:
                result = self._resend(letter, None)
            done.append(Resent(letter, result))
            if isinstance(result, BackendUnavailable):
                break
            if isinstance(result, Position):
                self._forget(letter, stored)
        return done

    async def aresend_dead_letters(self, limit: int = 100, *, uncertain: bool = False) -> list[Resent]:
        """The async twin of `resend_dead_letters`, likewise on a thread."""
        self._check_open()
        return await asyncio.to_thread(self.resend_dead_letters, limit, uncertain=uncertain)

    def _letters(self, limit: int) -> list[tuple[DeadLetter, list[bytes]]]:
        """Letters, each with its copies in the broker."""
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInput(f"limit must be 1 to {MAX_LIMIT}, got {limit!r}")
        found: dict[bytes, tuple[DeadLetter, list[bytes]]] = {}
        box: LetterBox | None = getattr(self.backend, "letter_box", None)
        for data in [] if box is None else box.look(limit):
            try:
                letter = decode_letter(data)
            except ForeignRecord as error:
                log.warning("skipped in the list of dead letters: %s", error)
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
    """The append that publishes a dead letter; its nonce is the key under which only one of several wins.

    Args:
        letter: which.
        unknown_ms: look it up in the log, back to this time.
        now, wall: what `time.monotonic` and `time.time` say.
    """
    key = letter.batch.idempotency_key or f"dead-letter:{letter.name.decode()}"
    since = None if unknown_ms is None else now - max(0.0, wall - unknown_ms / 1000) - CLOCKS_SECONDS
    return letter.batch._replace(idempotency_key=key, unknown_since=since)
