"""The readers: thousands of SSE connections in one process, with epoll. `python -m benchmarks.load '{"port": …}'`.

While a run lasts it only receives and remembers: each portion of bytes is kept once, however many readers got it, with
the time of every arrival. What the bytes say is read when the run is over (transcript.py), so the checks cost no time
while latencies are measured.

stdout, one JSON line each: {"ready", "failed", "closed", "bytes"} ten times a second, then the result.
stdin: a line, or its end, ends the run.
"""

from __future__ import annotations

import errno
import json
import resource
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.transcript import Reader

PORTION_BYTES = 262_144
STATUS_SECONDS = 0.1


@dataclass
class Plan:
    """What to open.

    Attributes:
        port: on 127.0.0.1.
        paths: the connections' request targets, dealt out in turn.
        connections: how many.
        headers: further request header lines.
        at_once: connects in flight.
        silent_head: this server sends no response head before its first event, so a connection counts as ready
            when its request is sent.
    """

    port: int
    paths: list[str]
    connections: int
    headers: list[str] = field(default_factory=list)
    at_once: int = 64
    silent_head: bool = False


class Connection:
    __slots__ = ("portions", "ready", "request", "sent", "socket")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.sent = False
        self.ready = False
        self.portions: list[tuple[bytes, int]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Load:
    """All connections of a run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.began_ns = 0
        self.ready_ns = 0
        self.ready = self.failed = self.closed = self.bytes = 0
        self._epoll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._all: list[Connection] = []
        self._in_flight = 0
        self._buffer = bytearray(PORTION_BYTES)
        self._view = memoryview(self._buffer)
        self._known: dict[tuple[int, bytes], bytes] = {}
        self._alike = len(set(plan.paths)) < plan.connections  # several readers get the same bytes

    def run(self) -> dict[str, Any]:
        """Until stdin says so."""
        self.began_ns = time.monotonic_ns()
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        status_at = 0.0
        while True:
            while len(self._all) < self.plan.connections and self._in_flight < self.plan.at_once:
                self._connect()
            for number, _ in self._epoll.poll(STATUS_SECONDS, 1024):
                connection = self._open.get(number)
                if connection is None:
                    return self._result()
                if connection.sent:
                    self._receive(connection)
                else:
                    self._request(connection)
            if time.monotonic() >= status_at:
                status_at = time.monotonic() + STATUS_SECONDS
                _say({"ready": self.ready, "failed": self.failed, "closed": self.closed, "bytes": self.bytes})

    def _connect(self) -> None:
        plan = self.plan
        path = plan.paths[len(self._all) % len(plan.paths)]
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{plan.port}", "Accept: text/event-stream", *plan.headers]
        connection = Connection("\r\n".join([*lines, "", ""]).encode())
        self._all.append(connection)
        self._open[connection.socket.fileno()] = connection
        self._in_flight += 1
        if connection.socket.connect_ex(("127.0.0.1", plan.port)) not in (0, errno.EINPROGRESS):
            self._end(connection)
        else:
            self._epoll.register(connection.socket, select.EPOLLOUT)

    def _request(self, connection: Connection) -> None:
        try:
            connection.socket.send(connection.request)
        except OSError:
            self._end(connection)
            return
        connection.sent = True
        self._epoll.modify(connection.socket, select.EPOLLIN)
        if self.plan.silent_head:
            self._is_ready(connection)

    def _is_ready(self, connection: Connection) -> None:
        connection.ready = True
        self.ready += 1
        self._in_flight -= 1
        self.ready_ns = time.monotonic_ns()

    def _receive(self, connection: Connection) -> None:
        try:
            size = connection.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._end(connection)
            return
        now = time.monotonic_ns()
        self.bytes += size
        connection.portions.append((self._once(size) if self._alike else bytes(self._view[:size]), now))
        if not connection.ready:
            self._is_ready(connection)

    def _once(self, size: int) -> bytes:
        """What has arrived, as the one object that there is of it."""
        # 320 bytes hold at least one mark; `startswith` on the buffer compares without a copy
        key = (size, bytes(self._view[: min(size, 320)]))
        data = self._known.get(key)
        if data is None or not self._buffer.startswith(data):
            data = self._known[key] = bytes(self._view[:size])
        return data

    def _end(self, connection: Connection) -> None:
        del self._open[connection.socket.fileno()]
        connection.socket.close()
        if connection.ready:
            self.closed += 1
        else:
            self.failed += 1
            self._in_flight -= 1

    def _result(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        reader = Reader()
        for connection in self._all:
            reader.read(connection.portions)
        totals = reader.finish()
        result = asdict(totals)
        del result["latencies"]
        return {
            "result": True, "ready": self.ready, "failed": self.failed, "closed": self.closed, "bytes": self.bytes,
            "began_ns": self.began_ns, "ready_ns": self.ready_ns, **result,
            "p50_ms": totals.percentile_ms(0.5), "p99_ms": totals.percentile_ms(0.99),
            "max_ms": totals.percentile_ms(1), "client_cpu_seconds": usage.ru_utime + usage.ru_stime,
        }  # fmt: skip


def _say(status: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(status) + "\n")
    sys.stdout.flush()


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if plan.connections + 100 > most:
        sys.exit(f"{plan.connections} connections need as many open files; the limit is {most}: ulimit -n")
    _say(Load(plan).run())


if __name__ == "__main__":
    main()
