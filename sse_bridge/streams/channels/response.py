"""The response that follows channels.

No I/O happens here: a stream enters its hub when the server asks for the first piece, so a response that is dropped on
the way costs nothing. 204 (the client should stop) is for a client whose id says that every channel has ended, if the
logs agree: `confirm_end` or `streams.asgi.pushed` asks them before the status, and where neither can, the id decides. Other
clients get ``stream.end`` first.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar

from ...admission.grants import Grant
from ...config import Policy
from ...filters import Filter, for_browsers
from ...follow.subscribe_request import SubscribeRequest
from ...wire import CHANNEL_FORMATS, Format, check_named, choose
from ..http.compression import Coding, coding_for
from ..http.cors import Cors
from ..http.request import StreamRequest
from ..http.response import (
    STREAM_HEADERS,
    AsyncBody,
    AsyncEncodedBody,
    StreamResponse,
    SyncBody,
    SyncEncodedBody,
    stream_headers,
)
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.opening import UNAVAILABLE, carry_out, check_admission, until_ready
from ..writers.socket import ServerWrite
from .bodies import AsyncChannelBody, SyncChannelBody
from .script import ChannelScript


@dataclasses.dataclass(frozen=True)
class ChannelBodies:
    """Bodies that follow channels; `script` and `coding` are for servers to which the hub can push."""

    script: ChannelScript
    coding: Coding | None = None
    runs_code: ClassVar[bool] = False

    def sync_body(self, server: ServerWrite | None = None) -> SyncBody:
        if self.coding is not None:
            return SyncEncodedBody(SyncChannelBody(self.script), self.coding)
        return SyncChannelBody(self.script, server)

    def async_body(self) -> AsyncBody:
        body = AsyncChannelBody(self.script)
        return body if self.coding is None else AsyncEncodedBody(body, self.coding)

    def close(self) -> None:
        """A stream of channels holds nothing before its first piece."""


def check_format(format: Format | str | None, type_in_data: bool = False) -> None:
    """Checks a route's format where the route is made instead of at its first request.

    Raises:
        ConfigurationError: there is no such format, or `type_in_data` is set for another one than sse-data.
    """
    check_named(CHANNEL_FORMATS, format, type_in_data)


def stream_channels(
    bridge: BridgeProtocol,
    channels: str | Iterable[str] | SubscribeRequest,
    request: StreamRequest,
    *,
    filter: Filter | None = None,
    policy: Policy | None = None,
    queue_size: int | None = None,
    start: str | None = None,
    last: int | None = None,
    grant: Grant | None = None,
    format: Format | str | None = None,
    type_in_data: bool = False,
    cors_origins: str | Iterable[str] | None = None,
) -> StreamResponse:
    """A response that follows channels.

    Args:
        channels: names, chosen by the server or allowed by its authorize hook; or the request that
            `StreamRequest.subscribe` has made of them, and of the options from `filter` to `last`.
        request: the client's position and accepted formats.
        filter: hides events from the client; events that are not for browsers are hidden unless it names visibilities.
        policy: the treatment of a slow client.
        start: ``"earliest"`` or ``"now"`` for a client without an id; the client's own ``?after=`` wins.
        last: the number of latest entries to begin with, instead of `start`; the client's own ``?last=`` wins.
        grant: the outcome of the authorize hook.
        format: instead of negotiating: a format or its name (sse, sse-data, ndjson, text).
        type_in_data: in the format sse-data, put an event's type inside its data.
        cors_origins: the other origins whose pages may read the stream; the setting if omitted.

    Raises:
        InvalidInput: a bad channel name, too many channels, or a number in the query that is not one.
        NotAcceptable: the client accepts no format of a channel stream.
        NotAuthenticated, NotAuthorized: the grant has ended, or was revoked.
        TooManyStreams: see `check_admission`.
        PolicyNotSupported: ``block`` on a backend that cannot keep it.
    """
    wire, by_accept = choose(CHANNEL_FORMATS, format, request.format, request.accept, type_in_data=type_in_data)
    if isinstance(channels, SubscribeRequest):
        subscribe_request = channels
    else:
        subscribe_request = request.subscribe(
            bridge, channels, filter=filter, policy=policy, queue_size=queue_size, start=start, last=last
        )
    if grant is not None and grant.filter is not None:
        subscribe_request = dataclasses.replace(subscribe_request, filter=for_browsers(grant.filter))
    cors = Cors.of(bridge.settings, cors_origins)
    check_admission(bridge, grant, subscribe_request.channels)
    if request.replaced:  # else it would throw out its replacement, which reconnects likewise, for ever
        return cors.apply(StreamResponse(204, STREAM_HEADERS), request.origin)
    script = ChannelScript(bridge, subscribe_request, wire, grant)
    # A client without the header often cannot decode: curl, scripts.
    coding = coding_for(bridge.settings, request.accept_encoding) if request.accept_encoding else None
    headers = _headers(wire, None if coding is None else coding.name, by_accept, bridge.settings.compression != "none")
    stream = cors.apply(StreamResponse(200, headers, ChannelBodies(script, coding)), request.origin)
    if not subscribe_request.says_ended:
        return stream
    return cors.apply(StreamResponse(204, STREAM_HEADERS, otherwise=stream), request.origin)


@lru_cache(maxsize=64)
def _headers(format: Format, coding: str | None, by_accept: bool, by_encoding: bool) -> tuple[tuple[str, str], ...]:
    vary = [name for name, asked in (("Accept", by_accept), ("Accept-Encoding", by_encoding)) if asked]
    encoded = [] if coding is None else [("Content-Encoding", coding)]
    return (*stream_headers(format), *encoded, *([("Vary", ", ".join(vary))] if vary else []))


def confirm_end(response: StreamResponse) -> StreamResponse:
    """The 204 that a client's id asks for, if the logs confirm it, or the stream if a log goes on.

    For WSGI servers. Waits at most `OPENING_SECONDS` for the broker; without an answer the stream tells the client to reconnect.
    A thread that runs an event loop must not wait, so the id decides there. Any other response is returned unchanged.
    """
    stream = response.otherwise
    if stream is None or asyncio._get_running_loop() is not None:
        return response
    assert isinstance(stream.bodies, ChannelBodies)
    return response if _ended(stream.bodies) else stream


def _ended(bodies: ChannelBodies) -> bool:
    script = bodies.script
    try:
        reader = script.bridge.thread_hub().enter(script.subscribe_request, owner=bodies)
    except UNAVAILABLE:
        return False
    try:
        if carry_out(until_ready(reader, reader.wait)):
            return reader.follower.finished
        script.away = True
        return False
    finally:
        reader.close()
