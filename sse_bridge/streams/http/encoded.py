"""Bodies around a body: the same iteration in a content coding, and the coding's own end behind the last piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from .compression import Coding

if TYPE_CHECKING:
    from .response import AsyncBody, SyncBody

Body = TypeVar("Body", bound="AsyncBody | SyncBody")


class _EncodedBody(Generic[Body]):
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


class AsyncEncodedBody(_EncodedBody["AsyncBody"]):
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


class SyncEncodedBody(_EncodedBody["SyncBody"]):
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
