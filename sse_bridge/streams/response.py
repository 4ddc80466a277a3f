"""Status, headers and a body, neutral to every framework: an adapter needs about ten lines to hand it over.

No I/O happens here: a stream enters its hub when the server asks for the first piece, so a response that is dropped on
the way costs nothing. 204 (the client should stop) needs no look at the log either: an id says which channels have
ended, and a client whose id does not say so yet is told by ``stream.end`` first.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final, Protocol

from ..config import Policy
from ..errors import ConfigurationError, NotAuthenticated, NotAuthorized
from ..filters import Filter, for_browsers
from ..wire import CHANNEL_FORMATS, Format, negotiate
from .channels import AsyncChannelBody, ChannelScript, SyncChannelBody
from .compression import Coding, coding_for
from .cors import Cors
from .encoded import AsyncEncodedBody, SyncEncodedBody
from .host import Host
from .refusals import REVOKED, too_many_streams
from .request import StreamRequest
from .sockets import ServerWrite


class AsyncBody(Protocol):
    """What an ASGI server iterates; `close` is synchronous, idempotent, and also for a body that never started."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class SyncBody(Protocol):
    """What a WSGI server iterates."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None: ...


class Bodies(Protocol):
    """Makes the body of the colour that the server needs; one of them, once.

    `server` is what `PushMiddleware` put into the WSGI environ, if it is there.
    """

    def sync_body(self, server: ServerWrite | None = None) -> SyncBody: ...

    def async_body(self) -> AsyncBody: ...


@dataclasses.dataclass(frozen=True)
class StreamResponse:
    """See the module.

    Attributes:
        status: 200, or 204 with no body.
        headers: names as in the RFCs; a framework may add its own.
        bodies: None for 204.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    bodies: Bodies | None = None


@dataclasses.dataclass(frozen=True)
class Grant:
    """What an authorize hook may return instead of True.

    Attributes:
        user: whose stream it is, a text of 1 to 10,000 characters; for limits and revocation. None: nobody's.
        expires_at: seconds since 1970 when the credentials end, and the stream with them; None: never.
        filter: which events this user may see; trusted, so it may ask for every visibility.
    """

    user: str | None = None
    expires_at: float | None = None
    filter: Filter | None = None

    def __post_init__(self) -> None:
        # an empty name is a login that was lost on the way, and 42 is not the "42" that will be revoked
        if self.user is not None and not (isinstance(self.user, str) and 0 < len(self.user) <= MAX_USER_CHARACTERS):
            raise ConfigurationError(
                f"Grant.user must be a text of 1 to {MAX_USER_CHARACTERS} characters, or None for nobody in particular, "
                f"got {self.user!r:.120}"
            )

    def check_time(self) -> None:
        """Raises `NotAuthenticated` if the credentials have ended: a stream would end at once and come back for ever."""
        if self.expires_at is not None and self.expires_at <= time.time():
            raise NotAuthenticated("the credentials have expired")


MAX_USER_CHARACTERS: Final = 10_000

_STREAM_HEADERS: Final = (
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),  # nginx would send nothing before the end otherwise
    ("X-Content-Type-Options", "nosniff"),
)


@dataclasses.dataclass(frozen=True)
class ChannelBodies:
    """Bodies that follow channels; `script` and `coding` are for servers to which the hub can push."""

    script: ChannelScript
    coding: Coding | None = None

    def sync_body(self, server: ServerWrite | None = None) -> SyncBody:
        if self.coding is not None:
            return SyncEncodedBody(SyncChannelBody(self.script), self.coding)
        return SyncChannelBody(self.script, server)

    def async_body(self) -> AsyncBody:
        body = AsyncChannelBody(self.script)
        return body if self.coding is None else AsyncEncodedBody(body, self.coding)


def stream_headers(format: Format) -> tuple[tuple[str, str], ...]:
    """The headers of every stream in this format; never ``Connection`` (RFC 9113, 8.2.2)."""
    return (("Content-Type", format.content_type), *_STREAM_HEADERS)


def check_admission(bridge: Host, grant: Grant | None, channels: tuple[str, ...] = ()) -> None:
    """What can be said without a round trip; the rest is said when the stream opens.

    Raises:
        NotAuthenticated: the credentials have ended already.
        NotAuthorized: it is revoked.
        TooManyStreams: the process serves `max_streams` already, and the setting is to reject.
    """
    if grant is not None:
        grant.check_time()
    if bridge.revoked(None if grant is None else grant.user, channels):
        raise NotAuthorized(REVOKED)
    if bridge.streams.full and bridge.settings.over_limit == "reject":
        raise too_many_streams()


def stream_channels(
    bridge: Host,
    channels: str | Iterable[str],
    request: StreamRequest,
    *,
    filter: Filter | None = None,
    policy: Policy | None = None,
    queue_size: int | None = None,
    start: str | None = None,
    last: int | None = None,
    grant: Grant | None = None,
    format: Format | None = None,
    cors_origins: str | Iterable[str] | None = None,
) -> StreamResponse:
    """A response that follows channels.

    Args:
        channels: names, chosen by the server or allowed by its authorize hook.
        request: where the client stands and what it accepts.
        filter: which events the client gets; events that are not for browsers are hidden unless it names visibilities.
        policy: what happens when the client is slow.
        start: ``"earliest"`` or ``"now"``: where a client without an id begins; the client's own ``?after=`` wins.
        last: likewise: with the last so many entries; the client's own ``?last=`` wins.
        grant: the outcome of the authorize hook.
        format: instead of negotiating.
        cors_origins: pages of which other origins may read it; the setting if omitted.

    Raises:
        InvalidInput: a channel name, too many channels, or a number in the query that is none.
        NotAcceptable: the client accepts no format of a channel stream.
        NotAuthenticated, NotAuthorized: the grant has ended, or was revoked.
        TooManyStreams: see `check_admission`.
        PolicyNotSupported: ``block`` on a backend that cannot keep it.
    """
    cors = Cors.of(bridge.settings, cors_origins)
    negotiated = []
    if format is None:
        format = negotiate(CHANNEL_FORMATS, request.format, request.accept)
        negotiated.append("Accept")
    wanted = filter if grant is None or grant.filter is None else grant.filter
    first = {"start": request.start, "last": request.last}
    if request.start is None and request.last is None:
        first = {"start": start, "last": last}
    options: dict[str, Any] = {"policy": policy, "queue_size": queue_size, "filter": for_browsers(wanted), **first}
    wish = bridge.wish(channels, after=request.last_event_id, **options)
    check_admission(bridge, grant, wish.channels)
    if request.replaced:  # an EventSource that comes back would throw out the one that took its place, and so for ever
        return cors.apply(StreamResponse(204, _STREAM_HEADERS), request.origin)
    if not wish.invalid and all(position is not None and position.ended for position in wish.positions):
        return cors.apply(StreamResponse(204, _STREAM_HEADERS), request.origin)
    expires_at = None
    if grant is not None and grant.expires_at is not None:
        expires_at = time.monotonic() + grant.expires_at - time.time()
    headers = list(stream_headers(format))
    coding = coding_for(bridge.settings, request.accept_encoding)
    if coding is not None:
        headers.append(("Content-Encoding", coding.name))
    if bridge.settings.compression != "none":
        negotiated.append("Accept-Encoding")
    if negotiated:
        headers.append(("Vary", ", ".join(negotiated)))
    script = ChannelScript(bridge, wish, format, expires_at, None if grant is None else grant.user)
    return cors.apply(StreamResponse(200, tuple(headers), ChannelBodies(script, coding)), request.origin)
