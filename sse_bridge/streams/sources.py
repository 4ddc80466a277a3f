"""A user's iterable as a stream: its own events and values, which are in no log.

What differs from a stream of channels, and why:

- Nothing can be resumed, unless the source gives its events ids of its own and reads ``Last-Event-ID`` itself. So the
  first frame carries the id ``stream.open`` and the last one ``stream.end``. A client that comes back with the first
  had been cut off: the source runs again from its start, and the new ``stream.open`` says ``{"restarted": true}`` (or,
  with `restart=False`, the client is told to stop: 204). One that comes back with the second has seen the end: 204, so
  EventSource stops. Who needs more publishes to a channel.
- ``stream.open`` and ``stream.end`` stand in formats that are made of events. NDJSON, a JSON array, text and bytes hold
  what the source yields and nothing else, but for a ``stream.error`` or ``stream.close`` where the rest is missing.
- The stream of a user (`Grant.user`) is that user's as one of channels is: it counts, and it can be revoked. Before it is
  known that it may open the source does not begin. One of nobody in particular asks for nothing, and opens at once.
- It has no lifetime: a source ends by itself, and an early end would lose the rest. Credentials that expire and a drain
  end it. Where the format cannot tell that something is missing, the connection is cut, as for a failed source.
- A failed source is logged once, with its traceback; the client reads no more than that it failed, unless
  ``settings.debug``.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic

from ..errors import BridgeClosed, InvalidInput
from ..filters import Filter, for_browsers
from ..wire import SOURCE_FORMATS, Format, negotiate
from .channels import OPENING_SECONDS
from .cors import Cors
from .crossing import Apart, Direct, OnLoop, PrivateLoop
from .host import Host
from .items import END_ID, OPEN_ID
from .pacing import Why
from .pumps import begins_async, close_async, drop, is_sync, keep, needs_aclose
from .request import StreamRequest
from .response import Grant, StreamResponse, check_admission, stream_headers
from .sockets import ServerWrite
from .source_script import SourceScript

if TYPE_CHECKING:
    from ..hub.guards import Refused
    from ..hub.guests import LoopGuest, ThreadGuest

_SyncDriver = Direct | Apart | PrivateLoop
Source = (
    Iterable[Any]
    | AsyncIterable[Any]
    | Callable[[], Iterable[Any] | AsyncIterable[Any] | Awaitable[Iterable[Any] | AsyncIterable[Any]]]
)


def stream_source(
    bridge: Host,
    source: Source,
    request: StreamRequest,
    *,
    format: Format | str | None = None,
    filter: Filter | None = None,
    grant: Grant | None = None,
    restart: bool = True,
    own_thread: bool = False,
    content_type: str | None = None,
    cors_origins: str | Iterable[str] | None = None,
) -> StreamResponse:
    """A response that streams what an iterable yields.

    Args:
        bridge: whose settings hold, and whose drain ends it; the source need not publish.
        source: a sync or async iterable of items (see `sse_bridge.streams.items`), or a callable without arguments that
            makes one. It is not touched before the server asks for the first piece, and closed when the client leaves.
        request: what the client accepts; its id tells whether it has been here before.
        format: instead of negotiating: a format or its name (sse, ndjson, text, json_array, bytes).
        filter: which items the client gets; events that are not for browsers are hidden unless it names visibilities.
        grant: the outcome of the authorize hook: whose stream it is, for limits and revocation, and when it ends.
        restart: False: do not run the source again for a client that was cut off.
        own_thread: run a sync source under WSGI on a thread of its own, so that heartbeats leave, and a gone client is
            noticed, while it is silent. Otherwise it runs on the server's thread, where the request's context and its
            database connection are, and a gone client is noticed at the next item.
        content_type: instead of the format's own, for text and bytes: ``text/csv``.
        cors_origins: pages of which other origins may read it; the setting if omitted.

    Raises:
        InvalidInput: the source is no iterable of items, or the content type is not one.
        NotAcceptable: the client accepts no format of a source.
        NotAuthenticated, NotAuthorized, TooManyStreams: see `check_admission`.
    """
    _check_source(source)
    cors = Cors.of(bridge.settings, cors_origins)
    vary: tuple[tuple[str, str], ...] = ()
    if format is None or isinstance(format, str):
        vary = () if format is not None else (("Vary", "Accept"),)
        format = negotiate(SOURCE_FORMATS, format or request.format, request.accept)
    headers = (*stream_headers(format), *vary)
    restarted = request.last_event_id == OPEN_ID.decode()
    if request.last_event_id == END_ID.decode() or (restarted and not restart):
        return cors.apply(StreamResponse(204, headers[1:]), request.origin)
    if content_type is not None:
        headers = (("Content-Type", _checked(content_type, format)), *headers[1:])
    if grant is not None and grant.filter is not None:
        filter = grant.filter
    expires_at = None
    if grant is not None and grant.expires_at is not None:
        expires_at = time.monotonic() + grant.expires_at - time.time()
    check_admission(bridge, grant)
    user = None if grant is None else grant.user
    script = SourceScript(bridge, format, for_browsers(filter), restarted=restarted, expires_at=expires_at, user=user)
    response = StreamResponse(200, headers, SourceBodies(script, source, own_thread=own_thread))
    return cors.apply(response, request.origin)


@dataclass(frozen=True)
class SourceBodies:
    """Makes the body of the colour that the server needs; one of them, once."""

    script: SourceScript
    source: Any
    own_thread: bool = False

    def sync_body(self, server: ServerWrite | None = None) -> SyncSourceBody:
        return SyncSourceBody(self.script, self.source, own_thread=self.own_thread)

    def async_body(self) -> AsyncSourceBody:
        return AsyncSourceBody(self.script, self.source)


class AsyncSourceBody:
    """An async iterator of bytes. One task iterates; `close` and `end_by` from any thread.

    A drain waits for it until the last frame was written: until it is asked for more, or closed.

    Attributes:
        answers: the response's status has not been said, so a refusal is raised as an error; set before the first piece.
        on_end: called on the loop with the moment at which a write that the client does not take is given up.
    """

    def __init__(self, script: SourceScript, source: Any) -> None:
        self.answers = False
        self.on_end: Callable[[float], None] | None = None
        self._script = script
        self._source = source
        self._driver: OnLoop | None = None
        self._guest: LoopGuest | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    def __aiter__(self) -> AsyncSourceBody:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            self.close()
            raise StopAsyncIteration
        try:
            data = await self._next()
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopAsyncIteration
        return data

    async def _next(self) -> bytes:
        driver = self._driver
        if driver is None:
            self._loop = asyncio.get_running_loop()
            refused = None if self._script.user is None else await self._refused(self._script.user)
            if self._over:  # closed meanwhile
                return b""
            if refused is not None:
                return self._turned_away(refused)
            opening = self._script.open(time.monotonic())
            driver = self._drive(self._source, begins_async(self._source, prefer_async=True))
            self._script.bridge.streams.add(self)
            self._tell_end()
            if opening:
                return opening
        while not self._over:
            data, over = self._script.pull(driver.pump, time.monotonic())
            if over:
                self._over = True
                driver.stop()
            if data:
                return data
            if driver.pump.turned is not None:
                driver = self._drive(driver.pump.turned, not is_sync(driver.pump.turned))
            elif not over:
                await driver.wait(self._script.next_due())
        return b""

    async def _refused(self, user: str) -> Refused | None:
        try:
            guest = self._guest = self._script.bridge.loop_hub().attend(user, self)
        except BridgeClosed:  # the process goes down, another one will answer
            return "unavailable"
        weakref.finalize(self, guest.abandon).atexit = False
        return await guest.admit(OPENING_SECONDS)

    def _turned_away(self, reason: Refused) -> bytes:
        error = self._script.refusal(reason) if self.answers else None
        self.close()
        if error is not None:
            raise error
        return self._script.refuse(reason)

    def _tell_end(self) -> None:
        if self.on_end is not None:
            self.on_end(self._script.given_up_at())

    def _drive(self, source: Any, is_async: bool) -> OnLoop:
        if self._driver is not None:
            self._driver.stop()
        driver = self._driver = OnLoop(self._script, source, is_async=is_async)
        driver.start()
        # the last net: a server that drops the body without closing it
        weakref.finalize(self, driver.stop).atexit = False
        return driver

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._script.end_by(when, why)
        if self._driver is not None:
            self._driver.nudge()
        if self.on_end is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_end)

    def close(self) -> None:
        """Stops the source and gives everything back; idempotent. The source's own end is not waited for."""
        never_started = self._driver is None and not self._over
        self._over = True
        self._script.bridge.streams.discard(self)
        if self._guest is not None and asyncio._get_running_loop() is self._loop:
            self._guest.close()
        elif self._guest is not None:
            self._guest.abandon()
        if self._driver is not None:
            self._driver.stop()
            drop(self._driver.pump.turned)
        elif never_started:
            self._drop_source()

    async def aclose(self) -> None:
        """Likewise, and an async source is closed when it returns."""
        self.close()
        if self._driver is not None:
            await self._driver.ended()

    def _drop_source(self) -> None:
        loop = asyncio._get_running_loop()
        if loop is not None and needs_aclose(self._source):
            keep(loop, close_async(self._source))
        else:
            drop(self._source)


class SyncSourceBody:
    """A blocking iterator of bytes. One thread or greenlet iterates; `close` and `end_by` from any.

    A drain waits for it likewise.
    """

    def __init__(self, script: SourceScript, source: Any, *, own_thread: bool) -> None:
        self._script = script
        self._source = source
        self._own_thread = own_thread
        self._driver: _SyncDriver | None = None
        self._guest: ThreadGuest | None = None
        self._over = False

    def __iter__(self) -> SyncSourceBody:
        return self

    def __next__(self) -> bytes:
        if self._over:
            self.close()
            raise StopIteration
        try:
            data = self._next()
        except BaseException:
            self.close()
            raise
        if not data:
            self.close()
            raise StopIteration
        return data

    def _next(self) -> bytes:
        driver = self._driver
        if driver is None:
            refused = None if self._script.user is None else self._refused(self._script.user)
            if self._over:  # closed from another thread meanwhile
                return b""
            if refused is not None:
                self.close()
                return self._script.refuse(refused)
            opening = self._script.open(time.monotonic())
            driver = self._drive(self._source, begins_async(self._source, prefer_async=False))
            self._script.bridge.streams.add(self)
            if opening:
                return opening
        while not self._over:
            data, over = self._script.pull(driver.pump, time.monotonic())
            if over:
                self._over = True
                driver.stop()
            if data:
                return data
            if driver.pump.turned is not None:
                driver = self._drive(driver.pump.turned, not is_sync(driver.pump.turned))
            elif not over:
                driver.wait(self._script.next_due())
        return b""

    def _refused(self, user: str) -> Refused | None:
        try:
            guest = self._guest = self._script.bridge.thread_hub().attend(user, self)
        except BridgeClosed:
            return "unavailable"
        weakref.finalize(self, guest.abandon).atexit = False
        return guest.admit(OPENING_SECONDS)

    def _drive(self, source: Any, is_async: bool) -> _SyncDriver:
        if self._driver is not None:
            self._driver.stop()
        kind = PrivateLoop if is_async else Apart if self._own_thread else Direct
        driver: _SyncDriver = kind(self._script, source)
        self._driver = driver
        driver.start()
        # the last net; it may run on any thread, even in the middle of an event loop, so it waits for nothing
        weakref.finalize(self, driver.stop, here=False).atexit = False
        return driver

    def end_by(self, when: float, why: Why = "drain") -> None:
        self._script.end_by(when, why)
        if self._driver is not None:
            self._driver.nudge()

    def close(self) -> None:
        """Stops the source and gives everything back; idempotent. The source is closed when it returns, unless it
        is blocked on a thread of its own."""
        never_started = self._driver is None and not self._over
        self._over = True
        self._script.bridge.streams.discard(self)
        if self._guest is not None:
            self._guest.close()
        if never_started and needs_aclose(self._source) and asyncio._get_running_loop() is None:
            self._drive(self._source, is_async=True)
        if self._driver is not None:
            self._driver.stop()
            drop(self._driver.pump.turned)
        elif never_started:
            drop(self._source)


def _check_source(source: Any) -> None:
    if isinstance(source, (str, bytes, bytearray, memoryview, Mapping, pydantic.BaseModel)):
        raise InvalidInput(f"a source is an iterable of items; got one item, {source!r:.120}: put it into a list")
    if not (is_sync(source) or hasattr(source, "__aiter__") or callable(source)):
        raise InvalidInput(
            f"a source must be a sync or async iterable, or a callable that makes one, got {source!r:.120}"
        )


def _checked(content_type: str, format: Format) -> str:
    if format.tells or not (content_type.isascii() and content_type.isprintable() and "/" in content_type):
        raise InvalidInput(
            f"content_type must be a media type, for the formats text and bytes only, got {content_type!r:.120} "
            f"for {format.name}"
        )
    return content_type
