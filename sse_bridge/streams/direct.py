"""Writing past a server's `send` where that would do nothing but frame the bytes and hand them to its transport.

An ASGI `send` costs a coroutine, a message and a walk through the server's state for every reader and event: 5 µs on
uvicorn, where the write itself takes 10. What it does with a piece of a body that is under way is always the same: a chunk
(RFC 9112, section 7.1) to the transport, unless the client reads slowly, has left, or the response is over.

That is not believed but seen. `DirectWriter.of` rehearses on a double of the object whose method `send` is, with a transport
that only records. It must write exactly one chunk and change nothing; with a full transport it must wait, and for a
client that left or a response that is over it must write nothing. Whatever behaves in any other way (another server, a
middleware around `send`, a later version that counts something) is served by `send` as ever; see stepping.py.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Generator
from typing import Any, Final

_PROBE: Final = b"data: rehearsal\n\n"
_MESSAGE: Final = {"type": "http.response.body", "body": _PROBE, "more_body": True}


class DirectWriter:
    """The way to one response's transport. On the loop's thread only."""

    __slots__ = ("_cycle", "_flow", "_transport")

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = cycle.transport

    @classmethod
    def of(cls, send: Any) -> DirectWriter | None:
        """The writer for a response whose head was sent; None if `send` may do anything else with a piece of its body."""
        try:
            writer = cls(send.__self__)  # first: what has no transport to be replaced is not rehearsed
            return writer if _only_writes(send.__func__, send.__self__) else None
        except Exception:  # noqa: BLE001  # not made as expected; what it raised, it raised in the rehearsal only
            return None

    def write(self, data: bytes) -> bool:
        """Writes; False: that is for `send`, since the transport is full, the response over, or there is nothing to write.

        A chunk of no bytes would be the last one; text has heartbeats of none.
        """
        cycle = self._cycle
        if not data or self._flow.write_paused or cycle.disconnected or cycle.response_complete:
            return False
        try:
            self._transport.write(chunk(data))
        except Exception:  # noqa: BLE001  # `send` meets the same and raises it where it belongs, in the request's task
            return False
        return True

    def abort(self) -> None:
        """Drops the connection, with what waits to be written: for a client that takes nothing any more.

        Closed in order it would stay, bytes and all, until TCP gives up, which takes minutes, and a server that goes down
        waits for it.
        """
        abort = getattr(self._transport, "abort", None)
        if abort is not None:
            abort()


_last = (b"", b"")  # one name, so that threads see a pair that belongs together


def chunk(data: bytes) -> bytes:
    """`data`, not empty, as a chunk of its own (RFC 9112, section 7.1)."""
    global _last
    known, made = _last
    if known is not data:  # a hub pushes one object to all readers in the same place
        made = b"%x\r\n%b\r\n" % (len(data), data)
        _last = (data, made)
    return made


class _Recorder:
    """A transport that writes nowhere. Whatever else a `send` wants of it fails the rehearsal."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class _Flow:
    """A transport's state as `send` sees it."""

    def __init__(self, paused: bool) -> None:
        self.write_paused = paused

    async def drain(self) -> None:
        await _Never()


class _Never:
    def __await__(self) -> Generator[None, None, None]:
        yield


_careful: weakref.WeakSet[Any] = weakref.WeakSet()  # functions that look at the flags, as they were seen to


def _only_writes(function: Any, cycle: Any) -> bool:
    return (
        (cycle.flow.write_paused, cycle.disconnected, cycle.response_complete) == (False, False, False)
        and _rehearse(function, cycle) == (True, [chunk(_PROBE)])
        and (function in _careful or _looks_at_flags(function, cycle))
    )


def _looks_at_flags(function: Any, cycle: Any) -> bool:
    careful = (
        _rehearse(function, cycle, paused=True) == (False, [])
        and _rehearse(function, cycle, disconnected=True) == (True, [])
        and _rehearse(function, cycle, response_complete=True)[1] == []
    )
    if careful:
        _careful.add(function)
    return careful


def _rehearse(function: Any, cycle: Any, paused: bool = False, **state: bool) -> tuple[bool, list[bytes]]:
    """Whether it ends without waiting, and what it writes; raises if it leaves a trace."""
    double = copy.copy(cycle)
    recorder = _Recorder()
    vars(double).update(transport=recorder, flow=_Flow(paused))
    vars(double).update(state)
    before = dict(vars(double))
    coroutine = function(double, dict(_MESSAGE))
    try:
        coroutine.send(None)
        done = False
    except StopIteration:
        done = True
    except RuntimeError:  # a piece of a response that is over
        done = False
    finally:
        coroutine.close()
    after = vars(double)
    if after.keys() != before.keys() or any(after[name] is not before[name] for name in before):
        raise ValueError("it keeps something")
    return done, recorder.written
