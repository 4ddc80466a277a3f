"""Locks that an exception out of a signal handler cannot leave held, and that a finalizer cannot wait for.

An exception may come between any two lines: a signal handler raises it (Celery's SoftTimeLimitExceeded, Ctrl-C), or
another thread does (`PyThreadState_SetAsyncExc`). CPython looks for it where a function begins, behind each call and at
backward jumps, so a lock whose ``__enter__`` is written in Python may be taken and lost in between. A lock in C that is
entered by ``with`` is held exactly while the block is entered (the interpreter runs no handler in between). Hence:

- locks are `threading.Lock` or `threading.RLock`, entered by ``with`` and in no other way; no Condition, Event or Queue;
- values that must change together change in lines without a call, which no exception can separate;
- other resources are released by an object's finalizer: see `Turn`, runtime/daemon.py, and the Redis backend's slots.

The garbage collector runs wherever something is allocated, under a lock too, and closes users' forgotten generators there:
the end of their ``with bridge.subscribe(…)`` would wait for a lock that this very thread holds, for ever. So releasing
functions ask `held` and leave the release to another thread then; functions that cannot call `refuse_within`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import AbstractContextManager
from typing import Protocol


class Lock(AbstractContextManager[bool], Protocol):
    """`threading.RLock`, whose type has no public name."""

    def _is_owned(self) -> bool: ...


_registering = threading.RLock()
_locks: tuple[weakref.ref[Lock], ...] = ()


def new_lock() -> Lock:
    """A reentrant lock known to `held`; `refuse_within` makes taking it twice an error."""
    global _locks
    lock: Lock = threading.RLock()  # type: ignore[assignment]  # typeshed hides _is_owned
    with _registering:
        _locks = (*[known for known in _locks if known() is not None], weakref.ref(lock))
    return lock


def held() -> bool:
    """Whether this thread holds a lock of `new_lock`, as in a finalizer that the collector runs there: take no other then."""
    for known in _locks:
        lock = known()
        if lock is not None and lock._is_owned():
            return True
    return False


def refuse_within(lock: Lock) -> None:
    """Raises `RuntimeError` if this thread holds `lock`, instead of entering it again; call this before ``with lock``."""
    if lock._is_owned():
        raise held_already()


def held_already() -> RuntimeError:
    """The error of `refuse_within`, for callers on an event's path that look at the lock themselves."""
    return RuntimeError(
        "this lock is already held by this thread: a finalizer, an unclosed generator that the garbage collector ends "
        "just now, or a filter called back into sse_bridge; close streams and publish outside of them"
    )


def _in_child() -> None:
    global _registering, _locks
    _registering = threading.RLock()
    _locks = ()  # the child has none of the other threads, and the forking one's locks belong to the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class Turn:
    """A lock that is never waited for: one caller gets the turn, the others go on without.

    turn = turns.take()
    if turn is not None:
        try:
            ...
        finally:
            turns.free += [turn]  # no call, which an exception might end at its beginning

    A caller interrupted between these lines drops the token, whose finalizer gives the turn back.
    """

    __slots__ = ("__weakref__", "_here", "free")

    def __init__(self) -> None:
        # kept here, since the garbage collector clears a weak reference that is found in a cycle with its token
        self._here = weakref.ref(self)
        self.free: deque[object] = deque([_Token(self._here)])  # the token, while no caller has the turn

    def take(self) -> object | None:
        """The turn's token; None: another caller has it."""
        try:
            return self.free.pop()
        except IndexError:
            return None


class _Token:
    __slots__ = ("_turn",)

    def __init__(self, turn: weakref.ref[Turn]) -> None:
        self._turn = turn

    def __del__(self) -> None:
        turn = self._turn()
        if turn is not None:
            turn.free.append(_Token(self._turn))
