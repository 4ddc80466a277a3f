"""The rows of docs/guarantees.md: a fault is a function that makes it happen and returns what came of it.

    @guarantee("Redis killed and restarted, AOF", part="Broker", promise="every event once, in order, no gap")
    def killed_with_aof(scale: Scale) -> Tally:
        tally = Tally()
        for _ in range(scale.pick(short=2, long=10)):
            ...
            tally.faults += 1
        return tally

The same function serves pytest in its short form (`SHORT`) and `make guarantees` in its long one (`LONG`). It asserts
whatever has no column of its own, and raises when it could not do its work; a row that raises fails the run.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Scale:
    """How much of it: the short form for a test run, the long one for the table."""

    name: str

    def pick(self, short: int, long: int) -> int:
        return long if self.name == "long" else short


SHORT: Final = Scale("short")
LONG: Final = Scale("long")


COLUMNS: Final = (
    "published", "faults", "lost", "doubled", "reordered", "gaps", "unannounced", "refused", "uncertain",
)  # fmt: skip


@dataclass
class Tally:
    """What came of a fault; each is counted over all readers.

    A row sets the figures that it counts, to 0 too: what it never set is not counted by it, and is no 0 in the table.

    Attributes:
        published: events whose publish returned, once per event and not per reader.
        faults: how often the fault was injected.
        lost: events that a reader never saw and that no gap accounts for. A reader that was told of a gap has not lost
            what the gap stands for.
        doubled: events that a reader saw more than once.
        reordered: events that a reader saw behind a later one of the same channel and life of the log.
        gaps: gaps that readers were told of.
        unannounced: holes in what a reader saw that no gap precedes.
        refused: publishes that were refused with `BackendUnavailable` or another error that says "not published".
        uncertain: publishes that raised `PublishUncertain`.
        notes: figures that have no column, such as "noticed after 0.6 s".
        wrong: what else went wrong; the row fails if there is any.
        counted: the figures that were set.
    """

    published: int = 0
    faults: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    gaps: int = 0
    unannounced: int = 0
    refused: int = 0
    uncertain: int = 0
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counted: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.counted = {name for name in COLUMNS if getattr(self, name)}

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in COLUMNS and "counted" in self.__dict__:  # which __init__ sets last
            self.counted.add(name)

    def figure(self, name: str) -> str:
        """One column as the table shows it."""
        return f"{getattr(self, name):,}" if name in self.counted else "–"

    @property
    def kept(self) -> bool:
        """Whether the promise held."""
        return not (self.lost or self.doubled or self.reordered or self.unannounced or self.wrong)

    def __add__(self, other: Tally) -> Tally:
        names = (*COLUMNS, "notes", "wrong")
        both = Tally(**{name: getattr(self, name) + getattr(other, name) for name in names})
        both.counted = self.counted | other.counted
        return both


@dataclass(frozen=True)
class Guarantee:
    """One row.

    Attributes:
        name: the fault, as the table's first column says it.
        run: makes it happen.
        part: the heading under which the row stands: "Broker", "Publishing", "Processes", "Readers" …
        promise: what must hold, in a few words.
        needs: what the machine must have, names of tests/support/requires.py.
        soak: too long for a test run even in its short form; pytest runs it behind the marker `soak` only.
        id: for pytest.
    """

    name: str
    run: Callable[[Scale], Tally]
    part: str
    promise: str
    needs: tuple[str, ...] = ()
    soak: bool = False
    id: str = ""


GUARANTEES: Final[list[Guarantee]] = []


def guarantee(
    name: str,
    *,
    part: str,
    promise: str,
    needs: tuple[str, ...] = ("redis7",),
    soak: bool = False,
    id: str = "",
) -> Callable[[Callable[[Scale], Tally]], Callable[[Scale], Tally]]:
    """Registers a row; see `Guarantee` for the arguments. Its id is the function's name unless one is given."""

    def register(run: Callable[[Scale], Tally]) -> Callable[[Scale], Tally]:
        assert all(each.name != name for each in GUARANTEES), f"two rows are called {name!r}"
        GUARANTEES.append(Guarantee(name, run, part, promise, needs, soak, id or run.__name__))
        return run

    return register


def load() -> list[Guarantee]:
    """All rows of the files ``*_faults.py`` in this folder, in the order of the files' names."""
    package = sys.modules[__package__]
    for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        if name.endswith("_faults"):
            importlib.import_module(f"{__package__}.{name}")
    return list(GUARANTEES)
