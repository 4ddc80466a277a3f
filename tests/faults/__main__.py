"""`make guarantees`: runs every fault in its long form, prints the table and writes docs/guarantees.md.

python -m tests.faults                 all of it; exit code 1, and nothing is written, unless every promise was kept
python -m tests.faults sentinel spool  rows whose names hold one of the words; nothing is written

Two rows run at once, each in a process without the other: most of a fault's time is spent in waiting.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import multiprocessing
import platform
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.faults.measuring import measure
from tests.faults.registry import COLUMNS, Guarantee, Tally, load
from tests.faults.soak import HEADING, PAGE, commit, section
from tests.support.redis_server import find_redis_server

HEADER = Path(__file__).with_name("header.md")
TITLES = (
    "events published", "faults injected", "lost", "doubled", "reordered", "gaps announced", "unannounced gaps",
    "publishes refused", "uncertain",
)  # fmt: skip


def main(words: list[str]) -> int:
    rows = [row for row in load() if not words or any(word.lower() in row.name.lower() for word in words)]
    began, measured = time.monotonic(), commit()  # before the work: whoever commits meanwhile is not measured
    found: dict[str, Tally | None] = {}
    waiting = deque(row.name for row in rows)

    def work(take: Callable[[], str]) -> None:
        with suppress(IndexError):
            while name := take():
                found[name] = pool.submit(measure, name).result()

    # one from the front, one from the back: so rows of the same kind, which load the machine alike, do not meet
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool, ThreadPoolExecutor(2) as threads:
        for outcome in [threads.submit(work, take) for take in (waiting.popleft, waiting.pop)]:
            outcome.result()
    results = [(row, found[row.name]) for row in rows]
    text = page(results, time.monotonic() - began, measured)
    print(text)
    kept = all(tally is not None and tally.kept and tally.faults for _, tally in results)
    if not kept:
        print("a promise was not kept, or a row could not be run: docs/guarantees.md stays as it was")
    elif not words:
        PAGE.write_text(text, "utf-8")
    return 0 if kept else 1


def page(results: list[tuple[Guarantee, Tally | None]], seconds: float, measured: str) -> str:
    parts: dict[str, list[tuple[Guarantee, Tally | None]]] = {}
    for row, tally in results:
        parts.setdefault(row.part, []).append((row, tally))
    lines = [HEADER.read_text("utf-8").rstrip(), "", "## Measured", "", *versions(seconds, measured), ""]
    for part, rows in parts.items():
        lines += [f"### {part}", "", f"| fault: what must hold | {' | '.join(TITLES)} |"]
        lines.append("|---|" + "---:|" * len(TITLES))
        for row, tally in rows:
            figures = [tally.figure(name) for name in COLUMNS] if tally else ["not run"] * len(COLUMNS)
            lines.append(f"| **{row.name}**: {row.promise} | {' | '.join(figures)} |")
        notes = [f"- {row.name}: {'; '.join(tally.notes)}." for row, tally in rows if tally and tally.notes]
        lines += ["", *notes, ""] if notes else [""]
    done = [tally for _, tally in results if tally]
    total = sum(done[1:], done[0]) if done else Tally()
    figures = [f"{getattr(total, name):,} {title}" for name, title in zip(COLUMNS, TITLES, strict=True)]
    return "\n".join([*lines, f"All together: {', '.join(figures)}.", "", HEADING, *section()])


def versions(seconds: float, measured: str) -> list[str]:
    binary = find_redis_server()
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout if binary else ""
    server = re.search(r"v=(\S+)", told)
    names = ("sse-bridge", "redis", "hiredis", "uvicorn")
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    told_by = (
        f"On {today}, in {seconds / 60:.0f} minutes, at commit {measured}, with {packages}, Python {platform.python_version()}, "
        f"{'Valkey' if 'alkey' in told else 'Redis'} {server[1] if server else 'of unknown version'}, "
        f"{platform.system()} {platform.machine()}."
    )
    return [told_by]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
