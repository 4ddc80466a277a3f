"""A backend that tells somebody what was appended through it: metrics count, a test's recorder collects.

It is put around a bridge's backend when the first observer comes, so a bridge that nobody observes pays nothing.
Everything but the appends goes straight to the backend inside.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import SSEBridgeError
from ..follow.page import Page, ReadRequest
from .base import Append, Appended, Backend, Sink, Upstream

Outcome = Appended | BaseException  # of one batch


class Observer(Protocol):
    """Called after each call of the backend, on the publisher's thread or loop; it must neither wait nor raise."""

    def __call__(self, batches: Sequence[Append], outcomes: Sequence[Outcome], seconds: float) -> None: ...


class Owner(Protocol):
    """Whoever publishes through a backend: a bridge."""

    backend: Backend


class ObservedBackend:
    """See the module.

    Attributes:
        inner: the backend that does the work.
    """

    def __init__(self, inner: Backend, observer: Observer) -> None:
        self.inner = inner
        self.name = inner.name
        self.can_block = inner.can_block
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)  # what is no part of the contract, such as `hold`

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

    def read(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return self.inner.read(requests)

    async def aread(self, requests: Sequence[ReadRequest]) -> list[Page]:
        return await self.inner.aread(requests)

    def upstream(self, sink: Sink) -> Upstream:
        return self.inner.upstream(sink)

    def aupstream(self, sink: Sink) -> Upstream:
        return self.inner.aupstream(sink)

    def close(self) -> None:
        self.inner.close()

    async def aclose(self) -> None:
        await self.inner.aclose()


def observe(owner: Owner, observer: Observer) -> ObservedBackend:
    """Puts an observer around the owner's backend; hand what it returns to `stop_observing`."""
    observed = ObservedBackend(owner.backend, observer)
    owner.backend = observed
    return observed


def stop_observing(owner: Owner, observed: ObservedBackend) -> None:
    """Takes it away again, wherever it stands among other observers; idempotent."""
    around: Any = owner
    name = "backend"
    while (backend := getattr(around, name)) is not observed:
        if not isinstance(backend, ObservedBackend):
            return
        around, name = backend, "inner"
    setattr(around, name, observed.inner)
