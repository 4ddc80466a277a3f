"""A lock for what is guarded while objects are made: the garbage collector may come back to it, on the same thread.

It runs wherever something is allocated, under a lock too, and there it closes forgotten generators of users: the end of
their ``with bridge.subscribe(…)`` would wait for a lock that this very thread holds, for ever. So what gives something
back asks `held` and leaves it to somebody else then; and what was not written for that gets an error.
"""

from __future__ import annotations

import os
import threading
from typing import Final

# By thread or greenlet: what it holds, or is about to. The collector may come between any two steps here too: what it does
# then it takes back before it goes, so a value that is replaced as a whole is right whenever that is.
_held: Final[dict[int, tuple[Lock, ...]]] = {}


class Lock:
    """As `threading.Lock`, but taking it twice is an error instead of a wait for ever.

    Raises:
        RuntimeError: when it is entered by who holds it.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        me = threading.get_ident()
        locks = _held.get(me, ())
        if self in locks:
            raise RuntimeError(
                "this thread is in the middle of what it is asked for once more: by a finalizer or a forgotten generator "
                "that the garbage collector ends just now, or by a filter; end streams and publish somewhere else"
            )
        _held[me] = (*locks, self)  # before it is taken: who comes then must not wait for it
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
    left = tuple([each for each in _held.get(me, ()) if each is not lock])  # none in a child that was forked meanwhile
    if left:
        _held[me] = left
    else:
        _held.pop(me, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_held.clear)  # the other threads did not come along, and ids are used again
