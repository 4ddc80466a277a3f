"""An exception between any two lines of a call, as a signal handler raises it, for each place where it may come.

CPython looks for signals where a function begins, behind each call and at backward jumps. A profile function is called at
the first two, and may raise; it is per thread, so nobody else is disturbed, and no time passes.
"""

from __future__ import annotations

import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

LEAST_POINTS = 20  # a call with fewer was not interrupted where it matters
CTRL_C_EVERY = 7  # of the points; the places are found by an exception that no code knows, and this one some code does


class Interrupted(BaseException):
    """Raised in the middle of a call; no `except Exception` may take it for its own."""


class Interruption:
    """The n-th point of a call.

    Args:
        point: n.
        number: of the interruption, in its test.
        handler: called there, as a signal handler that returns; None: an exception is raised there.
        kind: the exception's class.

    Attributes:
        raised_at: what happened there, and in which function; None: the call has fewer points.
        points: how many points the call had, up to this one.
    """

    def __init__(
        self,
        point: int,
        number: int,
        handler: Callable[[], object] | None = None,
        kind: type[BaseException] = Interrupted,
    ) -> None:
        self.number = number
        self._point = point
        self._handler = handler
        self._kind = kind  # an exception kept here would keep the call's frames, and what they own
        self.raised_at: tuple[str, str] | None = None
        self.points = 0

    def __repr__(self) -> str:
        return f"<interruption by {self._kind.__name__} at point {self._point}, {self.raised_at}>"

    def run(self, call: Callable[[], object]) -> bool:
        """Whether it came out of the call; not if there are fewer points, or where Python lets nothing out: a finalizer."""
        hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        gc.disable()  # what it would end here are finalizers of others, in which an exception is lost
        try:
            sys.setprofile(self._look)
            try:
                call()
            finally:
                sys.setprofile(None)
        except self._kind:
            if self.raised_at is None:  # a real Ctrl-C
                raise
            return True
        finally:
            gc.enable()
            sys.unraisablehook = hook
        return False

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "return", "c_return"):
            self.points += 1
            if self.points == self._point:
                sys.setprofile(None)
                self.raised_at = (
                    event,
                    getattr(argument, "__name__", "") if event == "c_return" else frame.f_code.co_name,
                )
                if self._handler is None:
                    raise self._kind
                self._handler()

    def _unraisable(self, what: Any) -> None:
        if not isinstance(what.exc_value, (self._kind, ResourceWarning)):
            sys.__unraisablehook__(what)


def interruptions(
    least: int = LEAST_POINTS, step: int = 1, handler: Callable[[], object] | None = None
) -> Iterator[Interruption]:
    """One for each point, until the caller's call has no more; at every seventh a second one, by `KeyboardInterrupt`.

    Args:
        least: there must be more points.
        step: only every so manieth point, for calls of thousands.
        handler: what happens at each; None: an exception is raised there.
    """
    numbers = itertools.count(1)
    for index in itertools.count():
        point = 1 + index * step
        interruption = Interruption(point, next(numbers), handler)
        yield interruption
        if interruption.raised_at is None:
            break
        if handler is None and index % CTRL_C_EVERY == 1:
            yield Interruption(point, next(numbers), kind=KeyboardInterrupt)
    assert interruption.points > least, f"the call has {interruption.points} points only"
