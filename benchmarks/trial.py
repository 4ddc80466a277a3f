"""One run of one shape against one server: start everything, wait until it is quiet, publish, wait again, count.

The server has a core of its own; the readers, the publisher and Redis share the other one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import load, machine, publish
from benchmarks.brokers import Broker, broker
from benchmarks.servers import Server, running
from benchmarks.shapes import Shape
from benchmarks.talk import Child
from tests.support.process import Process

QUIET_SECONDS = 0.4
QUIET_LOOKS = 5  # in a row: on a loaded machine a server may get no core for longer than one of them
PATIENCE_SECONDS = 120.0  # better-sse delivers for seconds after the last event, sse-starlette for half a minute
P99_LIMIT_MS = 100.0  # of F1s
RATES = (10.0, 8000.0)  # of F1s: where the search begins, and ends

Record = dict[str, Any]


@dataclass
class Stage:
    """A server with its broker, up and waiting."""

    server: Server
    process: Process
    port: int
    broker: Broker
    core: int
    server_core: int

    def cpu(self) -> float:
        return machine.cpu_seconds(self.process.pid)

    def memory(self) -> int:
        return machine.memory_kib(self.process.pid)

    def settle(self, seconds: float = 30) -> None:
        """Returns when the server does nothing: it has served the last connection, or written the last byte."""
        self._quiet(0.04, seconds, self.process.pid)

    def _quiet(self, share: float, seconds: float, *pids: int, seen: Callable[[], Any] = lambda: None) -> None:
        """Until the server uses at most so much of a core, no process wants one, and what is `seen` stays the same."""
        deadline = time.monotonic() + seconds
        before = (self.cpu(), seen())
        while time.monotonic() < deadline:
            wanted = 0
            for _ in range(QUIET_LOOKS):
                time.sleep(QUIET_SECONDS / QUIET_LOOKS)
                wanted += any(map(machine.wants_core, pids))
            now = (self.cpu(), seen())
            used = now[0] - before[0] - machine.TICK_SECONDS
            if used <= share * QUIET_SECONDS and now[1] == before[1] and wanted <= QUIET_LOOKS // 4:
                return
            before = now

    @contextmanager
    def readers(self, count: int, paths: list[str], **options: Any) -> Iterator[Child]:
        """Connections, all of them ready; the process is told to end at the end of the block."""
        server = self.server
        headers = [*server.headers, *options.pop("headers", ())]
        plan = load.Plan(self.port, paths, count, headers, silent_head=server.silent_head, **options)
        with machine.pinned(self.core):
            child = Child("benchmarks.load", asdict(plan))
        try:
            child.until(lambda status: status["ready"] + status["failed"] >= count, PATIENCE_SECONDS)
            yield child
        finally:
            child.kill()

    @contextmanager
    def publisher(self, **plan: Any) -> Iterator[Child]:
        url = f"http://127.0.0.1:{self.port}" if self.server.publish == "http" else self.broker.url
        with machine.pinned(self.core):
            child = Child("benchmarks.publish", asdict(publish.Plan(self.server.publish, url, **plan)))
        try:
            child.expect("READY")
            yield child
        finally:
            child.kill()

    def finish(self, child: Child) -> Record:
        """Waits until nothing arrives and all who take part are quiet, and returns the readers' result."""
        pids = (self.process.pid, *self.broker.pids, child.pid)
        self._quiet(0.2, PATIENCE_SECONDS, *pids, seen=lambda: child.latest()["bytes"])
        return child.result()


@contextmanager
def stage(server: Server, python: str) -> Iterator[Stage]:
    """A fresh server and a fresh, empty broker."""
    own, other = machine.cores()
    with ExitStack() as stack:
        with machine.pinned(other):
            brokers = stack.enter_context(broker(server.broker))
        with machine.pinned(own):
            process, port = stack.enter_context(running(server, python, brokers.url))
        yield Stage(server, process, port, brokers, other, own)


def deliver(server: Server, python: str, shape: Shape) -> Record:
    """F1, F2, F3 and their kin: readers, then events, then what it cost."""
    with stage(server, python) as here:
        paths = server.paths(shape.channels, shape.per_reader)
        with here.readers(shape.readers, paths) as readers:
            here.settle()
            return _deliver(here, shape, readers)


def _deliver(here: Stage, shape: Shape, readers: Child) -> Record:
    work = {"events": shape.published, "rate": shape.rate, "channels": shape.channels, "size": shape.size}
    with here.publisher(**work, hidden=shape.hidden) as publisher:
        here.settle(5)
        memory, cpu, core, began = (
            here.memory(),
            here.cpu(),
            machine.core_seconds(here.server_core),
            time.monotonic_ns(),
        )
        publisher.tell()
        published = publisher.result()
        result = here.finish(readers)
        used = here.cpu() - cpu
        foreign = machine.core_seconds(here.server_core) - core - used
        lasted = (time.monotonic_ns() - began) / 1e9
    wall = max(1e-9, (result["last_ns"] - began) / 1e9)
    return {
        **result,
        "expected": shape.delivered,
        "lost": shape.delivered - result["events"],
        "cpu_us": used / max(1, result["events"]) * 1e6,
        "per_second": result["events"] / wall,
        "publish_rate": published["published"] / published["seconds"],
        "foreign": max(0.0, foreign / lasted),  # the share of the server's core that others took
        "grown_kib": here.memory() - memory,
    }


def sustain(server: Server, python: str, shape: Shape) -> Record:
    """F1s: doubles the rate until it fails twice (once may be the machine's fault), then halves the interval three times."""
    best: Record = {"rate": 0.0, "per_second": 0.0, "lost": 0}
    tried: list[Record] = []
    with stage(server, python) as here:

        def holds(rate: float) -> bool:
            return attempt(rate) or attempt(rate)

        def attempt(rate: float) -> bool:
            nonlocal best
            run = Shape(shape.name, readers=shape.readers, rate=rate, seconds=shape.seconds)
            # a channel of its own for every try would need other paths; a fresh set of readers starts at "now" as well
            with here.readers(run.readers, server.paths(1)) as readers:
                here.settle()
                record = _deliver(here, run, readers)
            good = not record["lost"] and record["p99_ms"] <= P99_LIMIT_MS and record["publish_rate"] >= 0.97 * rate
            tried.append(
                {
                    "rate": rate,
                    "good": good,
                    **{k: record[k] for k in ("lost", "p99_ms", "publish_rate", "client_cpu_seconds")},
                }
            )
            if good and rate > best["rate"]:
                best = {**record, "rate": rate}
            return good

        low, high = 0.0, RATES[0] * (16 if server.ours else 1)
        while high <= RATES[1] and holds(high):
            low, high = high, high * 2
        for _ in range(3):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
    return {**best, "tried": tried}


def idle(server: Server, python: str, shape: Shape) -> Record:
    """F4: what the process grows by, per connection."""
    with stage(server, python) as here:
        # the first ones pay for imports and pools
        with here.readers(50, server.paths(min(shape.channels, 50))):
            here.settle()
        before = here.memory()
        with here.readers(shape.readers, server.paths(shape.channels)) as readers:
            here.settle()
            grown = here.memory() - before
            cpu = here.cpu()
            time.sleep(2)
            idle_cpu = (here.cpu() - cpu) / 2
            ready = readers.latest()["ready"]
            readers.result()
    return {
        "kib": grown / max(1, ready),
        "base_kib": before,
        "ready": ready,
        "lost": shape.readers - ready,
        "idle_cpu": idle_cpu,
    }


def storm(server: Server, python: str, shape: Shape) -> Record:
    """F6: everybody comes back at once, `events` behind. For the floor, which has no replay: everybody connects."""
    with stage(server, python) as here:
        paths = server.paths(1)
        headers: list[str] = []
        if server.ours:
            with here.readers(1, paths) as first:
                headers = [f"Last-Event-ID: {first.result()['last_id']}"]
            with here.publisher(events=shape.events) as publisher:
                publisher.tell()
                publisher.result()
        here.settle()
        cpu = here.cpu()
        with here.readers(shape.readers, paths, headers=headers, at_once=1000) as readers:
            result = here.finish(readers)
        used = here.cpu() - cpu
    expected = shape.readers * shape.events if server.ours else 0
    connected = (result["ready_ns"] - result["began_ns"]) / 1e9
    live = (max(result["last_ns"], result["ready_ns"]) - result["began_ns"]) / 1e9
    return {
        **result, "connect_seconds": connected, "live_seconds": live, "expected": expected,
        "lost": expected - result["events"] + shape.readers - result["ready"], "cpu_seconds": used,
    }  # fmt: skip


def publishing(server: Server, python: str, shape: Shape) -> Record:
    """F5: in a process of its own, with the server's core for itself."""
    own, other = machine.cores()
    with ExitStack() as stack:
        with machine.pinned(other):
            url = stack.enter_context(broker(server.broker)).url
        with machine.pinned(own):
            child = Child("benchmarks.publishing", {"url": url})
        try:
            return {**child.result(), "lost": 0}
        finally:
            child.kill()


KINDS = {"deliver": deliver, "sustain": sustain, "idle": idle, "storm": storm, "publish": publishing}


def run(server: Server, shape: Shape, peers_python: str) -> Record:
    """One run; a failure is a record too, since peers do fail."""
    python = peers_python if server.peer else sys.executable
    try:
        record = KINDS[shape.kind](server, python, shape)
    except (AssertionError, OSError, ValueError, json.JSONDecodeError) as error:
        record = {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"shape": shape.name, "server": server.name, "load_average": machine.load_average(), **record}
