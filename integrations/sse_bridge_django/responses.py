"""`event_stream`: channels or an iterable as a response, sync or async as the handler of the request can stream.

Django streams a sync iterator under WSGI and an async one under ASGI; the other kind it collects into a list, so an endless
stream would hang. The request's class tells the handler; whether the view is async does not.

Behind ``SSEBridgeMiddleware`` the view's answer is only a token; the middleware serves the stream after Django has finished
the request, so the stream holds neither a thread nor a database connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from sse_bridge import Bridge, Filter, SSEBridgeError, get_bridge
from sse_bridge.errors import AsyncContextError, InvalidInput
from sse_bridge.streams import (
    HANDOFF_HEADER,
    WRITE_KEY,
    Cors,
    Grant,
    ServerWrite,
    StreamRequest,
    StreamResponse,
    call_sync,
    confirm_end,
    current_handoff,
    discard,
    ensure_drain_handler,
    grant_of,
    is_async,
    refusal,
    stream_channels,
    stream_source,
)


def event_stream(
    request: HttpRequest,
    channels_or_source: Any,
    *,
    filter: Filter | None = None,
    format: str | None = None,
    authorize: Callable[..., Any] | None = None,
    grant: Grant | None = None,
    bridge: Bridge | None = None,
    cors_origins: str | Iterable[str] | None = None,
    **options: Any,
) -> HttpResponseBase:
    """A response that follows channels, or streams an iterable; the same call in sync and async views, WSGI and ASGI.

        def order_events(request, number):
            return event_stream(request, f"orders:{number}")

    A client that reconnects resumes after its Last-Event-ID, or ``?after=``. The call never blocks, so it may be made on an
    event loop. Headers and cookies may be set on the response, but not the status.

    Args:
        request: Django's, or a wrapper that keeps it as ``_request`` (Django REST framework).
        channels_or_source: a channel's name or a list, tuple or set of names, chosen by the view; or any other sync or
            async iterable of events, dicts ``{"event", "data"}``, values, str or bytes, or a function that makes one.
        filter: the events that the client gets; events not for browsers are hidden unless it names visibilities.
        format: ``sse``, ``sse-data``, ``ndjson`` or ``text``, for a source also ``json_array`` or ``bytes``, whatever
            ``?format=`` and the Accept header say.
        authorize: ``authorize(request, channels)`` returns False (403), True or a `Grant`. An async one is for sync
            views; an async view awaits its own check and passes `grant`, or raises ``PermissionDenied``.
        grant: the view's own decision: the stream's user, expiry and filter.
        bridge: the default one if omitted.
        cors_origins: other origins whose pages may read it, with cookies; the setting if omitted. Their preflight is
            answered where the view gets it: let OPTIONS pass before asking for a login.
        options: ``type_in_data`` (in the format sse-data, the type stands inside of the data); for channels ``policy``, ``queue_size``, ``start`` and ``last`` of `sse_bridge.streams.stream_channels`;
            for a source ``restart``, ``own_thread`` and ``content_type`` of `sse_bridge.streams.stream_source`.

    Returns:
        A streaming response; or 204 (the client has seen the end), or 4xx and 503 for refusals, with a small JSON body
        (RFC 9457).

    Raises:
        ConfigurationError: the setting is invalid.
        PolicyNotSupported: ``block`` on a backend that cannot keep it.
        InvalidInput: the source is not iterable.
        AsyncContextError: an async `authorize` on a thread that runs an event loop.
    """
    names = _names(channels_or_source)
    bridge = bridge or get_bridge()
    cors = Cors.of(bridge.settings, cors_origins)
    if (preflight := preflight_response(request, cors)) is not None:
        return preflight
    options["cors_origins"] = cors.origins
    try:
        if authorize is not None:
            # raises for invalid names before a hook sees them
            grant = _authorized(authorize, request, bridge.subscribe_request(names).channels if names else ())
        wanted = stream_request(request)
        options["format"] = format
        if names is not None:
            stream = stream_channels(bridge, names, wanted, filter=filter, grant=grant, **options)
            return _response(request, stream, EventStreamResponse)
    except SSEBridgeError as error:
        if names is None:
            discard(channels_or_source)
        return error_response(error, request, cors)
    try:
        stream = stream_source(bridge, channels_or_source, wanted, filter=filter, grant=grant, **options)
    except InvalidInput:  # the view's mistake, not the client's
        raise
    except SSEBridgeError as error:
        return error_response(error, request, cors)
    return _response(request, stream, SourceResponse)


def stream_request(request: HttpRequest) -> StreamRequest:
    """The stream that the client asks for; raises `InvalidInput`."""
    # request.GET, since under WSGI the query string is decoded as latin-1
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    return StreamRequest.from_http(request.headers, pairs)


def preflight_response(request: HttpRequest, cors: Cors) -> HttpResponse | None:
    """The answer to a browser's OPTIONS; None for every other request, and where no origin is listed."""
    if request.method != "OPTIONS":
        return None
    answer = cors.preflight("OPTIONS", request.headers)
    return None if answer is None else HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


def error_response(error: SSEBridgeError, request: HttpRequest, cors: Cors) -> HttpResponse:
    """The answer to an error that a client may cause; raises `error` again if it is the program's own (500)."""
    if error.http_status == 500:
        raise error  # Django's own handling reports it
    answer = cors.apply(refusal(error), request.headers.get("Origin"))
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


class SourceResponse(StreamingHttpResponse):
    """Django's streaming response around a source, made by `event_stream`."""

    outermost: tuple[Any, ServerWrite] | None = None  # the body, and the writer to tell that no middleware wrapped it

    def __iter__(self) -> Iterator[bytes]:
        ensure_drain_handler()
        if self.outermost is not None:  # middleware may have wrapped the content
            body, server = self.outermost
            server.body_is_outermost = id(self) if getattr(self, "_iterator", None) is body else 0
        return super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ensure_drain_handler()
        async for piece in super().__aiter__():
            yield piece


class EventStreamResponse(SourceResponse):
    """Django's streaming response around channels, made by `event_stream`.

    When the stream begins, the database connections of the request are closed, since each stream would hold them for an
    hour, and a database has a hundred. Later queries open them again; inside a transaction they stay open. (A source keeps
    them, since it may be reading from one.)
    """

    def __iter__(self) -> Iterator[bytes]:
        _close_connections()
        return super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # on the thread of this request's sync code, which holds its connections since request_started
        await sync_to_async(_close_connections, thread_sensitive=True)()
        async for piece in super().__aiter__():
            yield piece


def _response(request: HttpRequest, stream: StreamResponse, kind: type[SourceResponse]) -> HttpResponseBase:
    asgi = isinstance(getattr(request, "_request", request), ASGIRequest)
    offered = stream
    if stream.otherwise is not None and request.method != "HEAD":
        # The middleware asks the log itself when it takes a stream over; an async view without it cannot ask.
        stream = stream.otherwise if asgi and current_handoff() is not None else confirm_end(stream)
    if stream.bodies is None:
        ended = HttpResponse(status=stream.status, headers=dict(stream.headers))
        del ended["Content-Type"]
        return ended
    headers = dict(stream.headers)
    headers.setdefault("Content-Encoding", "identity")  # else GZipMiddleware holds events back until a block is full
    # streaming, since other middleware gives a plain response a length, an ETag, or a place in a cache
    body: Iterable[bytes] | AsyncIterator[bytes]
    if request.method == "HEAD":
        stream.close()
    if not asgi:
        server = request.META.get(WRITE_KEY)
        body = () if request.method == "HEAD" else stream.bodies.sync_body(server)
        response = kind(body, headers=headers)
        response.outermost = None if server is None else (body, server)
        return response
    if request.method == "HEAD":
        body = _pieces()
    elif (handoff := current_handoff()) is not None and (nonce := handoff.offer(offered)) is not None:
        headers[HANDOFF_HEADER] = nonce
        headers["Content-Encoding"] = "identity"  # of the token; the stream sets its own
        return StreamingHttpResponse(_pieces(nonce.encode()), headers=headers)
    else:
        body = stream.bodies.async_body()
    return kind(body, headers=headers)


def _names(channels_or_source: Any) -> tuple[str, ...] | None:
    """The channels; None for a source."""
    if isinstance(channels_or_source, str):
        return (channels_or_source,)
    if isinstance(channels_or_source, (list, tuple, set, frozenset)):
        names = tuple(channels_or_source)
        return names if all(isinstance(name, str) for name in names) else None
    return None


def _authorized(authorize: Callable[..., Any], request: HttpRequest, names: tuple[str, ...]) -> Grant:
    if is_async(authorize) and asyncio._get_running_loop() is not None:
        raise AsyncContextError(
            f"event_stream() cannot await {authorize!r:.100} on a thread that runs an event loop: await it in the async "
            "view and pass its outcome, event_stream(…, grant=Grant(…)), or make the view sync"
        )
    return grant_of(call_sync(authorize, request, names))


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _close_connections() -> None:
    """Closes this thread's database connections outside of a transaction; Django reopens them when needed."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
