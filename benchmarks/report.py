"""RESULTS.md and the plot, from results.json; nothing in them is typed by hand."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bounds import BOUNDS
from benchmarks.results import Results
from benchmarks.servers import SERVERS
from benchmarks.shapes import PLAN, SHAPES, Shape

_PUBLISHING = {
    "bare": "the append script alone: EVALSHA through redis-py",
    "publish": "`publish()`",
    "publish_redis": "PUBLISH through redis-py: nothing is stored",
    "bare_pipelined": "the append script alone, 100 calls in a pipeline",
    "xadd_pipelined": "XADD, 100 in a pipeline",
    "publish_pipelined": "PUBLISH, 100 in a pipeline",
    "apublish": "`apublish()`, 100 tasks, one channel",
    "apublish_spread": "`apublish()`, 100 tasks, 100 channels",
    "many": "`publish_many()` of 100, one channel",
    "many_spread": "`publish_many()` of 100, 100 channels",
}


def markdown(results: Results) -> str:
    parts = [
        "# Results",
        "Made by `python -m benchmarks`; do not edit. What the shapes are and how they are measured: [README.md](README.md).",
        "![CPU per delivered event and highest rate](results.png)",
        "## Ratios",
        _ratios(results),
        "## What we promise",
        _promises(results),
        "## Figures",
        "Medians over the rounds. CPU is the server's, in user space and kernel, per delivered event. *Lost* is the worst round.",
        *(
            _deliveries(results, name)
            for name in ("F1", "F2", "F3", "F7.1", "F7.2", "F7.3", "F9", "F10", "F10.3", "S1", "S2", "S3")
        ),
        _sustained(results),
        _memory(results),
        _storm(results),
        _publishing(results),
        "## Measured with",
        _about(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def figure(value: float | None, unit: str = "") -> str:
    """Two or three digits that mean something."""
    if value is None:
        return "–"
    size = abs(value)
    text = f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
    return f"{text} {unit}".strip()


def _ratios(results: Results) -> str:
    """Every server's figure as a multiple of ours, in the rounds that both took part in."""
    columns = [
        ("F1 CPU", "F1", "cpu_us", False), ("F1s rate", "F1s", "per_second", True), ("F2 CPU", "F2", "cpu_us", False),
        ("F2 p99", "F2", "p99_ms", False), ("F3 CPU", "F3", "cpu_us", False), ("F3 p99", "F3", "p99_ms", False),
        ("F4 memory", "F4", "kib", False),
    ]  # fmt: skip
    rows = []
    for name in dict.fromkeys(server for servers in PLAN.values() for server in servers):
        cells = []
        for _, shape, key, inverse in columns:
            ratio = results.ratio(shape, name, "ours", key)
            lost = results.lost(shape, name)
            text = figure((1 / ratio if inverse else ratio) if ratio else None)
            cells.append(text + (" (lost)" if lost > 0 and ratio else ""))
        if name != "ours" and set(cells) != {"–"}:
            rows.append([SERVERS[name].title, *cells])
    if not rows:
        return ""
    return (
        "How many times ours each server needs; of *F1s rate*, how many times fewer events per second it delivers. "
        "Above 1 is worse than ours.\n\n" + table(["", *(title for title, *_ in columns)], rows)
    )


def _promises(results: Results) -> str:
    rows = []
    for bound in BOUNDS:
        value = bound.measure(results)
        if value is not None:
            sign = "≥" if bound.least else "≤"
            rows.append(
                [bound.shape, bound.what, figure(value, bound.unit), f"{sign} {figure(bound.limit, bound.unit)}",
                 "yes" if bound.kept(value) else "**no**"]
            )  # fmt: skip
    return table(["shape", "what", "measured", "bound", "kept"], rows) if rows else ""


def _work(shape: Shape) -> str:
    rate = f"{shape.rate:,.0f} events/s for {shape.seconds:.0f} s" if shape.rate else f"{shape.events:,} events at once"
    channels = f"{shape.channels} channels" if shape.channels > 1 else "1 channel"
    size = "" if shape.size == 200 else f", {shape.size:,} bytes each"
    return f"{shape.readers:,} readers, {channels}, {rate}{size}"


def _deliveries(results: Results, name: str) -> str:
    rows = []
    for server in PLAN[name]:
        runs = results.of(name, server)
        if not runs:
            continue
        title = SERVERS[server].title
        if not results.good(name, server):
            rows.append([title, "failed", "", "", "", "", ""])
            continue
        median = {
            key: results.median(name, server, key) for key in ("cpu_us", "p50_ms", "p99_ms", "per_second", "grown_kib")
        }
        lost = results.lost(name, server)
        rows.append(
            [title, figure(median["cpu_us"]), figure(median["p50_ms"]), figure(median["p99_ms"]),
             figure(median["per_second"]), figure((median["grown_kib"] or 0) / 1024), f"{lost:,}" if lost else "0"]
        )  # fmt: skip
    if not rows:
        return ""
    head = ["", "CPU µs/event", "p50 ms", "p99 ms", "events/s", "grown MiB", "lost"]
    return f"**{name}**: {_work(SHAPES[name])}\n\n{table(head, rows)}"


def _sustained(results: Results) -> str:
    rows = []
    for server in PLAN["F1s"]:
        if results.good("F1s", server):
            keys = ("rate", "per_second", "p50_ms", "p99_ms", "cpu_us")
            rows.append([SERVERS[server].title, *(figure(results.median("F1s", server, key)) for key in keys)])
    if not rows:
        return ""
    head = ["", "published/s", "delivered/s", "p50 ms", "p99 ms", "CPU µs/event"]
    return "**F1s**: the highest rate for 1,000 readers of one channel without a loss, p99 ≤ 100 ms\n\n" + table(
        head, rows
    )


def _memory(results: Results) -> str:
    rows = []
    for server in PLAN["F4"]:
        if results.good("F4", server):
            cells = [figure(results.median(shape, server, "kib")) for shape in ("F4", "F4x", "F4c")]
            rows.append([SERVERS[server].title, *cells, figure((results.median("F4", server, "idle_cpu") or 0) * 100)])
    if not rows:
        return ""
    head = ["", "KiB at 5,000", "KiB at 10,000", "KiB at 5,000 on as many channels", "idle CPU %"]
    return "**F4**: memory per idle connection (proportional set size of the server's processes)\n\n" + table(
        head, rows
    )


def _storm(results: Results) -> str:
    rows = []
    for server in PLAN["F6"]:
        if results.good("F6", server):
            keys = ("connect_seconds", "live_seconds", "cpu_seconds")
            lost = results.lost("F6", server)
            rows.append(
                [SERVERS[server].title, *(figure(results.median("F6", server, key)) for key in keys), str(lost)]
            )
    if not rows:
        return ""
    head = ["", "all connected s", "all caught up s", "CPU s", "lost"]
    return (
        "**F6**: 5,000 readers come back at once, each 100 events behind; the floor has nothing to catch up with\n\n"
        + table(head, rows)
    )


def _publishing(results: Results) -> str:
    if not results.good("F5", "ours"):
        return ""
    rows = []
    for way, title in _PUBLISHING.items():
        keys = ("us", "client_cpu_us", "redis_us", "redis_cpu_us")
        rows.append([title, *(figure(results.median("F5", "ours", f"{way}.{key}")) for key in keys)])
    head = ["", "µs per event", "of that CPU", "the command in Redis", "Redis's CPU"]
    return (
        "**F5**: publishing, on a core of its own; Redis's CPU is that of its main thread, with the network, and with waking "
        "up where events come one by one\n\n" + table(head, rows)
    )


def _about(results: Results) -> str:
    lines = []
    for shape, about in results.about.items():
        foreign = [record["foreign"] for record in results.records if record["shape"] == shape and "foreign" in record]
        facts = {key: value for key, value in about.items() if value and key != "versions"}
        if foreign:
            facts["others on the server's core"] = f"{statistics.median(foreign):.0%} (most {max(foreign):.0%})"
        lines.append(f"- {shape}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    versions: dict[str, str] = {}
    for about in results.about.values():
        versions.update(about.get("versions", {}))
    if versions:
        lines.append("- " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items(), key=_folded)))
    return "\n".join(lines)


def _folded(item: tuple[str, str]) -> str:
    return item[0].lower()


def write(results: Results, folder: Path) -> None:
    """RESULTS.md, and results.png where matplotlib is installed."""
    (folder / "RESULTS.md").write_text(markdown(results))
    try:
        from benchmarks.plot import draw
    except ImportError:
        return
    draw(results, folder / "results.png")
