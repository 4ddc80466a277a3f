"""Cuts the connection of a response that must not look complete, in a format that cannot say that something is missing.

ASGI has no message for that. A server cuts a response whose app returns without completing it, but for two: uvicorn logs
it as the app's error, unless the connection is lost by then, so the transport is closed first, after the last write;
daphne leaves the client waiting, so its connection is closed through Twisted's request. An exception keeps middleware
from completing the response (not Starlette's BaseHTTPMiddleware; on uvicorn the connection is found through it).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..lifecycle.ending import LAST_WRITE_SECONDS

_MOST: Final = 64  # wrappers around a send that are looked at
_LOOKS: Final = 100


async def cut(send: Callable[[Any], Awaitable[Any]], receive: Any = None) -> bool:
    """Cuts the response of `send`; `receive`, of the same request, helps to find the connection.

    Returns:
        Whether the app may return now; else it must raise, so that middleware does not complete the response.
    """
    cycle = _uvicorn_cycle(send, receive)
    if cycle is not None:
        await _close(cycle)
        return True
    server_send = _innermost(send)
    if isinstance(server_send, functools.partial) and server_send.args:  # daphne: its own request, which is Twisted's
        lose = getattr(server_send.args[0], "loseConnection", None)
        if lose is not None:
            lose()
    return server_send is not None


async def _close(cycle: Any) -> None:
    cycle.transport.close()
    for _ in range(_LOOKS):
        if cycle.disconnected:
            return
        await asyncio.sleep(LAST_WRITE_SECONDS / _LOOKS)  # written bytes leave first
    cycle.transport.abort()
    await asyncio.sleep(0)


def _uvicorn_cycle(*callables: Any) -> Any:
    """The owner of uvicorn's `send` and `receive`, below all middleware around them; None: not found."""
    waiting = [each for each in callables if each is not None]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if inspect.ismethod(one):
            owner = one.__self__
            if hasattr(owner, "transport") and hasattr(owner, "disconnected"):
                return owner
            waiting += [getattr(owner, name, None) for name in ("send", "receive", "_send", "_receive")]
        elif isinstance(one, functools.partial):
            waiting += [one.func, *one.args, *one.keywords.values()]
        elif inspect.isfunction(one):
            waiting += [value for value in _closed_over(one).values() if callable(value)]
    return None


def _innermost(send: Any) -> Any:
    """The server's own `send`, below all middleware around it; None: not found."""
    for _ in range(_MOST):
        if isinstance(send, functools.partial):
            inner = send.keywords.get("send")
            if inner is None:
                return send  # a server's: middleware would pass the send on
        elif inspect.ismethod(send):
            inner = getattr(send.__self__, "send", None)
            if inner is None or inner == send:
                return send
        elif inspect.isfunction(send):
            inner = _closed_over(send).get("send")
            if inner is None:
                return None
        else:
            return send  # made in C or Rust
        send = inner
    return None


def _closed_over(function: Any) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # nothing was assigned yet
            found[name] = cell.cell_contents
    return found
