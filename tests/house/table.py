"""What is measured of the house, beside what it was and what it shall become."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from tests.house.flows import measure
from tests.house.places import admit_methods, continuity_judges, opening_drivers
from tests.house.shape import (
    LONG_FILE,
    LONG_FUNCTION,
    circles,
    duplicate_lines,
    file_graph,
    functions,
    line_counts,
    per_room,
)
from tests.house.tracing import figures
from tests.support.process import ROOT
from tests.support.rooms import upward_imports
from tests.support.source_tree import packages, python_files


class Row(NamedTuple):
    """One figure.

    Attributes:
        name: What is counted.
        start: The figure when the work on the house began.
        now: That of this checkout.
        reach: What it shall become: at most that, or exactly; empty: nothing is asked for.
    """

    name: str
    start: float
    now: float
    reach: str = ""


def flow_rows() -> list[Row]:
    [flows] = measure()
    opening, revocation, publishing, reading = map(figures, flows)
    event = figures([*flows.publishing, *flows.reading])
    return [
        Row("request with an id and a user, until live: files", 52, opening.files, "≤ 45"),
        Row("… calls", 463, opening.calls, "≤ 300"),
        Row("… moves between files", 311, opening.moves),
        Row("… moves between rooms", 136, opening.room_moves, "≤ 137"),
        Row("revocation, until the stream has ended: files", 29, revocation.files, "≤ 26"),
        Row("… calls", 110, revocation.calls, "≤ 90"),
        Row("… moves between files", 70, revocation.moves),
        Row("… moves between rooms", 28, revocation.room_moves),
        Row("event, until the bytes are on three sockets: files of publishing", 8, publishing.files, "≤ 7"),
        Row("… files of reading", 20, reading.files, "≤ 16"),
        Row("… calls", 68, event.calls),
        Row("… moves between files", 45, event.moves),
        Row("… moves between rooms", 26, event.room_moves),
    ]


def shape_rows() -> list[Row]:
    core = python_files(ROOT / "sse_bridge")
    everything = line_counts(packages())
    lines_of_core = sum(count for path, count in everything.items() if path in core)
    lengths = [length for _, length in functions(everything)]
    rooms = per_room(everything)
    return [
        Row("drivers that open a stream", 6, len(opening_drivers(core)), "1"),
        Row("definitions of admit", 4, len(admit_methods(core)), "1"),
        Row("functions that compare a prev with a check", 8, len(continuity_judges(core)), "1"),
        Row("circles among files of the core, types counted", 4, len(circles(file_graph(core))), "0"),
        Row("imports of a higher floor", 0, len(upward_imports()), "0"),
        Row("rooms within streams/", 0, sum(room.startswith("sse_bridge/streams/") for room in rooms), "7"),
        Row("files of the largest room", 37, max(files for files, _ in rooms.values())),
        Row(f"files above {LONG_FILE} lines", 34, sum(count > LONG_FILE for count in everything.values())),
        Row("duplicate lines of the core", 331, sum(map(len, duplicate_lines(core).values())), "< 120"),
        Row("lines of the core", 23713, lines_of_core),
        Row("lines of the adapters", 3968, sum(everything.values()) - lines_of_core),
        Row("lines of both", 27681, sum(everything.values()), "≤ 27381"),
        Row("functions and methods of both", 2034, len(lengths)),
        Row("… median of their lines", 5, statistics.median(lengths)),
        Row(f"… above {LONG_FUNCTION} lines", 1, sum(length > LONG_FUNCTION for length in lengths)),
    ]


def text_table(rows: list[Row]) -> str:
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  {'start':>6}  {'now':>6}  to reach"]
    lines += [f"{row.name:{width}}  {row.start:>6g}  {row.now:>6g}  {row.reach:8}".rstrip() for row in rows]
    return "\n".join(lines)


def found() -> str:
    """The places and circles by name, and every room."""
    core = python_files(ROOT / "sse_bridge")
    everything = line_counts(packages())
    long = sorted(((count, path) for path, count in everything.items() if count > LONG_FILE), reverse=True)
    rooms = per_room(everything)
    named = {
        "circles": [" – ".join(group) for group in circles(file_graph(core))],
        "drivers that open a stream": opening_drivers(core),
        "definitions of admit": admit_methods(core),
        "functions that compare a prev with a check": continuity_judges(core),
        f"files above {LONG_FILE} lines": [f"{count:5}  {path.relative_to(ROOT)}" for count, path in long],
        "rooms: files and lines": [f"{files:5}  {lines:6}  {room}" for room, (files, lines) in rooms.items()],
    }
    return "\n\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in named.items())
