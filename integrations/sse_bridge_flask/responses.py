"""Streams as return values of views.

Under WSGI the server iterates the body on the view's own thread or greenlet, and a gone client is noticed when a
heartbeat is written. Behind `SSEBridgeMiddleware` on ASGI the view hands its stream over and returns at once. Under
any other ASGI bridge the body would never be closed, so `event_stream` refuses there.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeAlias, TypedDict, cast

from flask import Request, Response, after_this_request, current_app, request
from typing_extensions import Unpack
from werkzeug.exceptions import default_exceptions

from sse_bridge import Filter, SSEBridgeError
from sse_bridge.config import Policy
from sse_bridge.errors import AsyncContextError, ConfigurationError, InvalidInput
from sse_bridge.streams import (
    HANDOFF_HEADER,
    WRITE_KEY,
    Cors,
    Grant,
    ServerWrite,
    StreamRequest,
    StreamResponse,
    SyncBody,
    call_async,
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

from .current import get_bridge

# (request, channels) -> False, True or a Grant; sync or async
Authorize: TypeAlias = Callable[[Request, tuple[str, ...]], Any]
Source: TypeAlias = str | Iterable[Any] | AsyncIterable[Any] | Callable[[], Any]


class StreamOptions(TypedDict, total=False):
    """A stream's options; `sse_bridge.streams` explains each.

    Attributes:
        grant: the view's own decision, where there is no `authorize`: the stream's user and expiry.
        filter: the events that the client gets.
        format: sse, sse-data, ndjson or text; for sources also json_array or bytes; negotiated if omitted.
        type_in_data: in the format sse-data, the type stands inside of the data.
        policy: channels: the slow-reader policy.
        queue_size: channels: events behind which a client counts as slow.
        start: channels: ``"earliest"`` or ``"now"``: where a client without an id begins.
        last: channels: likewise: with the last so many events.
        restart: sources: False: do not run the source again for a client that was cut off.
        own_thread: sources: run apart from the server's thread, so that a gone client is noticed while the source waits.
        content_type: sources: instead of the format's own.
        cors_origins: other origins whose pages may read it, with cookies; the setting if omitted. Their preflight is
            answered where the route has OPTIONS among its methods, and ``provide_automatic_options=False``.
    """

    grant: Grant | None
    filter: Filter | None
    format: str | None
    type_in_data: bool
    policy: Policy | None
    queue_size: int | None
    start: str | None
    last: int | None
    restart: bool
    own_thread: bool
    content_type: str | None
    cors_origins: str | Iterable[str] | None


_NAMES: Final = (list, tuple, set, frozenset)


def event_stream(
    channels_or_source: Source, *, authorize: Authorize | None = None, **options: Unpack[StreamOptions]
) -> Response:
    """A streaming response; return it from a view, sync or async.

    Args:
        channels_or_source: the name of a channel, or a list, tuple or set of names; anything else is a
            source: an iterable, sync or async, of events, str, bytes or ``{"event": …, "data": …}``, or a callable that
            makes one. A source that uses ``flask.request`` must be wrapped in ``flask.stream_with_context``.
        authorize: called with the request and the channels before anything else; returns False, True or a `Grant`.
        options: see `StreamOptions`.

    Raises:
        HTTPException: 400 for a bad channel name or query, 401 or 403 by the hook, 406, 429, 503; the app's error
            handlers see it.
        ConfigurationError: the app runs under an ASGI bridge without `SSEBridgeMiddleware`, or has no bridge.
        AsyncContextError: an async hook in an async view; await `aevent_stream` there.
    """
    channels = _channels(channels_or_source)
    if (preflight := preflight_response(options)) is not None:
        return preflight
    if authorize is not None:
        if is_async(authorize) and _on_a_loop():
            raise AsyncContextError(
                "event_stream() cannot wait for an async authorize hook here; await aevent_stream()"
            )
        with _authorizing(channels_or_source, channels, options) as names:
            options["grant"] = grant_of(call_sync(authorize, _this_request(), names))
    return _respond(channels_or_source, channels, options)


async def aevent_stream(
    channels_or_source: Source, *, authorize: Authorize | None = None, **options: Unpack[StreamOptions]
) -> Response:
    """The async twin of `event_stream`, for async views with an async hook."""
    channels = _channels(channels_or_source)
    if (preflight := preflight_response(options)) is not None:
        return preflight
    if authorize is not None:
        with _authorizing(channels_or_source, channels, options) as names:
            options["grant"] = grant_of(await call_async(authorize, _this_request(), names))
    return _respond(channels_or_source, channels, options)


def stream_request(cors_origins: str | Iterable[str] | None = None) -> StreamRequest:
    """The stream that the current request asks for.

    Args:
        cors_origins: other origins whose pages may read a refusal; the setting if omitted.

    Raises:
        HTTPException: 400, a value in the query is invalid.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        return StreamRequest.from_http(headers, request.query_string.decode("latin-1"))
    except SSEBridgeError as error:
        _refuse(error, {"cors_origins": cors_origins})


class _ClosingBody:
    """The WSGI iterable; in passthrough mode the server closes this and not the response, so `close` closes both."""

    def __init__(self, body: SyncBody, server: ServerWrite | None) -> None:
        self._body = body
        self._server = server
        self._closed = False
        self.response: Response | None = None

    def __iter__(self) -> _ClosingBody:
        return self

    def __next__(self) -> bytes:
        if self._server is not None:  # after_request hooks may have wrapped this iterable
            self._server.body_is_outermost = (
                id(self) if self.response is not None and self.response.response is self else 0
            )
        return next(self._body)

    def close(self) -> None:
        """Closes the stream, and runs the response's callbacks; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._body.close()
        finally:
            response, self.response = self.response, None  # breaks the reference cycle
            if response is not None:
                response.close()


def _channels(channels_or_source: Source) -> tuple[str, ...] | None:
    """The names, or None for a source."""
    if isinstance(channels_or_source, str):
        return (channels_or_source,)
    if isinstance(channels_or_source, _NAMES):
        return tuple(channels_or_source)
    return None


@contextmanager
def _authorizing(
    channels_or_source: Source, channels: tuple[str, ...] | None, options: StreamOptions
) -> Iterator[tuple[str, ...]]:
    """Around a hook, which gets the names of the channels, checked; its refusal closes the source."""
    try:
        yield get_bridge().subscribe_request(channels).channels if channels else ()
    except SSEBridgeError as error:
        if channels is None:
            discard(channels_or_source)
        _refuse(error, options)


def _respond(channels_or_source: Source, channels: tuple[str, ...] | None, options: StreamOptions) -> Response:
    asked = stream_request(options.get("cors_origins"))
    try:
        if channels is None:
            stream = stream_source(get_bridge(), channels_or_source, asked, **cast(Any, options))
        else:
            stream = stream_channels(get_bridge(), channels, asked, **cast(Any, options))
    except SSEBridgeError as error:
        if channels is None and isinstance(error, InvalidInput):  # the view's mistake, not the client's
            raise
        _refuse(error, options)
    return _hand_over(stream)


def _hand_over(stream: StreamResponse) -> Response:
    handoff = current_handoff()
    offered = stream
    if stream.otherwise is not None:
        if handoff is None and _on_a_loop():
            return _hand_over_later(stream)
        stream = stream.otherwise if handoff is not None else confirm_end(stream)
    headers = list(stream.headers)
    if stream.bodies is None:
        ended = current_app.response_class(status=stream.status, headers=headers)
        del ended.headers["Content-Type"]  # Flask's default, without content
        return ended
    if handoff is not None and (nonce := handoff.offer(offered)) is not None:
        headers = [header for header in headers if header[0] != "Content-Encoding"]  # the token is not encoded
        headers.append((HANDOFF_HEADER, nonce))
        return current_app.response_class(nonce, headers=headers)
    if _under_asgi(request.environ):
        raise ConfigurationError(
            "a Flask stream under an ASGI bridge cannot notice that its client is gone; serve sse_bridge_asgi.flask_asgi(app), "
            "which puts SSEBridgeMiddleware around the app, or use a WSGI server (gunicorn with gthread or gevent workers)"
        )
    ensure_drain_handler()
    server = request.environ.get(WRITE_KEY)
    body = _ClosingBody(stream.bodies.sync_body(server), server)
    # passthrough keeps after_request hooks (compression, ETags) from reading the whole stream
    body.response = current_app.response_class(body, status=stream.status, headers=headers, direct_passthrough=True)
    return body.response


def _hand_over_later(stream: StreamResponse) -> Response:
    """Asks the log for its end on the request's thread after the async view, since an event loop must not block."""
    answer = current_app.response_class(status=stream.status, headers=list(stream.headers))

    @after_this_request
    def ask(response: Response) -> Response:
        return _hand_over(stream) if response is answer else response

    return answer


def _under_asgi(environ: dict[str, Any]) -> bool:
    """Whether an ASGI server calls this WSGI app through a bridge.

    a2wsgi sets a key. asgiref, Starlette, uvicorn and hypercorn set none, but each reads the body into memory first, claims
    both kinds of concurrency and names no server software; no WSGI server does all three.
    """
    if "asgi.scope" in environ:
        return True
    collected = isinstance(environ.get("wsgi.input"), (io.BytesIO, tempfile.SpooledTemporaryFile))
    concurrent = bool(environ.get("wsgi.multithread") and environ.get("wsgi.multiprocess"))
    return collected and concurrent and "SERVER_SOFTWARE" not in environ


def _this_request() -> Request:
    """The request behind Flask's proxy, so that a hook may keep it beyond the context."""
    current: Request = request._get_current_object()  # type: ignore[attr-defined]
    return current


def _on_a_loop() -> bool:
    return asyncio._get_running_loop() is not None


def _cors(options: StreamOptions) -> Cors:
    return Cors.of(get_bridge().settings, options.get("cors_origins"))


def preflight_response(options: StreamOptions) -> Response | None:
    """The answer to a browser's OPTIONS; None for every other request, and where no origin is listed."""
    if request.method != "OPTIONS":
        return None
    answer = _cors(options).preflight("OPTIONS", {name.lower(): value for name, value in request.headers.items()})
    if answer is None:
        return None
    return current_app.response_class(answer.body, status=answer.status, headers=list(answer.headers))


def _refuse(error: SSEBridgeError, options: StreamOptions) -> NoReturn:
    """Raises the HTTPException for the app's error handlers; without one its body is JSON (RFC 9457)."""
    if error.http_status == 500:
        raise error
    answer = _cors(options).apply(refusal(error), request.headers.get("Origin"))
    response = current_app.response_class(answer.body, status=answer.status, headers=list(answer.headers))
    description = str(error) if answer.status < 500 else None  # a server error may name hosts
    raise default_exceptions[answer.status](description, response) from error
