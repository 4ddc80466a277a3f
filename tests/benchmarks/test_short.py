"""The benchmark in its short form: nothing is lost, and a delivered event costs what it should, compared with the raw
floor in the same run. CPU time, never wall time, so a busy machine does not matter much; the bounds are generous, to
notice a mistake on the hot path and not the weather.
"""

from __future__ import annotations

import sys

import pytest

from benchmarks.bounds import BOUNDS
from benchmarks.report import markdown
from benchmarks.results import Results
from benchmarks.scaling import Costs, Load, need
from benchmarks.servers import SERVERS
from benchmarks.shapes import SHAPES, Shape
from benchmarks.trial import Record, run
from tests.support.requires import needs_redis7

pytestmark = [
    needs_redis7,
    pytest.mark.skipif(sys.platform != "linux", reason="CPU and memory are read from /proc: Linux only"),
]

BURST = Shape("F1", readers=400, events=1000)
STEADY = Shape("F2", readers=500, rate=20, seconds=3)
TOKENS = Shape("F3", readers=100, channels=100, rate=2000, seconds=2)


def measured(server: str, shape: Shape) -> Record:
    record = run(SERVERS[server], shape, "")
    assert "error" not in record, record["error"]
    assert record["ready"] == shape.readers
    return record


def complete(record: Record, shape: Shape) -> bool:
    """Every reader got everything once, in order, and was told of no gap."""
    assert record["lost"] == 0, record
    assert record["missing"] == record["doubles"] == record["gaps"] == record["broken"] == record["refused"] == 0, (
        record
    )
    assert record["fewest"] == record["most"] == shape.delivered // shape.readers
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        pytest.param(BURST, 0.3, id="burst"),
        pytest.param(STEADY, 1.3, id="steady"),
        pytest.param(TOKENS, 2.0, id="tokens"),
    ],
)
def test_ours_against_the_floor(shape: Shape, most: float):
    ours, floor = measured("ours", shape), measured("raw", shape)
    assert complete(ours, shape)
    assert complete(floor, shape)
    ratio = ours["cpu_us"] / floor["cpu_us"]
    assert ratio <= most, f"{ours['cpu_us']:.2f} µs per event against {floor['cpu_us']:.2f}: {ratio:.2f} × the floor"


def test_a_report_is_made_of_whatever_was_measured():
    results = Results()
    assert "# Results" in markdown(results)
    results.replace("F1", {"at": "now"})
    for round_, (ours, nchan) in enumerate([(0.2, 8.0), (0.4, 12.0), (0.3, 12.0)]):
        for server, cost in (("ours", ours), ("nchan", nchan)):
            results.records.append({"shape": "F1", "server": server, "round": round_, "cpu_us": cost, "lost": 0})
    assert results.ratio("F1", "nchan", "ours", "cpu_us") == 40  # of the rounds, not of the medians
    assert "| F1 | times cheaper than nchan | 40.0 × | ≥ 20.0 × | yes |" in markdown(results)
    results.records.append({"shape": "F1", "server": "raw", "round": 0, "error": "it fell over"})
    assert "| raw ASGI (no library) | failed |" in markdown(results)
    results.replace("F1", {"at": "later"})
    assert results.records == []


def test_a_million_readers_are_computed_from_what_was_measured():
    cost = Costs(10, 30, 10, 15, 2**16, append_us=6, fan_out_us=2, return_per_second=2000, event_bytes=334)
    one = need(Load("one channel", 1, 1.0), cost)
    assert one.workers == 17  # by CPU 16.7: a million writes of 10 µs in 60 % of a second; by the return 16.7 as well
    assert one.gbit == pytest.approx(3.2)
    assert one.redis_cores == pytest.approx((6 + 17 * 2) / 1e6 / 0.6)
    own = need(Load("own channels", 1_000_000, 0.05), cost)
    assert own.redis_cores == pytest.approx(50_000 * (6 + 2) / 1e6 / 0.6)
    assert own.memory_gib > one.memory_gib
    assert need(Load("own channels, busy", 1_000_000, 1.0), cost).limit == "Redis's core"


def test_bounds_name_shapes_that_exist():
    known = {name.partition(".")[0] for name in SHAPES} | {"all", "F8"}
    assert {bound.shape for bound in BOUNDS} <= known
