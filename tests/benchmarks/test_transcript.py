"""The benchmark's own eyes: what it would report if a server lost, doubled or disordered events."""

from __future__ import annotations

import zlib

import pytest

from benchmarks.transcript import START, Reader, parse_frames, parse_http

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"


def frame(number: int, channel: int = 0, time: int = 1_000_000) -> bytes:
    return b'id: a-%d\ndata: {"t":%d,"n":%d,"c":%d,"p":"xx"}\n\n' % (number, time, number, channel)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def read(*portions: bytes, now: int = 3_000_000) -> Reader:
    reader = Reader()
    reader.read([(portion, now) for portion in portions])
    return reader


def test_every_event_is_seen_wherever_the_bytes_are_cut():
    stream = HEAD + chunk(b"retry: 2000\nevent: stream.open\ndata: {}\n\n" + frame(0)) + chunk(frame(1) + frame(2))
    whole = read(stream).finish()
    assert (whole.events, whole.missing, whole.doubles, whole.last_id) == (3, 0, 0, "a-2")
    for cut in range(1, len(stream)):
        for second in (cut + 1, cut + 7, len(stream)):
            parts = read(stream[:cut], stream[cut:second], stream[second:]).finish()
            assert (parts.events, parts.missing, parts.doubles) == (3, 0, 0), cut


def test_a_body_without_chunks_and_with_crlf():
    body = frame(0).replace(b"\n", b"\r\n") + frame(1).replace(b"\n", b"\r\n")
    for cut in range(1, len(body)):
        assert read(PLAIN + body[:cut], body[cut:]).finish().events == 2


@pytest.mark.parametrize(
    ("numbers", "events", "missing", "doubles"),
    [
        ([0, 1, 2, 3], 4, 0, 0),
        ([1, 2, 3], 3, 1, 0),  # the first is lost too
        ([0, 3], 2, 2, 0),
        ([0, 1, 1, 2], 3, 0, 1),
        ([0, 2, 1, 3], 3, 1, 1),  # a late one counts as lost and as double
        ([0, 1, 2, 0, 1, 2, 3], 4, 0, 3),
    ],
)
def test_loss_doubles_and_order(numbers: list[int], events: int, missing: int, doubles: int):
    for portions in ([PLAIN + b"".join(map(frame, numbers))], [PLAIN, *map(frame, numbers)]):
        totals = read(*portions).finish()
        assert (totals.events, totals.missing, totals.doubles) == (events, missing, doubles)


def test_channels_are_numbered_apart():
    totals = read(PLAIN + frame(0, 0) + frame(0, 1) + frame(1, 1) + frame(1, 0)).finish()
    assert (totals.events, totals.missing, totals.doubles) == (4, 0, 0)


def test_latency_runs_from_the_publish_to_the_arrival():
    reader = Reader()
    reader.read([(PLAIN + frame(0), 2_000_000), (frame(1), 101_000_000)])
    totals = reader.finish()
    assert totals.percentile_ms(0.5) == pytest.approx(1, abs=0.02)
    assert totals.percentile_ms(1) == pytest.approx(100, abs=0.02)


def test_an_incomplete_frame_is_no_event_and_refusals_count():
    assert read(PLAIN + frame(0)[:-1]).finish().events == 0
    assert read(b"HTTP/1.1 503 Unavailable\r\n\r\n").finish().refused == 1
    assert read(PLAIN + b"event: stream.gap\ndata: {}\n\n").finish().gaps == 1


def test_a_chunk_that_lies_about_its_length_is_broken():
    assert read(HEAD + b"5\r\nabcdefgh\r\n").finish().broken == 1
    assert read(HEAD + b"zz\r\n").finish().broken == 1


def test_a_reader_that_heard_nothing_shows():
    reader = Reader()
    reader.read([(PLAIN + frame(0), 1)])
    reader.read([(PLAIN, 1)])
    totals = reader.finish()
    assert (totals.fewest, totals.most) == (0, 1)


def test_an_event_that_two_chunks_share():
    state, part = parse_http(START, HEAD + chunk(frame(0)[:30]))
    incomplete, frames = parse_frames(b"", part.body)
    assert frames.times == ()
    _, part = parse_http(state, chunk(frame(0)[30:]))
    assert parse_frames(incomplete, part.body)[1].runs == ((0, 0, 0),)


def test_a_compressed_body_wherever_it_is_cut():
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    compress = zlib.compressobj(wbits=31)
    stream = head
    for number in range(3):
        stream += chunk(compress.compress(frame(number)) + compress.flush(zlib.Z_SYNC_FLUSH))
    for cut in range(1, len(stream)):
        assert read(stream[:cut], stream[cut:]).finish().events == 3
