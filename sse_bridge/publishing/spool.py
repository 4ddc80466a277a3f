"""Appends that wait for the broker: kept in memory, in order per channel, bounded; no I/O, no lock, no clock.

- While an append of a channel waits, later ones of the channel queue behind it, even if the broker is back.
- An event whose fate is unknown keeps its nonce and the age of its first attempt: further ones search the log first.
- A single server that is away is away for all channels, so that no other publisher waits for a deadline to find out.
  The server is probed by a read before an event is sent to it, so that no event gets an unknown fate as the probe.
- An append that the broker will never take, that waits too long or finds no room becomes a dead letter. One that the
  broker does not take now (out of memory, say) waits on.

A spool is memory: it ends with its process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ..backends.base import Append, Appended
from ..config import Settings
from ..errors import BackendError, BackendUnavailable, ForeignRecord, PublishUncertain, SSEBridgeError
from .letters import DeadLetter, Reason

APPENDS_PER_TRIP: Final = 16  # channels per round trip
MERGED_ENTRIES: Final = 128  # per append, as the asyncio publisher merges
MERGED_BYTES: Final = 16_384  # per append, below which an announcement carries its entries
LETTERS_AT_ONCE: Final = 100
REST_SECONDS: Final = 0.5  # a channel's pause after a refusal that may pass
EXPIRE_SECONDS: Final = 1.0  # between two searches of all channels for letters that are too old


@dataclass(slots=True, eq=False)
class Letter:
    batch: Append
    size: int
    since: float
    error: str


@dataclass(slots=True, eq=False)
class _Queue:
    letters: deque[Letter] = field(default_factory=deque)
    rest_until: float = 0.0


@dataclass(frozen=True)
class MergedAppend:
    """The first letters of a channel, as one append."""

    letters: tuple[Letter, ...]

    @property
    def batch(self) -> Append:
        first = self.letters[0].batch
        if len(self.letters) == 1:
            return first
        return first._replace(entries=tuple([entry for letter in self.letters for entry in letter.batch.entries]))


@dataclass(frozen=True)
class Step:
    """The flusher's next work: one of these, else a wait."""

    probe: str | None = None  # ask the broker for the head of this channel, and call `probed`
    appends: tuple[MergedAppend, ...] = ()  # make these, and call `settle` for each
    letters: tuple[DeadLetter, ...] = ()  # put these dead letters into the broker, and call `stored`
    wait: float = 0.0  # seconds until the next step


class Spool:
    """See the module. All times are seconds of a monotonic clock, but for `at_ms` of dead letters.

    Args:
        one_server: False for a cluster, where one server may be away and the others not.
        box: the broker keeps dead letters.

    Attributes:
        queued: events that wait now.
        bytes: the rough memory of those events.
        flushed: events that were spooled and then published.
        dead: events that became dead letters.
        dropped: ephemeral events published while the broker was away, which are never spooled.
        forgotten: dead letters that were thrown away because there were too many.
        away: the broker, if it is one server, did not answer the last request.
        letters: the dead letters that are in this process only, the oldest first.
    """

    def __init__(self, settings: Settings, *, one_server: bool = True, box: bool = False) -> None:
        self.queued = 0
        self.bytes = 0
        self.flushed = 0
        self.dead = 0
        self.dropped = 0
        self.forgotten = 0
        self.away = False
        self.letters: deque[DeadLetter] = deque()
        self._settings = settings
        self._one_server = one_server
        self._box = box
        self._queues: dict[str, _Queue] = {}
        self._store_from = 0.0
        self._expire_from = 0.0

    @property
    def idle(self) -> bool:
        """Whether no append waits, and no dead letter is to be stored."""
        return not self._queues and not (self._box and self.letters)

    def takes(self, batch: Append) -> bool:
        """Whether an append must not be tried now, but handed to `keep`."""
        return bool(self._queues) and (batch.channel in self._queues or (self.away and self._one_server))

    def keep(self, batch: Append, now: float, at_ms: int, error: SSEBridgeError | None = None) -> bool:
        """Takes an append for which `takes` is true, or that failed with `error`; False: the caller must raise it."""
        if isinstance(error, PublishUncertain) and not batch.ephemeral:
            if error.unknown_since is None:
                return False  # the log cannot prove the append's fate, now or later
            batch = batch._replace(unknown_since=error.unknown_since)
        if batch.ephemeral:
            self.dropped += len(batch.entries)
            return True
        size = sum([len(entry.data) + len(entry.head) + 300 for entry in batch.entries])
        letter = Letter(batch, size, now, str(error or ""))
        settings = self._settings
        full = (
            self.queued + len(batch.entries) > settings.spool_max_events or self.bytes + size > settings.spool_max_bytes
        )
        if full:
            self._bury(letter, "full", now, at_ms)
        else:
            queue = self._queues.get(batch.channel) or _Queue()
            count = len(batch.entries)
            # No call from here: an exception out of a signal handler must find all of it done, or none.
            queue.letters += [letter]
            self._queues[batch.channel] = queue
            self.queued += count
            self.bytes += size
        if error is not None:
            self.away = True
        return True

    def step(self, now: float, at_ms: int) -> Step | None:
        """The flusher's next step; None: no work is left."""
        self._expire(now, at_ms)
        # Channels that were served stand behind the others, so the first ones are nearly always due.
        due = list(islice((name for name, queue in self._queues.items() if queue.rest_until <= now), APPENDS_PER_TRIP))
        if due:
            if self.away and self._one_server:
                return Step(probe=due[0])
            return Step(appends=tuple([self._merged(channel) for channel in due]))
        if self._box and self.letters and self._store_from <= now:
            return Step(letters=tuple(list(self.letters)[:LETTERS_AT_ONCE]))
        times = [queue.rest_until for queue in self._queues.values()]
        if self._box and self.letters:
            times.append(self._store_from)
        return Step(wait=max(0.0, min(times) - now)) if times else None

    def probed(self, channel: str, error: SSEBridgeError | None, now: float) -> None:
        """Takes a probe's outcome: only `BackendUnavailable` means away, since a refusal is an answer."""
        self.away = isinstance(error, BackendUnavailable)
        queue = self._queues.get(channel)
        if self.away and queue is not None:
            for each in self._queues.values():
                each.rest_until = now + REST_SECONDS

    def settle(self, merged: MergedAppend, outcome: Appended | SSEBridgeError, now: float, at_ms: int) -> None:
        """Takes the outcome of a merged append's append."""
        channel = merged.letters[0].batch.channel
        queue = self._queues[channel]
        if isinstance(outcome, Appended):
            self._pop(channel, len(merged.letters))
            self.flushed += sum([len(letter.batch.entries) for letter in merged.letters])
            self.away = False
            return
        since = outcome.unknown_since if isinstance(outcome, PublishUncertain) else None
        passing = isinstance(outcome, BackendError) and not isinstance(outcome, (PublishUncertain, ForeignRecord))
        if since is None and not passing:
            reason: Reason = "uncertain" if isinstance(outcome, PublishUncertain) else "refused"
            for letter in merged.letters:
                letter.error = str(outcome)
                self._bury(letter, reason, now, at_ms)
            self._pop(channel, len(merged.letters))
            return
        self.away = since is not None or isinstance(outcome, BackendUnavailable)
        queue.rest_until = now + REST_SECONDS
        self._queues[channel] = self._queues.pop(channel)  # last, since the others' server may answer
        for letter in merged.letters:
            letter.error = str(outcome)
            if since is not None:
                letter.batch = letter.batch._replace(unknown_since=since)

    def stored(self, letters: Sequence[DeadLetter], error: SSEBridgeError | None, now: float) -> None:
        """Takes the outcome of storing dead letters in the broker, or of publishing them again."""
        if error is not None:
            self._store_from = now + REST_SECONDS
            return
        gone = {letter.name for letter in letters}
        self.letters = deque([letter for letter in self.letters if letter.name not in gone])

    def give_up(self) -> int:
        """Empties the spool at the bridge's end; returns the number of lost events, dead letters included."""
        lost = self.queued + sum([len(letter.batch.entries) for letter in self.letters])
        self._queues.clear()
        self.letters.clear()
        self.queued = self.bytes = 0
        return lost

    def _merged(self, channel: str) -> MergedAppend:
        letters: list[Letter] = []
        entries = size = 0
        for letter in self._queues[channel].letters:
            entries += len(letter.batch.entries)
            size += letter.size
            if letters and not (letter.batch.plain and entries <= MERGED_ENTRIES and size <= MERGED_BYTES):
                break
            letters.append(letter)
            if not letter.batch.plain:
                break
        return MergedAppend(tuple(letters))

    def _expire(self, now: float, at_ms: int) -> None:
        if now < self._expire_from:
            return
        self._expire_from = now + EXPIRE_SECONDS
        for channel, queue in list(self._queues.items()):
            old = 0
            for letter in queue.letters:
                if now - letter.since < self._settings.spool_max_seconds:
                    break
                self._bury(letter, "expired", now, at_ms)
                old += 1
            if old:
                self._pop(channel, old)

    def _pop(self, channel: str, count: int) -> None:
        queue = self._queues.pop(channel)
        for _ in range(count):
            letter = queue.letters.popleft()
            self.queued -= len(letter.batch.entries)
            self.bytes -= letter.size
        if queue.letters:
            self._queues[channel] = queue  # last, so that channels take turns

    def _bury(self, letter: Letter, reason: Reason, now: float, at_ms: int) -> None:
        batch = letter.batch
        unknown_ms = None
        if batch.unknown_since is not None:
            unknown_ms = at_ms - round((now - batch.unknown_since) * 1000)
        elif reason == "uncertain":
            unknown_ms = at_ms - round(self._settings.publish_timeout_seconds * 1000)
        buried = batch._replace(unknown_since=None)
        dead = DeadLetter(batch.channel, reason, letter.error, at_ms, unknown_ms, buried)
        count = len(batch.entries)
        self.letters += [dead]
        self.dead += count
        while len(self.letters) > self._settings.dead_letters_max:
            count = len(self.letters[0].batch.entries)
            del self.letters[0]
            self.forgotten += count
