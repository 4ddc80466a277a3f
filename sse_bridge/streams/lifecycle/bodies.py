"""The iterators of bytes that servers take, one per colour: they open and end streams of any kind.

    new      nothing is held: a server may drop a body that it never started
    opening  see `opening`; a refused stream yields one frame, or raises an error while the status can be said
    open     the subclass yields all that is pending, in whole frames
    over     everything is released; by the stream's own end, a deadline, or `close`

A drain waits for a body until its last frame was written, that is until the server asks for more or closes the body.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from typing import Final, Self

from typing_extensions import override

from ...admission.admissions import Why
from .ending import Script
from .opening import Opening, acarry_out, carry_out, opening


class _Body(Opening):
    """The base of both colours; `close` and `end_by` from any thread."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._over = False

    @override
    def is_over(self) -> bool:
        return self._over

    @abstractmethod
    def _open(self) -> bytes:
        """The first frame of a stream that may open; may be empty."""

    @override
    def end_by(self, when: float, why: Why = "drain") -> None:
        self._script.deadlines.end_at(when, why)

    def close(self) -> None:
        """Releases everything; idempotent."""
        self._over = True
        self._script.bridge.streams.discard(self)


class LoopBody(_Body):
    """An async iterator of bytes, for one task; `close` from another thread is handed to the loop.

    Attributes:
        answers: the response's status is not sent yet, so a refusal is raised as an error; set before the first piece.
        loop: the event loop that iterates the body; None before the first piece.
    """

    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.answers = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            data = b"" if self._over else await (self._more() if self.loop is not None else self._first())
        except BaseException:
            self.close()
            raise
        if data:
            return data
        self.close()
        self._script.check_complete()
        raise StopAsyncIteration

    async def _first(self) -> bytes:
        self.loop = asyncio.get_running_loop()
        refused = await acarry_out(opening(self, self._script.bridge))
        if self._over:  # closed while it opened
            return b""
        if refused is None:
            return await self._more(self._open())
        self.close()  # before the frame, whose client may take nothing
        error = self._script.refusal(refused) if self.answers else None
        if error is not None:
            raise error
        self.end_by(time.monotonic())
        return self._script.refuse(refused)

    @abstractmethod
    async def _more(self, first: bytes = b"") -> bytes:
        """`first` and what there is behind it, waiting if there is nothing; empty at the end."""

    @override
    def end_by(self, when: float, why: Why = "drain") -> None:
        super().end_by(when, why)
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end_at, when)

    @abstractmethod
    def _end_at(self, when: float) -> None:
        """Sees to an end that was moved to `when`; on the loop."""

    async def aclose(self) -> None:
        self.close()


class ThreadBody(_Body):
    """A blocking iterator of bytes, for one thread or greenlet."""

    loop: Final = None

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        try:
            data = b"" if self._over else (self._more() if self._begun else self._first())
        except BaseException:
            self.close()
            raise
        if data:
            return data
        self.close()
        self._script.check_complete()
        raise StopIteration

    def _first(self) -> bytes:
        self._begun = True
        refused = carry_out(opening(self, self._script.bridge))
        if self._over:  # closed by another thread while it opened
            return b""
        if refused is None:
            return self._more(self._open())
        self.close()  # before the frame, whose client may take nothing
        return self._script.refuse(refused)

    @abstractmethod
    def _more(self, first: bytes = b"") -> bytes:
        """`first` and what there is behind it, waiting if there is nothing; empty at the end."""
