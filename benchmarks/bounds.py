"""What is to be reached, as checks on results: each says what it is, what came out, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.shapes import PEERS


@dataclass(frozen=True)
class Bound:
    """One promise.

    Attributes:
        shape: its row.
        what: in words.
        measure: the figure, None where it was not measured.
        limit: it must not exceed this; with `least`, it must reach it.
        unit: "×" for a ratio.
    """

    shape: str
    what: str
    measure: Callable[[Results], float | None]
    limit: float
    unit: str = "×"
    least: bool = False

    def kept(self, value: float) -> bool:
        return value >= self.limit if self.least else value <= self.limit


def _times_better(shape: str, server: str, other: str, key: str = "cpu_us") -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        ratio = results.ratio(shape, server, other, key)
        return 1 / ratio if ratio else None

    return measure


def _worst_peer(results: Results) -> float | None:
    ratios = [results.ratio("F2", "ours", peer, "cpu_us") for peer in (*PEERS, "raw")]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def _lost(results: Results) -> float | None:
    ours = {record["server"] for record in results.records if record["server"].startswith("ours")}
    return max((results.lost(shape, server) for shape in results.about for server in ours), default=None)


def _storm(results: Results) -> float | None:
    live, connect = results.median("F6", "ours", "live_seconds"), results.median("F6", "raw", "connect_seconds")
    return live / connect if live and connect else None


def _append_to_commands(results: Results) -> float | None:
    """Machines differ by half and more; this ratio does not."""
    append, *commands = (
        results.median("F5", "ours", f"{way}_pipelined.redis_cpu_us") for way in ("bare", "xadd", "publish")
    )
    if append is None or None in commands:
        return None
    return append / sum(each or 0.0 for each in commands)


BOUNDS: tuple[Bound, ...] = (
    Bound("all", "events that ours lost, the worst run", _lost, 0, "events"),
    Bound("F1", "CPU per delivered event", lambda r: r.median("F1", "ours", "cpu_us"), 0.5, "µs"),
    Bound("F1", "times cheaper than nchan", _times_better("F1", "ours", "nchan"), 20, least=True),
    Bound("F1", "times cheaper than sse-starlette", _times_better("F1", "ours", "sse-starlette"), 60, least=True),
    Bound("F1s", "events/s on one core at p99 ≤ 100 ms", lambda r: r.median("F1s", "ours", "per_second"), 2e6, "/s", True),
    Bound("F2", "CPU, of nchan's", lambda r: r.ratio("F2", "ours", "nchan", "cpu_us"), 1.10),
    Bound("F2", "p99, of nchan's", lambda r: r.ratio("F2", "ours", "nchan", "p99_ms"), 1.25),
    Bound("F2", "CPU, of the nearest Python or Node peer's", _worst_peer, 1.0),
    Bound("F3", "CPU, of nchan's", lambda r: r.ratio("F3", "ours", "nchan", "cpu_us"), 0.90),
    Bound("F3", "p99", lambda r: r.median("F3", "ours", "p99_ms"), 5, "ms"),
    Bound("F4", "memory per idle connection", lambda r: r.median("F4", "ours", "kib"), 13, "KiB"),
    Bound("F5", "publish, of the bare EVALSHA", lambda r: r.median("F5", "ours", "publish_to_bare"), 1.15),
    Bound("F5", "apublish, 100 tasks on one channel", lambda r: r.median("F5", "ours", "apublish.us"), 30, "µs"),
    Bound("F5", "apublish, 100 tasks on 100 channels", lambda r: r.median("F5", "ours", "apublish_spread.us"), 30, "µs"),
    Bound("F5", "publish_many(100), per event", lambda r: r.median("F5", "ours", "many.us"), 25, "µs"),
    Bound("F5", "Redis's CPU per publish, pipelined", lambda r: r.median("F5", "ours", "bare_pipelined.redis_cpu_us"), 6, "µs"),
    Bound("F5", "the same, of XADD's and PUBLISH's (1.8 µs where the bound was set)", _append_to_commands, 6 / 1.8),
    Bound("F5", "Redis's CPU per event of a batch", lambda r: r.median("F5", "ours", "many.redis_cpu_us"), 3.5, "µs"),
    Bound("F6", "all live, of the floor's connect time", _storm, 3),
    Bound("F7", "gevent, burst: times cheaper than Flask-SSE", _times_better("F7.1", "ours-gevent", "flask-sse"), 30, least=True),
    Bound("F7", "gevent, steady: times cheaper than Flask-SSE", _times_better("F7.2", "ours-gevent", "flask-sse"), 3, least=True),
    Bound("F8", "Django view, steady: CPU, of the raw adapter's", lambda r: r.ratio("F2", "ours-django", "ours", "cpu_us"), 1.15),
    Bound("F8", "Flask view, steady: CPU, of the raw adapter's", lambda r: r.ratio("F2", "ours-flask", "ours", "cpu_us"), 1.15),
    Bound("F8", "Django view: memory, of the raw adapter's", lambda r: r.ratio("F4", "ours-django", "ours", "kib"), 1.15),
    Bound("F8", "Flask view: memory, of the raw adapter's", lambda r: r.ratio("F4", "ours-flask", "ours", "kib"), 1.15),
    Bound("F9", "CPU, of one channel without filter (F2)", lambda r: r.ratio("F9", "ours", "ours", "cpu_us", "F2"), 1.5),
    Bound("F10", "2 kB with gzip: CPU, of F2's", lambda r: r.ratio("F10", "ours-gzip", "ours", "cpu_us", "F2"), 1.5),
    Bound("F10", "2 kB with gzip: bytes, of those without", lambda r: r.ratio("F10", "ours-gzip", "ours", "bytes"), 0.30),
)  # fmt: skip
