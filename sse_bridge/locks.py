"""A lock for what is guarded while objects are made: the garbage collector may come back to it, on the same thread.

It runs wherever something is allocated, under a lock too, and there it closes forgotten generators of users: the end of
their ``with bridge.subscribe(…)`` would wait for a lock that this very thread holds, for ever. So what gives something
back asks `held` and leaves it to somebody else then; and what was not written for that gets an error.
"""

from __future__ import annotations

import os
import threading
from typing import Final

_held: Final[dict[int, list[Lock]]] = {}  # by thread or greenlet: what it holds, or is about to


class Lock:
    """As `threading.Lock`, but taking it twice is an error instead of a wait for ever.

    Raises:
        RuntimeError: when it is entered by who holds it.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        locks = _held.setdefault(threading.get_ident(), [])
        if self in locks:
            raise RuntimeError(
                "this thread is in the middle of what it is asked for once more: by a finalizer or a forgotten generator "
                "that the garbage collector ends just now, or by a filter; end streams and publish somewhere else"
            )
        locks.append(self)  # first: nothing can come in between that does not see it
        try:
            self._lock.acquire()
        except BaseException:  # a greenlet is killed
            _forget(self)
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        _forget(self)

    def locked(self) -> bool:
        return self._lock.locked()


def held() -> bool:
    """Whether the caller is in the middle of something: the collector called it there. It must not wait for a lock."""
    return threading.get_ident() in _held


def _forget(lock: Lock) -> None:
    me = threading.get_ident()
    locks = _held.get(me, [])
    if lock in locks:  # not in a child that was forked meanwhile
        locks.remove(lock)
    if not locks:
        _held.pop(me, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)  # the other threads did not come along, and ids are used again
