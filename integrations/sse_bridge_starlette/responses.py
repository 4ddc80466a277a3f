"""`EventStream` and `EventSourceResponse`: responses to return from an endpoint, sync or async.

The request is read when the response is served, so neither takes it as an argument. Both keep the headers and cookies set
on them, and run their background task after the stream. A stream that cannot be served is answered with a status and a
small JSON body (RFC 9457).
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any, ClassVar

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from sse_bridge import Bridge, Filter, SSEBridgeError, get_bridge
from sse_bridge.config import Policy
from sse_bridge.errors import ConfigurationError, InvalidInput
from sse_bridge.streams import (
    Cors,
    Grant,
    Refusal,
    StreamRequest,
    StreamResponse,
    awaited,
    check_format,
    contained,
    grant_of,
    is_async,
    lower_headers,
    refusal,
    send_refusal,
    send_stream,
    stream_channels,
    stream_source,
    with_headers,
)


class _Streaming(Response):
    """The base of both responses."""

    # for OpenAPI; the header holds the negotiated type
    media_type: ClassVar[str] = "text/event-stream"  # type: ignore[misc]  # Starlette's is an instance attribute, unused here

    def __init__(
        self,
        bridge: Bridge | None,
        status_code: int,
        headers: Mapping[str, str] | None,
        background: BackgroundTask | None,
        cors_origins: str | Iterable[str] | None,
    ) -> None:
        if status_code != 200:
            raise ConfigurationError(f"EventSource accepts a stream with status 200 only, got {status_code!r}")
        self.status_code = status_code
        self.background = background
        self._bridge = bridge
        self._cors_origins = cors_origins
        self.init_headers(headers)

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bridge = self._bridge or get_bridge()
        cors = Cors.of(bridge.settings, self._cors_origins)
        asked = lower_headers(scope["headers"])
        if (preflight := cors.preflight(scope["method"], asked)) is not None:
            await send_refusal(preflight, send)
            return
        try:
            request = StreamRequest.from_http(asked, scope["query_string"].decode("latin-1"))
            answer: StreamResponse | Refusal = with_headers(
                await self._response(bridge, request, Request(scope, receive)), self.raw_headers
            )
        except SSEBridgeError as error:
            answer = cors.apply(refusal(error, debug=bridge.settings.debug), asked.get("origin"))
        await send_stream(answer, receive, send, head_only=scope["method"] == "HEAD")
        if self.background is not None:
            await self.background()

    @abstractmethod
    async def _response(self, bridge: Bridge, asked: StreamRequest, request: Request) -> StreamResponse: ...


class EventStream(_Streaming):
    """A response that follows channels; a client that reconnects resumes.

    Args:
        channels: one name or several, chosen by the endpoint.
        bridge: the channels' bridge; None: the default one.
        authorize: a hook, sync or async, that gets Starlette's request and the channels and returns False, True or a
            `Grant`; or decide in the endpoint and pass `grant`.
        grant: the endpoint's own decision.
        filter: the events that the client gets; events not for browsers are hidden unless it names visibilities.
        policy: the slow-reader policy; the setting if omitted.
        queue_size: likewise.
        format: ``sse``, ``sse-data``, ``ndjson`` or ``text``, instead of what the client asks for.
        type_in_data: in the format sse-data, an event's type stands inside of its data.
        start: ``"earliest"`` or ``"now"``: where a client without an id begins.
        last: likewise: with the last so many entries.
        cors_origins: other origins whose pages may read it, with cookies; the setting if omitted. Their preflight is
            answered if the route accepts OPTIONS; else put Starlette's CORSMiddleware around the app.
        headers: besides the stream's own, which win.
        background: runs after the stream.
        status_code: 200; FastAPI's schema reads it from here.
    """

    def __init__(
        self,
        channels: str | Iterable[str],
        *,
        bridge: Bridge | None = None,
        authorize: Callable[[Request, tuple[str, ...]], Any] | None = None,
        grant: Grant | None = None,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
        format: str | None = None,
        type_in_data: bool = False,
        start: str | None = None,
        last: int | None = None,
        cors_origins: str | Iterable[str] | None = None,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
        status_code: int = 200,
    ) -> None:
        super().__init__(bridge, status_code, headers, background, cors_origins)
        check_format(format, type_in_data)
        self._channels = (channels,) if isinstance(channels, str) else tuple(channels)
        self._authorize = authorize
        self._grant = grant
        self._wanted: dict[str, Any] = {
            "filter": filter, "policy": policy, "queue_size": queue_size, "start": start, "last": last,
        }  # fmt: skip
        self._options: dict[str, Any] = {"format": format, "type_in_data": type_in_data, "cors_origins": cors_origins}

    @override
    async def _response(self, bridge: Bridge, asked: StreamRequest, request: Request) -> StreamResponse:
        wanted = asked.subscribe(bridge, self._channels, **self._wanted)
        grant = self._grant
        if self._authorize is not None:
            grant = grant_of(await _call(self._authorize, request, wanted.channels))
        return stream_channels(bridge, wanted, asked, grant=grant, **self._options)


class EventSourceResponse(_Streaming):
    """A response that streams an iterable's items: events, ``{"event", "data"}``, str or bytes, as SSE, NDJSON, JSON or
    text. A source's exception is sent as a ``stream.error`` event.

    Args:
        source: a sync or async iterable, or a callable without arguments that makes one; closed when the client leaves.
        bridge: gives the settings; None: the default bridge.
        format: ``sse``, ``sse-data``, ``ndjson``, ``text``, ``json_array`` or ``bytes``, instead of what the client asks
            for. Clients of OpenAI's and of Vercel's protocols want ``sse-data``.
        content_type: instead of the format's own, for text and bytes.
        type_in_data: in the format sse-data, an item's type stands inside of its data.
        filter: the items that the client gets.
        restart: False: do not run the source again for a client that was cut off.
        grant, cors_origins, headers, background, status_code: as for `EventStream`.
    """

    def __init__(
        self,
        source: Iterable[Any] | AsyncIterable[Any] | Callable[[], Any],
        *,
        bridge: Bridge | None = None,
        format: str | None = None,
        content_type: str | None = None,
        type_in_data: bool = False,
        filter: Filter | None = None,
        grant: Grant | None = None,
        restart: bool = True,
        cors_origins: str | Iterable[str] | None = None,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
        status_code: int = 200,
    ) -> None:
        super().__init__(bridge, status_code, headers, background, cors_origins)
        self._source = source
        self._options: dict[str, Any] = {
            "format": format, "content_type": content_type, "filter": filter, "grant": grant, "restart": restart,
            "type_in_data": type_in_data, "cors_origins": cors_origins,
        }  # fmt: skip

    @override
    async def _response(self, bridge: Bridge, asked: StreamRequest, request: Request) -> StreamResponse:
        try:
            return stream_source(bridge, self._source, asked, **self._options)
        except InvalidInput as error:  # the endpoint's mistake, not the client's
            raise ConfigurationError(str(error)) from error


async def _call(hook: Callable[..., Any], *args: Any) -> Any:
    """The result of a sync or async hook; a sync one runs where Starlette runs sync endpoints."""
    result = hook(*args) if is_async(hook) else await run_in_threadpool(contained(hook), *args)
    return await awaited(hook, result) if inspect.isawaitable(result) else result
