"""A user's iterable as a stream: its own events and values, which are in no log.

Differences from a stream of channels, and their reasons:

- Nothing can be resumed, unless the source gives its events ids of its own and reads ``Last-Event-ID`` itself. So the
  first frame carries the id ``stream.open`` and the last one ``stream.end``. A client that reconnects with the first
  had been cut off: the source runs again from its start, and the new ``stream.open`` says ``{"restarted": true}`` (or,
  with `restart=False`, the client gets 204 and stops). A client that reconnects with the second has seen the end: 204,
  so EventSource stops. An application that needs more publishes to a channel.
- ``stream.open`` and ``stream.end`` stand in formats that are made of events. NDJSON, a JSON array, text and bytes hold
  the source's items and nothing else, but for a ``stream.error`` or ``stream.close`` where the rest is missing.
- A stream with a user (`Grant.user`) counts for the user's limit and can be revoked like one of channels; its source
  begins when the stream is admitted. A stream without a user opens at once.
- A source's stream has no lifetime: a source ends by itself, and an early end would lose the rest. Expired credentials
  and a drain end it. A format that cannot say that something is missing has its connection cut, as for a failed source.
- A failed source is logged once, with its traceback; the client reads no more than that it failed, unless
  ``settings.debug``.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from abc import abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pydantic
from typing_extensions import override

from ...admission.admissions import Why
from ...admission.grants import Grant
from ...admission.members import LoopSourceMember, ThreadSourceMember
from ...errors import InvalidInput
from ...filters import Filter, for_browsers
from ...wire import SOURCE_FORMATS, Format, choose
from ..http.cors import Cors
from ..http.request import StreamRequest
from ..http.response import StreamResponse, stream_headers
from ..lifecycle.bodies import LoopBody, ThreadBody
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.opening import Place, check_admission, no_room
from ..writers.socket import ServerWrite
from .drivers import InlineDriver, LoopDriver, PrivateLoopDriver, ThreadDriver
from .items import END_ID, OPEN_ID
from .iterables import begins_async, discard, drop, is_sync
from .script import Pump, SourceScript

_SyncDriver = InlineDriver | ThreadDriver | PrivateLoopDriver
Source = (
    Iterable[Any]
    | AsyncIterable[Any]
    | Callable[[], Iterable[Any] | AsyncIterable[Any] | Awaitable[Iterable[Any] | AsyncIterable[Any]]]
)


def stream_source(
    bridge: BridgeProtocol,
    source: Source,
    request: StreamRequest,
    *,
    format: Format | str | None = None,
    filter: Filter | None = None,
    grant: Grant | None = None,
    restart: bool = True,
    own_thread: bool = False,
    content_type: str | None = None,
    type_in_data: bool = False,
    cors_origins: str | Iterable[str] | None = None,
) -> StreamResponse:
    """A response that streams an iterable's items; a source that is refused or not needed (204) is closed.

    Args:
        bridge: gives settings and the drain; the source need not publish.
        source: a sync or async iterable of items (see `sse_bridge.streams.sources.items`), or a callable without
            arguments that makes one. It begins when the server asks for the first piece, and is closed when the client
            leaves.
        request: the client's accepted formats, and its id, from which a restart is known.
        format: instead of negotiating: a format or its name (sse, sse-data, ndjson, text, json_array, bytes).
        filter: hides items from the client; events that are not for browsers are hidden unless it names visibilities.
        grant: the outcome of the authorize hook: the user for limits and revocation, and the end of the credentials.
        restart: False: do not run the source again for a client that was cut off.
        own_thread: run a sync source under WSGI on a thread of its own, so that heartbeats leave, and a gone client is
            noticed, while the source is silent. Otherwise it runs on the server's thread, where the request's context
            and its database connection are, and a gone client is noticed at the next item.
        content_type: instead of the format's own, for text and bytes: ``text/csv``.
        type_in_data: in the format sse-data, put an item's type inside its data.
        cors_origins: the other origins whose pages may read the stream; the setting if omitted.

    Raises:
        InvalidInput: the source is no iterable of items, or the content type is not one.
        NotAcceptable: the client accepts no format of a source.
        NotAuthenticated, NotAuthorized, TooManyStreams: see `check_admission`.
    """
    _check_source(source)
    try:
        cors = Cors.of(bridge.settings, cors_origins)
        wire, by_accept = choose(SOURCE_FORMATS, format, request.format, request.accept, type_in_data=type_in_data)
        headers = (*stream_headers(wire), *((("Vary", "Accept"),) if by_accept else ()))
        restarted = request.last_event_id == OPEN_ID.decode()
        if request.last_event_id == END_ID.decode() or (restarted and not restart):
            discard(source)
            return cors.apply(StreamResponse(204, headers[1:]), request.origin)
        if content_type is not None:
            headers = (("Content-Type", _checked(content_type, wire)), *headers[1:])
        if grant is not None and grant.filter is not None:
            filter = grant.filter
        check_admission(bridge, grant)
        script = SourceScript(bridge, wire, for_browsers(filter), grant, restarted=restarted)
        if (refused := no_room(bridge)) is not None and (error := script.refusal(refused)) is not None:
            raise error  # while its status can still be sent, since the format has no last frame
    except BaseException:
        discard(source)
        raise
    response = StreamResponse(200, headers, SourceBodies(script, source, own_thread=own_thread))
    return cors.apply(response, request.origin)


@dataclass(frozen=True)
class SourceBodies:
    """Makes the body of the colour that the server needs; one of them, once."""

    script: SourceScript
    source: Any
    own_thread: bool = False
    runs_code: ClassVar[bool] = True

    def sync_body(self, server: ServerWrite | None = None) -> SyncSourceBody:
        return SyncSourceBody(self.script, self.source, own_thread=self.own_thread)

    def async_body(self) -> AsyncSourceBody:
        return AsyncSourceBody(self.script, self.source)

    def close(self) -> None:
        discard(self.source)


class _SourceBody:
    """The part of both bodies that draws from a driver; a callable's source may need another one, of the other colour."""

    _prefers_async: ClassVar[bool]
    _script: SourceScript
    _source: Any
    _driver: LoopDriver | _SyncDriver | None = None
    _over: bool
    _pump: Pump  # the driver's, as `_wait` is, which the async body awaits
    _wait: Callable[[float], Any]

    @abstractmethod
    def _new_driver(self, source: Any, is_async: bool) -> LoopDriver | _SyncDriver: ...

    def _open(self) -> bytes:
        first = self._script.open(time.monotonic())
        self._drive(self._source, begins_async(self._source, prefer_async=self._prefers_async))
        return first

    def _drive(self, source: Any, is_async: bool) -> None:
        if self._driver is not None:
            self._driver.stop()
        driver = self._driver = self._new_driver(source, is_async)
        driver.start()
        self._pump, self._wait = driver.pump, driver.wait
        # A server may drop the body without closing it. The finalizer may run on any thread, even that of an event loop, so
        # `here=False` makes `stop` wait for nothing.
        weakref.finalize(self, driver.stop, here=False).atexit = False

    def _end(self) -> None:
        assert self._driver is not None
        self._over = True
        self._driver.stop()

    def _turn(self) -> None:
        """Starts another driver for the source of the other colour that a callable has made."""
        self._drive(self._pump.other_colour, not is_sync(self._pump.other_colour))

    def _release(self) -> None:
        if self._driver is not None:
            self._driver.stop()
            drop(self._driver.pump.other_colour)
        else:
            source, self._source = self._source, None
            discard(source)


class AsyncSourceBody(_SourceBody, LoopBody):
    """An async iterator of bytes; see `LoopBody`."""

    _prefers_async = True
    _script: SourceScript
    _driver: LoopDriver | None = None

    def __init__(self, script: SourceScript, source: Any) -> None:
        super().__init__(script)
        # called on the loop with the moment at which a write that the client does not take is given up
        self.on_end: Callable[[float], None] | None = None
        self._source = source
        self._member: LoopSourceMember | None = None

    @override
    def enter(self) -> Place | None:
        if self._script.user is None:
            return None
        hub = self._script.bridge.loop_hub()
        member = self._member = hub.register_source(self._script.user, self)
        weakref.finalize(self, member.abandon).atexit = False
        return hub, member, member.wait

    @override
    def _open(self) -> bytes:
        first = super()._open()
        self._tell_end()
        return first

    @override
    async def _more(self, first: bytes = b"") -> bytes:
        while not (first or self._over):
            first, over = self._script.pull(self._pump, time.monotonic())
            if over:
                self._end()
            elif not first and self._pump.other_colour is None:
                await self._wait(self._script.deadlines.next())
            elif not first:
                self._turn()
        return first

    def _tell_end(self) -> None:
        if self.on_end is not None:
            self.on_end(self._script.deadlines.given_up_at())

    @override
    def _new_driver(self, source: Any, is_async: bool) -> LoopDriver:
        return LoopDriver(self._script, source, is_async=is_async)

    @override
    def _end_at(self, when: float) -> None:
        if self._driver is not None:
            self._driver.nudge()
        self._tell_end()

    @override
    def close(self) -> None:
        """Stops the source and releases everything; idempotent. Does not wait for the source's own end."""
        super().close()
        if self._member is not None and asyncio._get_running_loop() is self.loop:
            self._member.close()
        elif self._member is not None:
            self._member.abandon()
        self._release()

    @override
    async def aclose(self) -> None:
        """The async twin of `close`; returns when an async source is closed."""
        self.close()
        if self._driver is not None:
            await self._driver.ended()


class SyncSourceBody(_SourceBody, ThreadBody):
    """A blocking iterator of bytes; see `ThreadBody`."""

    _prefers_async = False
    _script: SourceScript

    def __init__(self, script: SourceScript, source: Any, *, own_thread: bool) -> None:
        super().__init__(script)
        self._source = source
        self._own_thread = own_thread
        self._member: ThreadSourceMember | None = None

    @override
    def enter(self) -> Place | None:
        if self._script.user is None:
            return None
        hub = self._script.bridge.thread_hub()
        member = self._member = hub.register_source(self._script.user, self)
        return hub, member, member.wait

    @override
    def _more(self, first: bytes = b"") -> bytes:
        while not (first or self._over):
            first, over = self._script.pull(self._pump, time.monotonic())
            if over:
                self._end()
            elif not first and self._pump.other_colour is None:
                self._wait(self._script.deadlines.next())
            elif not first:
                self._turn()
        return first

    @override
    def _new_driver(self, source: Any, is_async: bool) -> _SyncDriver:
        kind = PrivateLoopDriver if is_async else ThreadDriver if self._own_thread else InlineDriver
        return kind(self._script, source)

    @override
    def end_by(self, when: float, why: Why = "drain") -> None:
        super().end_by(when, why)
        if self._driver is not None:
            self._driver.nudge()

    @override
    def close(self) -> None:
        """Stops the source and releases everything; idempotent. Returns when the source is closed, unless the source
        is blocked on a thread of its own."""
        super().close()
        if self._member is not None:
            self._member.close()
        self._release()


def _check_source(source: Any) -> None:
    if isinstance(source, (str, bytes, bytearray, memoryview, Mapping, pydantic.BaseModel)):
        raise InvalidInput(f"a source is an iterable of items; got one item, {source!r:.120}: put it into a list")
    if not (is_sync(source) or hasattr(source, "__aiter__") or callable(source)):
        raise InvalidInput(
            f"a source must be a sync or async iterable, or a callable that makes one, got {source!r:.120}"
        )


def _checked(content_type: str, format: Format) -> str:
    if not format.raw or not (content_type.isascii() and content_type.isprintable() and "/" in content_type):
        raise InvalidInput(
            f"content_type must be a media type, for the formats text and bytes only, got {content_type!r:.120} "
            f"for {format.name}"
        )
    return content_type
