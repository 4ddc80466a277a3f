"""Writing past a server's `send` where that would do nothing but frame the bytes and hand them to its transport.

An ASGI `send` costs a coroutine, a message and a walk through the server's state for every reader and event: 5 µs on
uvicorn, where the write itself takes 10. For a piece of a body that is under way `send` only writes a chunk (RFC 9112,
section 7.1) to the transport, unless the client reads slowly, has left, or the response is over.

That is verified: `TransportWriter.of` probes a double of the object whose method `send` is, with a transport that
only records. The probe must write exactly one chunk and change nothing; with a full transport it must wait, and for
a client that left or a response that is over it must write nothing. A `send` that behaves otherwise (another server, a
middleware around `send`, a later version that counts something) is called as ever; see stepping.py.

A probe per stream costs as much as a write. uvicorn's `send` over httptools reads flags alone, which is verified as
well: a response with the flags of a probed one needs no probe. h11 keeps the framing inside of its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import weakref
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

_PROBE: Final = b"data: the probe\n\n"  # 0x11 bytes: servers write letters of a chunk's length in either case
_HTTPTOOLS: Final = "uvicorn.protocols.http.httptools_impl"
_MESSAGE: Final = {"type": "http.response.body", "body": _PROBE, "more_body": True}


class TransportWriter:
    """The way to one response's transport. On the loop's thread only."""

    __slots__ = ("_cycle", "_flow", "_transport")

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._flow = cycle.flow
        self._transport = cycle.transport

    @classmethod
    def of(cls, send: Any) -> TransportWriter | None:
        """The writer for a response whose head was sent; None if `send` may do more than write a chunk."""
        try:
            writer = cls(send.__self__)  # first: an object without a transport cannot be probed
            return writer if _only_writes(send.__func__, send.__self__) else None
        except Exception:  # noqa: BLE001  # not made as expected; what it raised, it raised in the probe only
            return None

    def write(self, data: bytes) -> bool:
        """Writes; False: `send` must, since the transport is full, the response over, or `data` empty.

        An empty chunk would end the body, and the heartbeats of `text` are empty.
        """
        cycle = self._cycle
        if not data or self._flow.write_paused or cycle.disconnected or cycle.response_complete:
            return False
        try:
            self._transport.write(chunk(data))
        except Exception:  # noqa: BLE001  # `send` raises the same in the request's task
            return False
        return True

    def abort(self) -> None:
        """Drops the connection of a client that takes nothing any more, with all bytes that wait to be written.

        A close in order would wait until TCP gives up, which takes minutes, and a server that stops would wait with it.
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


_ONE_CHUNK: Final = (True, [chunk(_PROBE)])


class _Noted:
    """Stands in for a response or its scope in a probe: reads of plain values are noted, all else fails."""

    _read: dict[str, Any]
    _values: Any

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        value = self._read[name] = self._values[name]
        if type(value) not in (bool, str, type(None)):
            raise TypeError(f"{name} is not plain")
        return value

    __getitem__ = __getattr__


class _Verified:
    """The values that a probed function read of the first response and of its scope.

    `_kind` is None where not every read could be noted; each response is probed then.
    """

    __slots__ = ("_fields", "_flags", "_kind", "_values")

    def __init__(self, function: Any, cycle: Any) -> None:
        self._kind: Any = None
        self._flags: dict[str, Any] = {}
        self._fields: dict[str, Any] = {}
        own = vars(type(cycle)).get("send") is function  # a subclass may give flags another meaning
        if own and {function.__globals__["__name__"], type(cycle).__module__} == {_HTTPTOOLS}:
            scope = _Noted(_values=cycle.scope, _read=self._fields)
            double = _Noted(_values=vars(cycle), _read=self._flags, scope=scope)
            with contextlib.suppress(Exception):  # the function read or set something else
                if _run(function, double) == _ONE_CHUNK:
                    self._values = self._read(cycle)
                    self._kind = type(cycle)

    def _read(self, cycle: Any) -> tuple[list[Any], list[type]]:
        values = [getattr(cycle, name) for name in self._flags] + [cycle.scope[name] for name in self._fields]
        return values, list(map(type, values))  # 1 equals True

    def fits(self, cycle: Any) -> bool:
        """Whether the function treats `cycle` as it treated the first response."""
        return type(cycle) is self._kind and self._read(cycle) == self._values


_verified: weakref.WeakKeyDictionary[Any, _Verified] = weakref.WeakKeyDictionary()  # by function


def _only_writes(function: Any, cycle: Any) -> bool:
    if (cycle.flow.write_paused, cycle.disconnected, cycle.response_complete) != (False, False, False):
        return False
    verified = _verified.get(function)
    if verified is not None and verified.fits(cycle):
        return True
    if _probe(function, cycle) != _ONE_CHUNK:
        return False
    if verified is None:
        if not _looks_at_flags(function, cycle):
            return False
        _verified[function] = _Verified(function, cycle)
    return True


def _looks_at_flags(function: Any, cycle: Any) -> bool:
    return (
        _probe(function, cycle, paused=True) == (False, [])
        and _probe(function, cycle, disconnected=True) == (True, [])
        and _probe(function, cycle, response_complete=True)[1] == []
    )


def _probe(function: Any, cycle: Any, paused: bool = False, **state: bool) -> tuple[bool, list[bytes]]:
    double = copy.copy(cycle)
    vars(double).update(state)
    return _run(function, double, paused)


def _run(function: Any, double: Any, paused: bool = False) -> tuple[bool, list[bytes]]:
    """Whether `function` ends without waiting, and the bytes it writes; raises if it changes the double of a response.

    Transport and flow control write nowhere; any other use of them fails the probe.
    """
    written: list[bytes] = []
    flow = SimpleNamespace(write_paused=paused, drain=partial(asyncio.sleep, 0))  # to yield ends the probe
    vars(double).update(transport=SimpleNamespace(write=written.append), flow=flow)
    before = dict(vars(double))
    coroutine = function(double, dict(_MESSAGE))
    done = False
    try:
        coroutine.send(None)
    except StopIteration:
        done = True
    except RuntimeError:  # a piece of a response that is over
        pass
    finally:
        coroutine.close()
    after = vars(double)
    if after.keys() != before.keys() or any(after[name] is not before[name] for name in before):
        raise ValueError("it keeps something")
    return done, written
