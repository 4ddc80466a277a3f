"""What is measured: shapes of work, with JSON events of 200 bytes and one worker.

F1    burst: 1 channel, 1,000 readers, 1,000 events as fast as one sync process publishes
F1s   sustained: the highest rate for those readers without a loss and with p99 at most 100 ms
F2    steady: 1,000 readers, 20 events/s
F3    tokens: 500 channels with one reader each, 15,000 events/s in all
F4    idle: memory per connection; F4x with 10,000, F4c with a channel for each
F5    publish: what a publisher pays; no readers
F6    resume storm: 5,000 readers at once, each 100 events behind
F7    F1–F3 on gevent and threads, 500 readers
F8    F2 and F4 for Django and Flask views that hand their stream off
F9    1,000 readers of 10 channels each, with a filter that hides some events
F10   F2 with 2 kB events and gzip, and without gzip; F10.3: F3 with gzip, whose events are too short for it
S     F1–F3 with two workers, on a Redis Cluster of three nodes and behind Sentinel
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    """One kind of run.

    Attributes:
        name: the row it belongs to.
        kind: which function of trial.py runs it: deliver, sustain, idle, storm or publish.
        readers, channels: connections, and over how many channels they are dealt out.
        per_reader: channels on each connection.
        rate: events per second over all channels; 0: as fast as possible.
        seconds: how long; with rate 0, `events` counts instead.
        size: bytes of data per event.
        hidden: every sixth event is one that the filter hides.
        rounds: how often, in alternation with the other servers.
    """

    name: str
    kind: str = "deliver"
    readers: int = 1000
    channels: int = 1
    per_reader: int = 1
    events: int = 0
    rate: float = 0
    seconds: float = 0
    hidden: bool = False
    size: int = 200
    rounds: int = 3

    @property
    def published(self) -> int:
        return self.events or int(self.rate * self.seconds)

    @property
    def delivered(self) -> int:
        """Events over all readers: every reader gets those of its channels."""
        return self.published * self.readers * self.per_reader // self.channels

    def scaled(self, scale: float) -> Shape:
        """A smaller one, to try the harness."""
        return replace(
            self,
            readers=max(10, int(self.readers * scale)),
            channels=max(10, int(self.channels * scale)) if self.channels > 10 else self.channels,
            events=int(self.events * scale),
            rate=self.rate * scale if self.channels > 10 else self.rate,
            seconds=min(self.seconds, max(1.0, self.seconds * scale)),
            rounds=1,
        )


_F1 = Shape("F1", events=1000)
_F2 = Shape("F2", rate=20, seconds=15)
_F3 = Shape("F3", readers=500, channels=500, rate=15_000, seconds=10)
_SMALL = {"readers": 500}

# by name, which servers run it and how
SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        _F1,
        Shape("F1s", "sustain", seconds=5),
        _F2,
        _F3,
        Shape("F4", "idle", readers=5000, rounds=1),
        Shape("F4x", "idle", readers=10_000, rounds=1),
        Shape("F4c", "idle", readers=5000, channels=5000, rounds=1),
        Shape("F5", "publish"),
        Shape("F6", "storm", readers=5000, events=100),
        replace(_F1, name="F7.1", **_SMALL),
        replace(_F2, name="F7.2", **_SMALL),
        replace(_F3, name="F7.3", rounds=1),
        replace(_F2, name="F9", channels=10, per_reader=10, hidden=True),
        replace(_F2, name="F10", size=2000),
        replace(_F3, name="F10.3", rounds=1),
        replace(_F1, name="S1", rounds=1),
        replace(_F2, name="S2", rounds=1),
        replace(_F3, name="S3", rounds=1),
    )
}

PEERS = ("better-sse", "litestar", "sse-starlette", "django-eventstream", "flask-sse")
GEVENT = ("ours-gevent", "ours-gthread", "flask-sse")
HANDOFF = ("ours-django", "ours-flask")
SCALED_OUT = ("ours-cluster", "ours-sentinel")

# In this order in every round. nchan and the raw floor are the anchors, so they are never left out.
PLAN: dict[str, tuple[str, ...]] = {
    "F1": ("ours", "raw", "nchan", *PEERS),
    "F1s": ("ours", "raw", "nchan", *PEERS),
    "F2": ("ours", *HANDOFF, "raw", "nchan", *PEERS),
    "F3": ("ours", "raw", "nchan", *PEERS),
    "F4": ("ours", *HANDOFF, "raw", "nchan", *PEERS),
    "F4x": ("ours", "raw", "nchan"),
    "F4c": ("ours",),
    "F5": ("ours",),
    "F6": ("ours", "raw"),
    "F7.1": GEVENT,
    "F7.2": GEVENT,
    "F7.3": GEVENT,
    "F9": ("ours",),
    "F10": ("ours-gzip", "ours"),
    "F10.3": ("ours-gzip",),
    "S1": SCALED_OUT,
    "S2": SCALED_OUT,
    "S3": SCALED_OUT,
}
