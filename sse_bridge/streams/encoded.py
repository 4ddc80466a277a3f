"""Bodies around a body: the same iteration in a content coding, and the coding's own end behind the last piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .compression import Coding

if TYPE_CHECKING:
    from .response import AsyncBody, SyncBody


class AsyncEncodedBody:
    """An async body, encoded; used as the body is."""

    def __init__(self, body: AsyncBody, coding: Coding) -> None:
        self._body = body
        self._coding = coding
        self._closed = False

    def __aiter__(self) -> AsyncEncodedBody:
        return self

    async def __anext__(self) -> bytes:
        try:
            return self._coding.encode(await self._body.__anext__())
        except StopAsyncIteration:
            last = b"" if self._closed else self._coding.end()
            if not last:
                raise
            return last

    def close(self) -> None:
        self._closed = True
        self._body.close()

    async def aclose(self) -> None:
        self._closed = True
        await self._body.aclose()


class SyncEncodedBody:
    """A sync body, encoded; used as the body is."""

    def __init__(self, body: SyncBody, coding: Coding) -> None:
        self._body = body
        self._coding = coding
        self._closed = False

    def __iter__(self) -> SyncEncodedBody:
        return self

    def __next__(self) -> bytes:
        try:
            return self._coding.encode(next(self._body))
        except StopIteration:
            last = b"" if self._closed else self._coding.end()
            if not last:
                raise
            return last

    def close(self) -> None:
        self._closed = True
        self._body.close()
