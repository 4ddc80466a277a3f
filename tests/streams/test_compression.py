"""Codings of a stream: their bytes against zlib, brotli and zstandard; who gets which; one compression for all readers."""

from __future__ import annotations

import asyncio
import random
import threading
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.config import Settings
from sse_bridge.streams import StreamRequest, send_stream, stream_channels
from sse_bridge.streams.http import compression as module
from sse_bridge.streams.http.compression import SharedBlocks, SharedGzip, choose, coding_for
from sse_bridge.streams.http.compressors import OwnContext
from sse_bridge.wire import SSE_FORMAT
from tests.support.sse_parser import parse
from tests.support.wait import await_for


def gunzip(data: bytes) -> bytes:
    """The whole of exactly one complete member, CRC and length checked."""
    decoder = zlib.decompressobj(31)
    found = decoder.decompress(data)
    assert decoder.eof
    assert not decoder.unused_data
    return found


def text(size: int, seed: int = 0) -> bytes:
    """An SSE frame of about `size` bytes, as shops send them."""
    chance = random.Random(seed)
    items = ""
    while len(items) < size - 90:
        items += f'{{"sku":"SKU-{chance.randrange(10**6)}","quantity":{chance.randrange(9)},"note":"{chance.choice(["gift", ""])}"}},'
    return b'id: k3J9xQ-1042-h2Kd81Qz.p0aZ\nevent: order.paid\ndata: {"items":[%b]}\n\n' % items.encode()


payloads = st.one_of(
    st.sampled_from([b":\n", text(300), text(2000), text(70_000), b"x" * 200_000]),
    st.binary(min_size=1, max_size=3000),
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 99), st.integers(1, 140_000)),
)


@given(st.lists(payloads, min_size=1, max_size=8), st.integers(1, 9), st.sampled_from([0, 512, 10**6]))
def test_what_has_arrived_can_be_decoded(pieces: list[bytes], level: int, threshold: int) -> None:
    coding = SharedGzip(SharedBlocks(level, threshold))
    decoder = zlib.decompressobj(31)
    for piece in pieces:
        assert decoder.decompress(coding.encode(piece)) == piece
    assert not decoder.eof
    assert decoder.decompress(coding.end()) == b""
    assert decoder.eof
    assert not decoder.unused_data
    assert coding.end() == b""


@given(st.lists(payloads, min_size=1, max_size=6), st.data())
def test_any_chunking_on_the_way(pieces: list[bytes], data: st.DataObject) -> None:
    coding = SharedGzip(SharedBlocks(6, 512))
    whole = b"".join([*map(coding.encode, pieces), coding.end()])
    decoder = zlib.decompressobj(31)
    found = b""
    while whole:
        cut = data.draw(st.integers(1, min(len(whole), 40_000)))
        found += decoder.decompress(whole[:cut])
        whole = whole[cut:]
    assert decoder.eof
    assert found == b"".join(pieces)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30))
def test_streams_that_share_blocks_in_any_order(writes: list[tuple[int, int]]) -> None:
    shared = SharedBlocks(6, 512)
    some = [text(2000, seed) for seed in range(6)]
    streams = [(SharedGzip(shared), [], []) for _ in range(4)]
    for number, which in writes:
        coding, sent, encoded = streams[number]
        sent.append(some[which])
        encoded.append(coding.encode(some[which]))
    for coding, sent, encoded in streams:
        last = coding.end()
        assert bool(last) == bool(sent)
        if sent:
            assert gunzip(b"".join([*encoded, last])) == b"".join(sent)


def test_no_block_refers_to_another_payload() -> None:
    shared = SharedBlocks(6, 0)
    sizes = {len(shared.blocks(bytes([*text(2000)]))) for _ in range(3)}
    assert len(sizes) == 1
    for seed in range(3):
        assert zlib.decompressobj(-15).decompress(shared.blocks(text(2000, seed))) == text(2000, seed)


def test_below_the_threshold_the_text_is_there() -> None:
    shared = SharedBlocks(6, 512)
    short = text(300)
    assert len(short) < 512
    assert short in shared.blocks(short)
    assert shared.blocks(b":\n") == b"\0\x02\x00\xfd\xff:\n"


def test_the_same_event_behind_another_id_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    shared = SharedBlocks(6, 512)
    event = text(2000)
    body = event[event.index(b"\n") + 1 :]
    for number in range(50):
        frame = b"id: %d\n%b" % (number, body)
        assert zlib.decompressobj(-15).decompress(shared.blocks(frame)) == frame
    assert len(calls) == 1


def test_what_is_remembered_is_bounded() -> None:
    shared = SharedBlocks(1, 0)
    for seed in range(60):
        shared.blocks(random.Random(seed).randbytes(100_000))
    assert shared._bytes <= 4 * 2**20
    assert shared._bytes == sum(len(data) + len(blocks) for data, blocks in shared._known.items())
    huge = random.Random(99).randbytes(5 * 2**20)
    assert zlib.decompressobj(-15).decompress(shared.blocks(huge)) == huge
    assert shared._bytes == 0


def test_threads_that_come_for_the_same_event(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch)
    shared = SharedBlocks(9, 0)
    events = [random.Random(seed).randbytes(300_000).hex().encode() for seed in range(3)]
    start = threading.Barrier(8)
    found: list[list[bytes]] = []

    def read() -> None:
        start.wait()
        found.append([shared.blocks(event) for event in events])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 3
    assert len(found) == 8
    assert all(blocks == found[0] for blocks in found)


DECODERS: dict[str, Any] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: __import__("brotli").Decompressor().process,
    "zstd": lambda: __import__("zstandard").ZstdDecompressor().decompressobj().decompress,
}


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_context_per_connection(name: str) -> None:
    coding = coding_for(Settings(compression="per_connection"), name)
    assert isinstance(coding, OwnContext)
    assert coding.name == name
    decode, sizes = DECODERS[name](), []
    for seed in range(5):
        for piece in (text(2000, seed), b":\n"):
            encoded = coding.encode(piece)
            assert decode(encoded) == piece
            sizes.append(len(encoded))
    assert sizes[8] < 0.8 * sizes[0]  # it remembers what events look like
    decode(coding.end())
    assert coding.end() == b""
    assert OwnContext(name, lambda: pytest.fail("made for nothing")).end() == b""


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("GZIP;Q=1.0", "gzip"),
        ("*", "zstd"),
        ("*;q=0.1, zstd;q=0", "br"),
        ("br;q=0.5, gzip;q=0.9 , zstd;q=0.2", "gzip"),
        ("gzip;q=0, identity", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("deflate", None),
        ("gzip;q=0.5, identity;q=0.8", None),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("*;q=0", None),
        ("identity;q=0, compress", None),
        ("gzip;q=7, br;q=0.1", "br"),
        (",;,gzip;level=9,gzip;q=nan,q=1", None),
    ],
)
def test_what_the_header_wants(header: str, name: str | None) -> None:
    assert choose(("zstd", "br", "gzip"), header) == name


def test_nobody_is_compressed_unasked() -> None:
    assert coding_for(Settings(compression="none"), "gzip") is None
    for header in ("", "br"):
        assert coding_for(Settings(compression="gzip"), header) is None


@pytest.mark.parametrize(
    ("request_", "compression", "headers"),
    [
        (StreamRequest(accept_encoding="gzip"), "gzip", {"Content-Encoding": "gzip", "Vary": "Accept, Accept-Encoding"}),
        (StreamRequest(accept_encoding="br"), "gzip", {"Content-Encoding": None, "Vary": "Accept, Accept-Encoding"}),
        (StreamRequest(accept_encoding="gzip"), "none", {"Content-Encoding": None, "Vary": "Accept"}),
    ],
)  # fmt: skip
def test_headers(request_: StreamRequest, compression: Any, headers: dict[str, str | None]) -> None:
    with Bridge("memory://", compression=compression) as bridge:
        found = dict(stream_channels(bridge, "a", request_).headers)
        assert {name: found.get(name) for name in headers} == headers
        formed = dict(stream_channels(bridge, "a", request_, format=SSE_FORMAT).headers)
        assert formed.get("Vary") == (None if compression == "none" else "Accept-Encoding")


def test_a_sync_body() -> None:
    with Bridge("memory://", compression="gzip", heartbeat_seconds=0.1) as bridge:
        bridge.publish("a", "x" * 3000)
        response = stream_channels(bridge, "a", StreamRequest(start="earliest", accept_encoding="gzip"))
        assert response.bodies is not None
        body = response.bodies.sync_body()
        decoder = zlib.decompressobj(31)
        found = decoder.decompress(next(body))
        while b":\n" not in found.split(b"\n\n")[-1]:
            found += decoder.decompress(next(body))
        bridge.close_channel("a", reason="completed")
        for piece in body:
            found += decoder.decompress(piece)
        body.close()
        assert decoder.eof
        assert [frame.event for frame in parse(found)] == ["stream.open", "message", "stream.end"]
        left = stream_channels(bridge, "a", StreamRequest(start="earliest", accept_encoding="gzip")).bodies
        assert left is not None
        body = left.sync_body()
        next(body)
        body.close()
        assert list(body) == []


async def test_an_async_body() -> None:
    async with Bridge("memory://", compression="gzip") as bridge:
        await bridge.apublish("a", "x" * 3000)
        await bridge.aclose_channel("a")
        response = stream_channels(bridge, "a", StreamRequest(start="earliest", accept_encoding="gzip"))
        assert response.bodies is not None
        body = response.bodies.async_body()
        found = gunzip(b"".join([piece async for piece in body]))
        assert [frame.event for frame in parse(found)] == ["stream.open", "message", "stream.end"]
        await body.aclose()


class Client:
    """One request as an ASGI server runs it."""

    def __init__(self, bridge: Bridge, encoding: str | None = "gzip", channels: Any = "a") -> None:
        self.start: dict[str, Any] = {}
        self.pieces: list[bytes] = []
        self.gone = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.decoder = zlib.decompressobj(31) if encoding else None
        self.text = b""
        response = stream_channels(bridge, channels, StreamRequest(accept_encoding=encoding))
        self.task = asyncio.create_task(send_stream(response, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = dict(message["headers"])
            return
        piece = message["body"]
        self.pieces.append(piece)
        self.text += self.decoder.decompress(piece) if self.decoder else piece
        await self.room.wait()

    @property
    def frames(self) -> list[Any]:
        return parse(self.text.replace(b":\n", b""))

    @property
    def data(self) -> list[str]:
        return [frame.data for frame in self.frames if frame.event == "message"]

    async def opened(self) -> Client:
        await await_for(lambda: b"stream.open" in self.text)
        return self

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, 60)
        if self.decoder:
            assert gunzip(b"".join(self.pieces)) == self.text


async def test_compressed_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    module._shared_blocks.cache_clear()
    calls = count_calls(monkeypatch)
    async with Bridge("memory://", compression="gzip") as bridge:
        same = [await Client(bridge).opened() for _ in range(100)]
        plain = await Client(bridge, None).opened()
        others = [await Client(bridge, channels=["a", f"user:{number}"]).opened() for number in range(20)]
        assert same[0].start[b"content-encoding"] == b"gzip"
        assert plain.start[b"content-encoding"] == b"identity"
        await await_for(lambda: len(bridge.loop_hub().shared_readers.members()) == 121)
        for number in range(5):
            await bridge.apublish("a", f"{number}" * 2000)
            await await_for(lambda: all(len(one.data) == number + 1 for one in [*same, plain, *others]))  # noqa: B023
        assert len({one.pieces[-1] for one in same}) == 1
        assert len(calls) == 5
        await bridge.aclose_channel("a")
        for one in [*same, plain]:
            await one.ended()
            assert one.frames[-1].event == "stream.end"
        for one in others:
            one.gone.set()
            await one.task


async def test_heartbeats_flow_control_and_a_drain() -> None:
    async with Bridge("memory://", compression="gzip", heartbeat_seconds=0.1, window_bytes=8192) as bridge:
        clients = [await Client(bridge).opened() for _ in range(3)]
        chance = random.Random(7)
        for number in range(200):
            await bridge.apublish("a", f"{number:04}" + "y" * chance.choice([0, 100, 1500]))
            one = chance.choice(clients)
            one.room.clear() if chance.random() < 0.4 else one.room.set()
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        for one in clients:
            one.room.set()
            await await_for(lambda one=one: len(one.data) == 200)
            assert [data[1:5] for data in one.data] == [f"{number:04}" for number in range(200)]
        await await_for(lambda: all(one.text.endswith(b":\n") for one in clients))
        bridge.streams.begin_drain(0.0)
        for one in clients:
            await one.ended()
            assert one.frames[-1].data == '{"reason":"drain"}'


async def test_a_context_per_connection_when_pushed() -> None:
    async with Bridge("memory://", compression="per_connection") as bridge:
        clients = [await Client(bridge).opened() for _ in range(3)]
        for number in range(5):
            await bridge.apublish("a", f"{number}" * 2000)
        await bridge.aclose_channel("a")
        for one in clients:
            await one.ended()
            assert len(one.data) == 5


async def test_head_only() -> None:
    async with Bridge("memory://", compression="gzip") as bridge:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        response = stream_channels(bridge, "a", StreamRequest(accept_encoding="gzip"))
        await send_stream(response, None, send, head_only=True)  # type: ignore[arg-type]
        assert [message.get("body") for message in sent] == [None, b""]
        await bridge.aclose_channel("a")
        end = await last_id(bridge)
        ended = stream_channels(bridge, "a", StreamRequest(last_event_id=end, accept_encoding="gzip"))
        assert ended.status == 204
        assert "Content-Encoding" not in dict(ended.headers)


async def last_id(bridge: Bridge) -> str:
    async with bridge.asubscribe("a", after="earliest") as stream:
        return [event.id async for event in stream][-1]


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is compressed from now on."""
    calls: list[int] = []
    deflate = module._deflate

    def counted(data: bytes, level: int) -> bytes:
        calls.append(len(data))
        return deflate(data, level)

    monkeypatch.setattr(module, "_deflate", counted)
    return calls


def test_writes_of_nothing_begin_no_second_member() -> None:
    coding = SharedGzip(SharedBlocks(6, 512))
    written = coding.encode(b"") + coding.encode(b"one") + coding.encode(b"") + coding.encode(b"two") + coding.end()
    assert zlib.decompress(written, 31) == b"onetwo"
