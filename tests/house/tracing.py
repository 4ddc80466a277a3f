"""The project's own calls, in the order in which they begin."""

from __future__ import annotations

import dis
import os
import sys
import threading
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple, Self

RESUME = dis.opmap["RESUME"]
# Python 3.12 runs list, set and dict comprehensions without a call, so none of their kind counts on any version.
COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


class Step(NamedTuple):
    """A function of the project begins, or goes on behind a `yield` or `await`.

    Attributes:
        file: Its path below the root.
        name: The function's qualified name.
        begins: It was called.
    """

    file: str
    name: str
    begins: bool

    @property
    def room(self) -> str:
        """The folder that the file lies in."""
        return os.path.dirname(self.file)


class Trace:
    """Collects the steps of functions whose files lie in `folders`, on this thread and on those that start meanwhile.

    A context manager. The bodies of modules and classes are no functions: they run once, while they are imported.

    Args:
        root: What the files' paths are relative to.
        folders: Those that hold the project's code.
    """

    def __init__(self, root: Path, folders: Iterable[Path]) -> None:
        self.steps: list[Step] = []
        self._root = f"{root}{os.sep}"
        self._folders = tuple(f"{folder}{os.sep}" for folder in folders)
        self._before: tuple[Any, Any] = (None, None)

    def __enter__(self) -> Self:
        self._before = sys.getprofile(), threading.getprofile()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before[0])
        threading.setprofile(self._before[1])

    def _profile(self, frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._folders) and _is_function(code):
            self.steps.append(Step(code.co_filename.removeprefix(self._root), code.co_qualname, _begins(frame)))


def _is_function(code: CodeType) -> bool:
    return (
        bool(code.co_flags & 0x2) and code.co_name not in COMPREHENSIONS
    )  # CO_NEWLOCALS: neither a module nor a class


def _begins(frame: FrameType) -> bool:
    """The interpreter tells a profiler of a coroutine that goes on as of a call; its instruction says which it is."""
    opcode, argument = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 2]
    return opcode == RESUME and argument & 3 == 0


class Figures(NamedTuple):
    """What following a flow from file to file amounts to.

    Attributes:
        files: Different ones, those of functions that go on too.
        calls: Of functions and lambdas.
        moves: Calls that begin in another file than the call before them.
        room_moves: Likewise in another room.
    """

    files: int
    calls: int
    moves: int
    room_moves: int


def figures(steps: list[Step]) -> Figures:
    calls = [step for step in steps if step.begins]
    return Figures(
        len({step.file for step in steps}),
        len(calls),
        sum(one.file != other.file for one, other in pairwise(calls)),
        sum(one.room != other.room for one, other in pairwise(calls)),
    )
