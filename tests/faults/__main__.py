"""`make guarantees`: runs every fault in its long form, prints the table and writes docs/guarantees.md.

python -m tests.faults                 all of it; exit code 1, and nothing is written, unless every promise was kept
python -m tests.faults sentinel spool  rows whose names hold one of the words; nothing is written
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import logging
import platform
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.faults.registry import LONG, Guarantee, Tally, load
from tests.support.process import ROOT
from tests.support.redis_server import find_redis_server
from tests.support.requires import CHECKS

PAGE = ROOT / "docs" / "guarantees.md"
HEADER = Path(__file__).with_name("header.md")
COLUMNS = ("published", "faults", "lost", "doubled", "reordered", "gaps", "unannounced", "refused", "uncertain")
TITLES = (
    "events published", "faults injected", "lost", "doubled", "reordered", "gaps announced", "unannounced gaps",
    "publishes refused", "uncertain",
)  # fmt: skip


def main(words: list[str]) -> int:
    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # the library warns of every fault, and faults are the point here
    rows = [row for row in load() if not words or any(word.lower() in row.name.lower() for word in words)]
    began = time.monotonic()
    results: list[tuple[Guarantee, Tally | None]] = []
    for row in rows:
        missing = [CHECKS[name][1] for name in row.needs if not CHECKS[name][0]()]
        if missing:
            print(f"{row.part}: {row.name}: not run, needs {', '.join(missing)}", flush=True)
            results.append((row, None))
            continue
        started = time.monotonic()
        try:
            tally = row.run(LONG)
        except Exception:
            tally = Tally(wrong=[traceback.format_exc()])
        results.append((row, tally))
        figures = ", ".join(f"{name} {getattr(tally, name)}" for name in COLUMNS)
        print(f"{row.part}: {row.name}: {figures} ({time.monotonic() - started:.0f} s)", flush=True)
        for line in tally.wrong:
            print(f"    WRONG: {line}", flush=True)
    text = page(results, time.monotonic() - began)
    print(text)
    kept = all(tally is not None and tally.kept and tally.faults for _, tally in results)
    if not kept:
        print("a promise was not kept, or a row could not be run: docs/guarantees.md stays as it was")
    elif not words:
        PAGE.write_text(text, "utf-8")
    return 0 if kept else 1


def page(results: list[tuple[Guarantee, Tally | None]], seconds: float) -> str:
    parts: dict[str, list[tuple[Guarantee, Tally | None]]] = {}
    for row, tally in results:
        parts.setdefault(row.part, []).append((row, tally))
    lines = [HEADER.read_text("utf-8").rstrip(), "", "## Measured", "", *versions(seconds), ""]
    for part, rows in parts.items():
        lines += [f"### {part}", "", f"| fault: what must hold | {' | '.join(TITLES)} |"]
        lines.append("|---|" + "---:|" * len(TITLES))
        for row, tally in rows:
            figures = [f"{getattr(tally, name):,}" for name in COLUMNS] if tally else ["not run"] * len(COLUMNS)
            lines.append(f"| **{row.name}**: {row.promise} | {' | '.join(figures)} |")
        notes = [f"- {row.name}: {'; '.join(tally.notes)}." for row, tally in rows if tally and tally.notes]
        lines += ["", *notes, ""] if notes else [""]
    done = [tally for _, tally in results if tally]
    total = sum(done[1:], done[0]) if done else Tally()
    figures = [f"{getattr(total, name):,} {title}" for name, title in zip(COLUMNS, TITLES, strict=True)]
    return "\n".join([*lines, f"All together: {', '.join(figures)}.", ""])


def versions(seconds: float) -> list[str]:
    binary = find_redis_server()
    told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout if binary else ""
    server = re.search(r"v=(\S+)", told)
    names = ("sse-bridge", "redis", "hiredis", "uvicorn")
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    told_by = (
        f"On {today}, in {seconds / 60:.0f} minutes, with {packages}, Python {platform.python_version()}, "
        f"{'Valkey' if 'alkey' in told else 'Redis'} {server[1] if server else 'of unknown version'}, "
        f"{platform.system()} {platform.machine()}."
    )
    return [told_by]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
