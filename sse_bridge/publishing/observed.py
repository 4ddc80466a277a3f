"""Observers of a bridge's appends: metrics count, a test's recorder collects.

An observer stands between a bridge and its backend only while it observes, so a bridge without one pays nothing; reads
do not pass here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from ..backends.base import Append, Appended
from ..errors import SSEBridgeError

Outcome = Appended | BaseException  # of one batch


class Observer(Protocol):
    """Called after each call of the backend, on the publisher's thread or loop; must neither wait nor raise."""

    def __call__(self, batches: Sequence[Append], outcomes: Sequence[Outcome], seconds: float) -> None: ...


class Appends(Protocol):
    """The part of a backend that publishes, in both colours."""

    def append(self, batch: Append) -> Appended: ...

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]: ...

    async def aappend(self, batch: Append) -> Appended: ...


class Owner(Protocol):
    """The owner of the appends that are observed: a bridge."""

    appends: Appends


class ObservedAppends:
    """See the module; `inner` is the backend, or another observer around it."""

    def __init__(self, inner: Appends, observer: Observer) -> None:
        self.inner = inner
        self._observer = observer

    def append(self, batch: Append) -> Appended:
        began = time.perf_counter()
        try:
            appended = self.inner.append(batch)
        except BaseException as error:
            self._observer((batch,), (error,), time.perf_counter() - began)
            raise
        self._observer((batch,), (appended,), time.perf_counter() - began)
        return appended

    async def aappend(self, batch: Append) -> Appended:
        began = time.perf_counter()
        try:
            appended = await self.inner.aappend(batch)
        except BaseException as error:
            self._observer((batch,), (error,), time.perf_counter() - began)
            raise
        self._observer((batch,), (appended,), time.perf_counter() - began)
        return appended

    def append_many(self, batches: Sequence[Append]) -> list[Appended | SSEBridgeError]:
        began = time.perf_counter()
        try:
            outcomes = self.inner.append_many(batches)
        except BaseException as error:
            self._observer(batches, [error] * len(batches), time.perf_counter() - began)
            raise
        self._observer(batches, outcomes, time.perf_counter() - began)
        return outcomes


def observe(owner: Owner, observer: Observer) -> ObservedAppends:
    """Lets an observer see the owner's appends, until `stop_observing` gets the result."""
    observed = ObservedAppends(owner.appends, observer)
    owner.appends = observed
    return observed


def stop_observing(owner: Owner, observed: ObservedAppends) -> None:
    """Removes `observed`, from among other observers too; idempotent."""
    if owner.appends is observed:
        owner.appends = observed.inner
        return
    around = owner.appends
    while isinstance(around, ObservedAppends):
        if around.inner is observed:
            around.inner = observed.inner
            return
        around = around.inner
