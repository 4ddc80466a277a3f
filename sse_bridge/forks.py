"""Beginning anew in a forked child, once, whichever of its threads comes first.

What belongs to a process is checked by its id at every use, which is a read of one attribute. Two threads of a child
that both find it changed must not both begin: the second would throw away what the first has made meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar


class _Forkable(Protocol):
    _pid: int


T = TypeVar("T", bound=_Forkable)

_lock = threading.Lock()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the parent's may have been held when it forked


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def after_fork(owner: T, begin: Callable[[T], None]) -> None:
    """Lets `owner` begin, unless another thread has done it; `begin` sets ``owner._pid``, as the last thing it does."""
    with _lock:
        if owner._pid != os.getpid():
            begin(owner)
