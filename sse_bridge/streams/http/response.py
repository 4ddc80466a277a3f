"""Status, headers and a body, neutral to every framework: an adapter needs about ten lines to hand it over."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from ...wire import Format
from ..writers.socket import ServerWrite
from .compression import Coding


class AsyncBody(Protocol):
    """A body for ASGI servers; `close` is synchronous, idempotent, and valid for a body that never started."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class SyncBody(Protocol):
    """A body for WSGI servers."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None: ...


class Bodies(Protocol):
    """Makes the body of the colour that the server needs; one of them, once.

    `server` comes from the WSGI environ, where `PushMiddleware` puts it.
    """

    runs_code: ClassVar[bool]  # whether a body runs the application's code

    def sync_body(self, server: ServerWrite | None = None) -> SyncBody: ...

    def async_body(self) -> AsyncBody: ...

    def close(self) -> None:
        """Closes the source of a response whose body was not made."""


Body = TypeVar("Body", bound=AsyncBody | SyncBody)


class _EncodedBody(Generic[Body]):
    """A body in a content coding, whose own end follows the last piece."""

    def __init__(self, body: Body, coding: Coding) -> None:
        self._body = body
        self._coding = coding
        self._closed = False

    def _end(self) -> bytes:
        """The bytes that complete the coded stream; empty at each further call, and if the body was closed."""
        return b"" if self._closed else self._coding.end()

    def close(self) -> None:
        self._closed = True
        self._body.close()


class AsyncEncodedBody(_EncodedBody[AsyncBody]):
    """An async body, encoded; used as the body is."""

    def __aiter__(self) -> AsyncEncodedBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            return self._coding.encode(await self._body.__anext__())
        except StopAsyncIteration:
            if last := self._end():
                return last
            raise

    async def aclose(self) -> None:
        self._closed = True
        await self._body.aclose()


class SyncEncodedBody(_EncodedBody[SyncBody]):
    """A sync body, encoded; used as the body is."""

    def __iter__(self) -> SyncEncodedBody:
        return self

    def __next__(self) -> bytes:
        try:
            return self._coding.encode(next(self._body))
        except StopIteration:
            if last := self._end():
                return last
            raise


@dataclasses.dataclass(frozen=True)
class StreamResponse:
    """See the module.

    Attributes:
        status: 200, or 204 with no body.
        headers: names as in the RFCs; a framework may add its own.
        bodies: None for 204.
        otherwise: the stream to serve instead of this 204 if the log does not confirm the end that the client's id
            says; see `confirm_end`. `send_stream` asks by itself.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    bodies: Bodies | None = None
    otherwise: StreamResponse | None = None

    @property
    def runs_code(self) -> bool:
        """Whether serving the response runs the application's code: a source."""
        return self.bodies is not None and self.bodies.runs_code

    def close(self) -> None:
        """Closes the source of a response that is not served, or answers a HEAD."""
        if self.bodies is not None:
            self.bodies.close()


STREAM_HEADERS: Final = (
    ("Cache-Control", "no-cache, no-transform"),
    ("X-Accel-Buffering", "no"),  # nginx would send nothing before the end otherwise
    ("X-Content-Type-Options", "nosniff"),
)


def stream_headers(format: Format) -> tuple[tuple[str, str], ...]:
    """The headers of every stream in this format; never ``Connection`` (RFC 9113, 8.2.2)."""
    return (("Content-Type", format.content_type), *STREAM_HEADERS)
