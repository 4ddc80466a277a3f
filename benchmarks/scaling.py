"""docs/scaling.md: what a million readers need, computed from what was measured; nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from benchmarks.report import figure, table
from benchmarks.results import Results

READERS = 1_000_000
BUSY = 0.6  # the share of a core that is planned for: what is left takes peaks, and one worker in three failing
BACK_SECONDS = 30.0  # after everything was restarted at once, all readers shall be live again within this
PACKET_BYTES = 66  # Ethernet, IPv4 and TCP with timestamps around each write
REDIS_GBIT = 10.0  # what one machine's network card carries


@dataclass(frozen=True)
class Costs:
    """The figures that everything is computed from.

    Attributes:
        shared_us, single_us: a worker's CPU per delivered event where many readers share a channel (F2), and where each
            channel has one (F3).
        reader_kib, own_channel_kib: memory of an idle connection, on a shared channel and on one of its own.
        worker_kib: of a worker without connections.
        append_us, fan_out_us: Redis's CPU for an append, and for carrying it to one more worker.
        return_per_second: readers that one worker takes back, each 100 events behind (F6).
        event_bytes: of one delivered 200-byte event on the wire.
    """

    shared_us: float
    single_us: float
    reader_kib: float
    own_channel_kib: float
    worker_kib: float
    append_us: float
    fan_out_us: float
    return_per_second: float
    event_bytes: float


@dataclass(frozen=True)
class Load:
    """A million readers who follow one channel each.

    Attributes:
        title: in the table.
        channels: over how many they are spread.
        per_second: events per channel and second.
    """

    title: str
    channels: int
    per_second: float


LOADS = (
    Load("one broadcast, 1 event/s", 1, 1.0),
    Load("10,000 rooms of 100, 1 event in 10 s each", 10_000, 0.1),
    Load("a channel of one's own, 1 event in 20 s each", READERS, 0.05),
)


@dataclass(frozen=True)
class Need:
    """What a load takes.

    Attributes:
        limit: what runs out first when it grows.
    """

    workers: int
    memory_gib: float
    gbit: float
    redis_cores: float
    limit: str


def costs(results: Results) -> Costs | None:
    """None until everything was measured."""
    median = results.median
    live, size = median("F6", "ours", "live_seconds"), median("F2", "ours", "bytes")
    events = median("F2", "ours", "events")
    found = (
        median("F2", "ours", "cpu_us"),
        median("F3", "ours", "cpu_us"),
        median("F4", "ours", "kib"),
        median("F4c", "ours", "kib"),
        median("F4", "ours", "base_kib"),
        median("F5", "ours", "publish.redis_us"),
        median("F5", "ours", "fan_out_us"),
        median("F6", "ours", "ready"),
    )
    if None in found or not live or not size or not events:
        return None
    shared, single, reader, own, worker, append, fan_out, ready = (value or 0.0 for value in found)
    return Costs(shared, single, reader, own, worker, append, fan_out, ready / live, size / events)


def need(load: Load, cost: Costs) -> Need:
    """Workers are as many as CPU or the return of everybody asks for; Redis's share follows from them."""
    per_channel = READERS / load.channels
    delivered = READERS * load.per_second
    published = load.channels * load.per_second
    cpu = delivered * (cost.shared_us if per_channel > 1 else cost.single_us) / 1e6 / BUSY
    returning = READERS / (cost.return_per_second * BACK_SECONDS)
    workers = ceil(max(cpu, returning))
    # workers on which a channel has a reader at all, if readers come to them at random
    subscribed = workers * (1 - (1 - 1 / workers) ** per_channel)
    redis = published * (cost.append_us + subscribed * cost.fan_out_us) / 1e6 / BUSY
    bits = delivered * (cost.event_bytes + PACKET_BYTES) * 8
    shares = {
        "the workers' CPU": cpu / workers,
        "how fast a worker takes its readers back": returning / workers,
        "Redis's core": redis,
        "the network": bits / 1e9 / REDIS_GBIT,
    }
    memory = (
        READERS * (cost.reader_kib if per_channel > 1 else cost.own_channel_kib) + workers * cost.worker_kib
    ) / 2**20
    return Need(workers, memory, bits / 1e9, redis, max(shares, key=lambda name: shares[name]))


_TEXT = """# Scaling

Computed by `python -m benchmarks --report` from [benchmarks/RESULTS.md](../benchmarks/RESULTS.md); do not edit. Nobody here
has run a million readers: this is arithmetic on what one worker and one Redis were measured to do.

{table}

A worker is one process on one core, of which {busy:.0%} are planned for. There are enough of them that after a restart of
everything all readers are live again within {back:.0f} s. More than one Redis core means as many primaries of a Cluster, over
which channels spread by their hash; a single channel stays on one.

## From these figures

- a delivered event: {shared} µs of a worker's CPU on a shared channel (F2), {single} µs on a channel with one reader (F3);
  {bytes} bytes
- an idle reader: {reader} KiB on a shared channel (F4), {own} KiB on a channel of its own (F4c); a worker without readers:
  {worker} MiB
- an append: {append} µs of Redis's CPU, and {fan_out} µs for each worker that has readers of the channel (F5)
- one worker takes back {back_rate} readers/s, each 100 events behind (F6)

## What grows how

- **Workers** share nothing but Redis: any reader can come back to any of them. Each holds one pub/sub connection per
  primary, whatever the number of its readers.
- **A broadcast** is carried by Redis once per worker, and by each worker once per reader. Its rate is bounded by the workers'
  writes; a burst costs far less per event, since what is pending leaves in one write (F1).
- **Many channels** spread over the primaries of a Cluster: three nodes, and a primary behind Sentinel, were measured with two
  workers each (S1–S3 in RESULTS.md).
- **A proxy** in front needs two connections per reader, and memory of its own for them.
"""


def markdown(results: Results) -> str:
    """Empty until everything was measured."""
    cost = costs(results)
    if cost is None:
        return ""
    rows: list[Sequence[str]] = []
    for load in LOADS:
        what = need(load, cost)
        rows.append(
            [load.title, f"{what.workers:,}", figure(what.memory_gib), figure(what.gbit), figure(what.redis_cores),
             f"{max(1, ceil(what.redis_cores))}", what.limit]
        )  # fmt: skip
    head = ["a million readers", "workers", "memory GiB", "network Gbit/s", "Redis cores", "primaries", "first limit"]
    return _TEXT.format(
        table=table(head, rows), busy=BUSY, back=BACK_SECONDS,
        shared=figure(cost.shared_us), single=figure(cost.single_us), bytes=figure(cost.event_bytes),
        reader=figure(cost.reader_kib), own=figure(cost.own_channel_kib), worker=figure(cost.worker_kib / 1024),
        append=figure(cost.append_us), fan_out=figure(cost.fan_out_us), back_rate=figure(cost.return_per_second),
    )  # fmt: skip
