"""`Spooling`: a backend around another one that keeps what cannot be published now; what is decided stands in spool.py.

One daemon thread per process (a greenlet where gevent has patched threading) flushes for threads and event loops alike,
made with the first event that is spooled and gone with the last. A task per event loop would end with its loop, and
frameworks make loops that live for one call: what was spooled there would be lost while the process lives on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from ..config import Settings
from ..errors import BackendUnavailable, PublishUncertain, SSEBridgeError
from ..follow.page import Page, ReadRequest
from .base import Append, Appended, Backend, Sink, Upstream
from .letters import DeadLetter, LetterBox, encode_letter
from .spool import Spool, Step

log = logging.getLogger("sse_bridge.spool")

_AWAY = (BackendUnavailable, PublishUncertain)


def with_spool(backend: Backend, settings: Settings) -> Backend:
    """`backend` itself, or, if ``on_unavailable`` says so, around it a spool."""
    return Spooling(backend, settings) if settings.on_unavailable == "spool" else backend


class Spooling:
    """See the module. Safe for threads, greenlets, event loops, and across fork: a child begins with an empty spool.

    Attributes:
        spool: counters, and the dead letters that are in this process only.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.inner = backend
        self.name = backend.name
        self.can_block = backend.can_block
        self._settings = settings
        self._begin()

    def _begin(self) -> None:
        box: LetterBox | None = getattr(self.inner, "letter_box", None)
        self._box = box
        self.spool = Spool(self._settings, one_server=self.name != "cluster", box=box is not None)
        self._changed = threading.Condition()
        self._flusher: threading.Thread | None = None
        self._ending = False
        self._told_full = False
        self._pid = os.getpid()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # whatever else the backend can

    # publishing

    def append(self, batch: Append) -> Appended:
        if self._takes(batch):
            return self._kept(batch)
        try:
            return self.inner.append(batch)
        except _AWAY as error:
            return self._kept(batch, error)

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        outcomes: dict[int, Appended | SSEBridgeError] = {}
        direct: list[int] = []
        for index, batch in enumerate(batches):
            if self._takes(batch):
                outcomes[index] = self._kept(batch)
            else:
                direct.append(index)
        if direct:
            told = _append_many(self.inner, [batches[index] for index in direct])
            for index, outcome in zip(direct, told, strict=True):
                outcomes[index] = outcome
                if isinstance(outcome, _AWAY) and self._keeps(batches[index], outcome):
                    outcomes[index] = _spooled(batches[index])
        return [outcomes[index] for index in range(len(batches))]

    async def aappend(self, batch: Append) -> Appended:
        if self._takes(batch):
            return self._kept(batch)
        try:
            return await self.inner.aappend(batch)
        except _AWAY as error:
            return self._kept(batch, error)

    def _takes(self, batch: Append) -> bool:
        if self._pid != os.getpid():
            self._begin()
        return self.spool.takes(batch)

    def _kept(self, batch: Append, error: SSEBridgeError | None = None) -> Appended:
        """Spools it; raises the error if that is no help."""
        if not self._keeps(batch, error):
            assert error is not None
            raise error
        return _spooled(batch)

    def _keeps(self, batch: Append, error: SSEBridgeError | None) -> bool:
        """Holds a lock for microseconds, so event loops may wait for it; logs without it: a handler may publish."""
        full = begun = False
        with self._changed:
            spool = self.spool
            dead = spool.dead
            if not spool.keep(batch, time.monotonic(), _now_ms(), error):
                return False
            if spool.dead > dead and not self._told_full:
                self._told_full = full = True
            if not spool.idle:
                begun = self._wake()
        if begun:
            log.warning("the broker is away: events are spooled")
        if full:
            log.error("the spool is full (%d events, %d bytes): events become dead letters", spool.queued, spool.bytes)
        return True

    # reading

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return self.inner.read(requests)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return await self.inner.aread(requests)

    def upstream(self, sink: Sink) -> Upstream:
        return self.inner.upstream(sink)

    def aupstream(self, sink: Sink) -> Upstream:
        return self.inner.aupstream(sink)

    def forget(self, letters: Sequence[DeadLetter]) -> None:
        """These dead letters of this process were sent again."""
        with self._changed:
            self.spool.forget(letters)

    # the end

    def close(self) -> None:
        """Waits for the flush, at most ``publish_timeout_seconds``; what is left then is lost, and logged."""
        self._finish()
        self.inner.close()

    async def aclose(self) -> None:
        """The twin of `close`."""
        if not self.spool.idle:
            await asyncio.to_thread(self._finish)
        await self.inner.aclose()

    def _finish(self) -> None:
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            self._changed.wait_for(lambda: self._flusher is None, self._settings.publish_timeout_seconds)
            self._ending = self._flusher is not None
            self._changed.notify_all()
            lost = self.spool.give_up()
        if lost:
            log.error("the bridge was closed while the broker was away: %d spooled events are lost", lost)

    # the flusher's thread

    def _wake(self) -> bool:
        """With the lock held; whether there was no thread."""
        if self._flusher is not None:
            self._changed.notify_all()
            return False
        self._ending = False
        thread = threading.Thread(target=self._flush, name="sse_bridge-spool", daemon=True)
        thread.start()
        self._flusher = thread  # not before: it may have failed to start, and the next event tries again
        return True

    def _flush(self) -> None:
        while True:
            with self._changed:
                step = None if self._ending else self.spool.step(time.monotonic(), _now_ms())
                if step is None:
                    self._told_full = False
                    self._flusher = None
                    self._changed.notify_all()
                    break
                if step.wait:
                    self._changed.wait(step.wait)
                    continue
            try:
                self._do(step)
            except Exception:  # a bug must not end the only thread that flushes
                log.exception("flushing the spool failed; it goes on in a second")
                with self._changed:
                    self._changed.wait(1.0)
        if self._ending:
            self.inner.close()  # once more: a connection may have been made since
        else:
            log.warning("the spool is empty: %d flushed, %d dead so far", self.spool.flushed, self.spool.dead)

    def _do(self, step: Step) -> None:
        if step.probe is not None:
            trouble = _attempt(lambda: self.inner.read([ReadRequest(step.probe or "", limit=0)]))
            with self._changed:
                self.spool.probed(step.probe, trouble, time.monotonic())
        elif step.parcels:
            outcomes = _append_many(self.inner, [parcel.batch for parcel in step.parcels])
            with self._changed:
                if self._ending:  # it was given up meanwhile
                    return
                for parcel, outcome in zip(step.parcels, outcomes, strict=True):
                    self.spool.settle(parcel, outcome, time.monotonic(), _now_ms())
        elif step.letters and self._box is not None:
            box = self._box
            trouble = _attempt(lambda: box.put([encode_letter(letter) for letter in step.letters]))
            with self._changed:
                self.spool.stored(step.letters, trouble, time.monotonic())


def _spooled(batch: Append) -> Appended:
    return Appended(b"", 0, batch.entries[-1].check, spooled=True)


def _append_many(backend: Backend, batches: Sequence[Append]) -> Sequence[Appended | SSEBridgeError]:
    """An outcome for each, also where the backend's own start failed."""
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
