"""What a connection received, read strictly: HTTP/1.1 chunks, SSE frames, and the marks of our events. No I/O.

Every event carries ``"t":<nanoseconds>,"n":<number>,"c":<channel>`` in its data: when it was published, and the how
manieth of its channel it is, from 0. Loss, doubles and order follow from the numbers, latency from the time.

A thousand readers of a channel receive mostly the same bytes in mostly the same portions. So both parsers, of HTTP and
of SSE, are functions of (state, bytes), and each pair is parsed once: that is what lets Python check millions of events
per second of a run. Between them a gzip body is inflated, for each connection by itself, as its client would.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

MARK = re.compile(rb'^data:.*?"t": ?(\d+), ?"n": ?(\d+), ?"c": ?(\d+)', re.MULTILINE)
_ID = re.compile(rb"^id: ?(.+)$", re.MULTILINE)
_HEAD, _SIZE, _CHUNK, _CRLF, _PLAIN, _OVER = range(6)

LATENCY_STEP_NS = 10_000  # latencies are counted in steps of this


class State(NamedTuple):
    """Where the parser of a response stands between two portions.

    Attributes:
        phase: one of the constants above.
        left: bytes that are left of the chunk.
        line: an incomplete head or chunk size.
    """

    phase: int = _HEAD
    left: int = 0
    line: bytes = b""


START = State()


class Part(NamedTuple):
    """What a portion of bytes held of the response.

    Attributes:
        body: without the chunks' frames.
        status: when its head ended here.
        gzip: likewise: the body is compressed.
        broken: it is no valid chunked encoding.
    """

    body: bytes = b""
    status: int = 0
    gzip: bool = False
    broken: bool = False


class Frames(NamedTuple):
    """What a portion of a body completed.

    Attributes:
        times: when its events were published.
        runs: (channel, first number, last number) of events in a row.
        gaps: how many stream.gap events it held.
        id: the last id line.
    """

    times: tuple[int, ...]
    runs: tuple[tuple[int, int, int], ...]
    gaps: int
    id: bytes


def parse_http(state: State, data: bytes) -> tuple[State, Part]:
    """The next state, and what `data` held of the response."""
    phase, left, line = state
    status, gzip = 0, False
    body: list[bytes] = []
    at, end = 0, len(data)
    if phase == _HEAD:
        whole = line + data
        head, found, data = whole.partition(b"\r\n\r\n")
        if not found:
            return State(_HEAD, 0, whole), Part()
        status = int(head.split(None, 2)[1])
        head = head.lower()
        gzip = b"\r\ncontent-encoding: gzip" in head
        phase, line, end = _SIZE if b"\r\ntransfer-encoding: chunked" in head else _PLAIN, b"", len(data)
    while at < end and phase != _OVER:
        if phase == _CHUNK:
            body.append(data[at : at + left])
            taken = len(body[-1])
            at += taken
            left -= taken
            if not left:
                phase = _CRLF
        elif phase == _PLAIN:
            body.append(data[at:])
            at = end
        else:  # a line: the chunk's size, or the line break behind it
            stop = data.find(b"\n", at)
            if stop < 0:
                line += data[at:]
                break
            line += data[at:stop]
            at = stop + 1
            size = _size(phase, line)
            if size < 0:
                return State(_OVER), Part(b"".join(body), status, gzip, broken=True)
            if phase == _CRLF:
                phase = _SIZE
            else:
                left, phase = size, _CHUNK if size else _OVER
            line = b""
    return State(phase, left, line), Part(b"".join(body), status, gzip)


def _size(phase: int, line: bytes) -> int:
    """Of the chunk that a line announces, 0 for the line break behind one; -1 if it is neither."""
    if phase == _CRLF:
        return 0 if line == b"\r" else -1
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        return -1


def parse_frames(before: bytes, body: bytes) -> tuple[bytes, Frames]:
    """The incomplete frame that is left, and the marks of those that ended, after the incomplete one `before`."""
    text = before + body
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")  # a \r at the end finds its \n in the next portion
    whole, end, rest = text.rpartition(b"\n\n")
    whole += end
    times: list[int] = []
    runs: list[list[int]] = []
    latest: dict[int, list[int]] = {}
    for mark in MARK.findall(whole):
        time, number, channel = map(int, mark)
        times.append(time)
        run = latest.get(channel)
        if run is not None and number == run[2] + 1:
            run[2] = number
        else:
            latest[channel] = run = [channel, number, number]
            runs.append(run)
    ids = _ID.findall(whole)
    in_a_row = tuple((channel, first, last) for channel, first, last in runs)
    return rest, Frames(tuple(times), in_a_row, whole.count(b"event: stream.gap"), ids[-1] if ids else b"")


@dataclass
class Totals:
    """All connections of one run.

    Attributes:
        events: different events, over all connections.
        doubles: events that came again, or behind a later one.
        missing: numbers that were skipped.
        gaps: stream.gap events.
        refused: responses other than 200.
        broken: connections whose chunks made no sense.
        fewest, most: events of one connection.
        first_ns, last_ns: when the first and the last event arrived.
        latencies: how many events took so many `LATENCY_STEP_NS`.
    """

    events: int = 0
    doubles: int = 0
    missing: int = 0
    gaps: int = 0
    refused: int = 0
    broken: int = 0
    fewest: int = 0
    most: int = 0
    first_ns: int = 0
    last_ns: int = 0
    last_id: str = ""
    latencies: Counter[int] = field(default_factory=Counter)

    def percentile_ms(self, share: float) -> float:
        """The latency that `share` (0 to 1) of all events did not exceed."""
        wanted = share * sum(self.latencies.values())
        seen = 0
        for step in sorted(self.latencies):
            seen += self.latencies[step]
            if seen >= wanted:
                return (step + 0.5) * LATENCY_STEP_NS / 1e6
        return 0.0


class Reader:
    """Reads the transcripts of all connections of a run."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._parts: dict[tuple[State, bytes], tuple[State, Part]] = {}
        self._frames: dict[tuple[bytes, bytes], tuple[bytes, Frames]] = {}
        self._counts: list[int] = []

    def read(self, portions: list[tuple[bytes, int]]) -> None:
        """One connection: (bytes, arrival in nanoseconds), in order. Equal bytes should be the same object."""
        totals = self.totals
        state, incomplete, events = START, b"", 0
        inflate: zlib._Decompress | None = None
        following: dict[int, int] = {}
        for data, now in portions:
            parsed = self._parts.get((state, data))
            if parsed is None:
                parsed = self._parts[state, data] = parse_http(state, data)
            state, part = parsed
            body = part.body
            if part.status not in (0, 200):
                totals.refused += 1
            if part.gzip:
                inflate = zlib.decompressobj(wbits=31)
            totals.broken += part.broken
            if inflate is not None:
                body = inflate.decompress(body)
            known = self._frames.get((incomplete, body))
            if known is None:
                known = self._frames[incomplete, body] = parse_frames(incomplete, body)
            incomplete, frames = known
            totals.gaps += frames.gaps
            if frames.id:
                totals.last_id = frames.id.decode()
            if not frames.times:
                continue
            totals.latencies.update([(now - time) // LATENCY_STEP_NS for time in frames.times])
            totals.first_ns = min(totals.first_ns or now, now)
            totals.last_ns = max(totals.last_ns, now)
            for channel, first, last in frames.runs:
                expected = following.get(channel, 0)
                totals.missing += max(0, first - expected)
                fresh = max(0, last - max(first, expected) + 1)
                events += fresh
                totals.doubles += last - first + 1 - fresh
                following[channel] = max(expected, last + 1)
        self._counts.append(events)

    def finish(self) -> Totals:
        """The sum."""
        self.totals.events = sum(self._counts)
        self.totals.fewest, self.totals.most = min(self._counts, default=0), max(self._counts, default=0)
        return self.totals
