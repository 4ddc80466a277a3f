"""`Spooling`: a backend around another one that keeps appends while the broker is away; `spool` decides.

One daemon thread per process (a greenlet where gevent has patched threading) flushes for threads and event loops alike,
from the first spooled event to the last. A task per event loop would end with its loop, and frameworks make loops that
live for one call: events spooled there would be lost while the process lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

from ..backends.base import Append, Appended, Backend, page_of
from ..config import Settings
from ..errors import BackendUnavailable, PublishUncertain, SSEBridgeError
from ..records.continuity import ReadRequest
from ..runtime import forks
from ..runtime.daemon import Daemon
from ..runtime.forks import after_fork
from .letters import DeadLetter, LetterBox, encode_letter
from .spool import Spool, Step

log = logging.getLogger("sse_bridge.spool")

_AWAY = (BackendUnavailable, PublishUncertain)


def with_spool(backend: Backend, settings: Settings) -> Backend:
    """`backend` itself, or a spool around it if ``on_unavailable`` is ``"spool"``."""
    return cast(Backend, Spooling(backend, settings)) if settings.on_unavailable == "spool" else backend


class Spooling:
    """See the module. Safe for threads, greenlets, event loops, and across fork: a child begins with an empty spool."""

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.inner = backend
        self._settings = settings
        self._begin()

    def _begin(self) -> None:
        box: LetterBox | None = getattr(self.inner, "letter_box", None)
        self._box = box
        self._spool = Spool(self._settings, one_server=self.name != "cluster", box=box is not None)
        self._lock = threading.RLock()
        self._flusher = Daemon(self._flush, "sse_bridge-spool")
        self._news = threading.Lock()  # released to wake the flusher
        self._ending = False
        self._told_full = False
        self._pid = os.getpid()

    @property
    def spool(self) -> Spool:
        """Counters, and the dead letters that are in this process only."""
        if self._pid != os.getpid():
            after_fork(self, Spooling._begin)
        return self._spool

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # reading, and optional parts of the backend's contract

    # publishing

    def append(self, batch: Append) -> Appended:
        if self.spool.takes(batch):
            return self._kept(batch)
        try:
            return self.inner.append(batch)
        except _AWAY as error:
            return self._kept(batch, error)

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        outcomes: dict[int, Appended | SSEBridgeError] = {
            index: self._kept(batch) for index, batch in enumerate(batches) if self.spool.takes(batch)
        }
        direct = [index for index in range(len(batches)) if index not in outcomes]
        if direct:
            told = _append_many(self.inner, [batches[index] for index in direct])
            for index, outcome in zip(direct, told, strict=True):
                outcomes[index] = outcome
                if isinstance(outcome, _AWAY) and self._keeps(batches[index], outcome):
                    outcomes[index] = _spooled(batches[index])
        return [outcomes[index] for index in range(len(batches))]

    async def aappend(self, batch: Append) -> Appended:
        if self.spool.takes(batch):
            return self._kept(batch)
        try:
            return await self.inner.aappend(batch)
        except _AWAY as error:
            return self._kept(batch, error)

    def _kept(self, batch: Append, error: SSEBridgeError | None = None) -> Appended:
        """The outcome of a spooled append; raises `error` if the spool does not take it."""
        if not self._keeps(batch, error):
            assert error is not None
            raise error
        return _spooled(batch)

    def _keeps(self, batch: Append, error: SSEBridgeError | None) -> bool:
        """Whether the spool took `batch`.

        The lock is held for microseconds, so event loops may wait for it, but not while logging: a handler may publish.
        """
        full = begun = False
        spool = self._spool
        try:
            with self._lock:
                dead = spool.dead
                if not spool.keep(batch, time.monotonic(), _now_ms(), error):
                    return False
                if spool.dead > dead and not self._told_full:
                    self._told_full = full = True
                if not spool.idle:
                    begun = self._wake()
        except BaseException:  # interrupted, perhaps once `batch` was kept
            with self._lock:
                if not spool.idle:
                    self._wake()
            raise
        if begun:
            log.warning("the broker is away: events are spooled, until spool_max_seconds or the bounds of the spool")
        if full:
            log.error("the spool is full (%d events, %d bytes): events become dead letters", spool.queued, spool.bytes)
        return True

    def forget(self, letters: Sequence[DeadLetter]) -> None:
        """Drops dead letters of this process that were published again."""
        spool = self.spool  # first: in a forked child the property makes a new lock
        with self._lock:
            spool.stored(letters, None, 0.0)

    # the end

    def close(self) -> None:
        """Waits for the flush, at most ``publish_timeout_seconds``; the other events are lost, and logged."""
        self._finish()
        self.inner.close()

    async def aclose(self) -> None:
        if not self.spool.idle:
            await asyncio.to_thread(self._finish)
        await self.inner.aclose()

    def _finish(self) -> None:
        spool = self.spool  # first: in a forked child the property makes a new lock
        self._flusher.join(self._settings.publish_timeout_seconds)
        with self._lock:
            self._ending = self._flusher.running
            self._look()
            lost = spool.give_up()
        if lost:
            log.error("the bridge was closed while the broker was away: %d spooled events are lost", lost)

    # the flusher's thread

    def _wake(self) -> bool:
        """Wakes or starts the flusher, with the lock held; returns whether it started."""
        if self._flusher.running:
            self._look()
            return False
        self._ending = False
        self._flusher.start()  # if the system has no thread, the next event tries again
        return True

    def _look(self) -> None:
        with contextlib.suppress(RuntimeError):  # `_news` is released already
            self._news.release()

    def _flush(self) -> None:
        born = forks.count
        while born == forks.count:  # gevent takes greenlets along into a child, and the spool is its parent's
            with self._lock:
                step = None if self._ending else self._spool.step(time.monotonic(), _now_ms())
                if step is None:
                    self._told_full = False
                    self._flusher.retire()
            if step is None:
                if self._ending:
                    self.inner.close()  # once more, for connections that the flusher made since
                else:
                    log.warning("the spool is empty: %d flushed, %d dead so far", self._spool.flushed, self._spool.dead)
                return
            if step.wait:
                self._news.acquire(timeout=step.wait)
                continue
            try:
                self._do(step)
            except Exception:  # a bug must not end the only flusher
                log.exception("flushing the spool failed; it goes on in a second")
                self._news.acquire(timeout=1.0)

    def _do(self, step: Step) -> None:
        if step.probe is not None:
            trouble = _attempt(lambda: page_of(self.inner.read([ReadRequest(step.probe or "", limit=0)])))
            with self._lock:
                self._spool.probed(step.probe, trouble, time.monotonic())
        elif step.appends:
            outcomes = _append_many(self.inner, [merged.batch for merged in step.appends])
            with self._lock:
                if self._ending:  # the spool was given up meanwhile
                    return
                for merged, outcome in zip(step.appends, outcomes, strict=True):
                    self._spool.settle(merged, outcome, time.monotonic(), _now_ms())
        elif step.letters and self._box is not None:
            box = self._box
            trouble = _attempt(lambda: box.put([encode_letter(letter) for letter in step.letters]))
            with self._lock:
                self._spool.stored(step.letters, trouble, time.monotonic())


def _spooled(batch: Append) -> Appended:
    return Appended(b"", 0, batch.entries[-1].check, spooled=True)


def _append_many(backend: Backend, batches: Sequence[Append]) -> Sequence[Appended | SSEBridgeError]:
    """An outcome for each batch, also if the whole call failed."""
    try:
        return backend.append_many(batches)
    except SSEBridgeError as error:
        return [error] * len(batches)


def _attempt(call: Any) -> SSEBridgeError | None:
    try:
        call()
    except SSEBridgeError as error:
        return error
    return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
