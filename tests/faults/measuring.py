"""One row in its long form, in a process that does nothing else; a module of its own, for processes find it by its name."""

from __future__ import annotations

import logging
import time
import traceback

from tests.faults.registry import COLUMNS, LONG, Tally, load
from tests.support.requires import CHECKS


def measure(name: str) -> Tally | None:
    """Runs the row of this name, prints what came of it and returns it; None: this machine lacks what it needs."""
    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # the library warns of every fault, and faults are the point here
    row = next(row for row in load() if row.name == name)
    missing = [CHECKS[need][1] for need in row.needs if not CHECKS[need][0]()]
    if missing:
        print(f"{row.part}: {row.name}: not run, needs {', '.join(missing)}", flush=True)
        return None
    started = time.monotonic()
    try:
        tally = row.run(LONG)
    except Exception:
        tally = Tally(wrong=[traceback.format_exc()])
    figures = ", ".join(f"{column} {tally.figure(column)}" for column in COLUMNS)
    lines = [f"{row.part}: {row.name}: {figures} ({time.monotonic() - started:.0f} s)"]
    print("\n".join([*lines, *(f"    WRONG: {trouble}" for trouble in tally.wrong)]), flush=True)
    return tally
