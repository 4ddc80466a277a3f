"""Resetting per-process state in a forked child, once, whichever of its threads comes first.

An owner of such state compares its process id at every use, which costs the read of one attribute. Two threads of a
child that both find the id changed must not both reset: the second would discard the first one's new state.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar


class _Forkable(Protocol):
    _pid: int


T = TypeVar("T", bound=_Forkable)

count = 0  # forks between the first interpreter and this process; reading it is cheaper than getpid, a system call
_lock = threading.Lock()


def _in_child() -> None:
    global _lock, count
    count += 1
    _lock = threading.Lock()  # the parent's may have been held when it forked


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def after_fork(owner: T, begin: Callable[[T], None]) -> None:
    """Calls ``begin(owner)`` unless another thread has; `begin` must set ``owner._pid`` last, for threads that read it first."""
    with _lock:
        if owner._pid != os.getpid():
            begin(owner)
