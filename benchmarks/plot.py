"""The plot of the README: what a delivered event costs, and how many are delivered; log scales, ours first."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.report import figure
from benchmarks.results import Results
from benchmarks.servers import SERVERS
from benchmarks.shapes import PLAN

OURS, FLOOR, PEER = "#0b7a75", "#8a8f98", "#c9ced6"
_PANELS = (
    ("F1", "cpu_us", "Burst: CPU µs per event"),
    ("F1s", "per_second", "Sustained: events/s at p99 ≤ 100 ms"),
    ("F2", "cpu_us", "Steady: CPU µs per event"),
    ("F3", "cpu_us", "Tokens: CPU µs per event"),
)


def draw(results: Results, path: Path) -> None:
    """One panel per shape that was measured; a server that lost events stands hatched."""
    panels = [panel for panel in _PANELS if results.median(panel[0], "ours", panel[1])]
    if not panels:
        return
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    drawing, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), squeeze=False, layout="constrained")
    for axis, (shape, key, title) in zip(axes[0], panels, strict=True):
        _panel(axis, results, shape, key, title)
    drawing.supxlabel("logarithmic scales", fontsize=8, color="#5a5f68")  # a bar twice as long is not twice as much
    drawing.savefig(path, dpi=130)
    plt.close(drawing)


def _panel(axis: Axes, results: Results, shape: str, key: str, title: str) -> None:
    servers = [name for name in PLAN[shape] if results.median(shape, name, key)]
    servers = [name for name in servers if not name.startswith("ours-")]
    values = [results.median(shape, name, key) or 0 for name in servers]
    colours = [OURS if name == "ours" else FLOOR if name == "raw" else PEER for name in servers]
    bars = axis.barh(range(len(servers)), values, color=colours)
    axis.set_xscale("log")
    axis.set_xlim(min(values) / 3, max(values) * 10)
    axis.invert_yaxis()
    axis.set_yticks(range(len(servers)), [SERVERS[name].title for name in servers])
    axis.set_title(title, fontsize=10)
    axis.xaxis.set_visible(False)
    for name, bar, value in zip(servers, bars, values, strict=True):
        if results.lost(shape, name) > 0:
            bar.set_hatch("///")
        note = " lost" if results.lost(shape, name) > 0 else ""
        axis.text(value * 1.15, bar.get_y() + bar.get_height() / 2, figure(value) + note, va="center", fontsize=8)
