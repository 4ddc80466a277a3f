"""Both readers and both packers, against each other and over any split of the bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge
from sse_bridge.backends.redis import resp
from sse_bridge.backends.redis.resp import ProtocolError, PurePythonReader, ReplyError, new_reader, pack, pack_python

REPLIES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def encode(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(encode(item) for item in reply)


@pytest.fixture(params=[PurePythonReader, new_reader])
def reader(request: pytest.FixtureRequest) -> resp.Reader:
    return request.param()  # type: ignore[no-any-return]


@given(st.lists(REPLIES, max_size=5), st.lists(st.integers(0, 400), max_size=10))
def test_any_split_gives_the_same_replies(replies: list[Any], cuts: list[int]) -> None:
    data = b"".join(encode(reply) for reply in replies)
    for make in (PurePythonReader, new_reader):
        reader = make()
        read = []
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        for start, end in pairwise(places):
            reader.feed(data[start:end])
            while (reply := reader.gets()) is not False:
                read.append(reply)
        assert read == replies
        assert reader.gets() is False


def test_lines_and_errors(reader: resp.Reader) -> None:
    reader.feed(b"+OK\r\n-ERR what\r\n*2\r\n-MOVED 1 a:2\r\n:7\r\n*-1\r\n*0\r\n$0\r\n\r\n")
    assert reader.gets() == b"OK"
    error = reader.gets()
    assert isinstance(error, ReplyError)
    assert str(error) == "ERR what"
    inner, seven = reader.gets()
    assert isinstance(inner, ReplyError)
    assert seven == 7
    assert [reader.gets() for _ in range(4)] == [None, [], b"", False]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$x\r\n", b"\r\n\r\n"])
def test_what_is_no_resp_ends_the_link(reader: resp.Reader, data: bytes) -> None:
    reader.feed(data)
    with pytest.raises(ProtocolError):
        reader.gets()


@given(st.lists(st.binary() | st.text() | st.integers(), min_size=1))
def test_commands_are_packed_alike(words: list[bytes | str | int]) -> None:
    try:
        packed = pack(words)
    except UnicodeEncodeError:  # a lone surrogate: neither can
        with pytest.raises(UnicodeEncodeError):
            pack_python(words)
        return
    assert packed == pack_python(words)
    reader = new_reader()
    reader.feed(packed)
    assert reader.gets() == [word if isinstance(word, bytes) else str(word).encode() for word in words]


def test_hiredis_makes_no_text_of_numbers(monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str) -> None:
    """hiredis 3.5 ends the process when a signal handler raises meanwhile, as Celery's soft time limits do."""
    hiredis = pytest.importorskip("hiredis")
    pack_command, words = hiredis.pack_command, []

    def spy(command: tuple[Any, ...]) -> bytes:
        words.extend(command)
        packed: bytes = pack_command(command)
        return packed

    monkeypatch.setattr(hiredis, "pack_command", spy)
    with Bridge(f"{redis_url.rpartition('/')[0]}/1", prefix=prefix, max_streams_per_user=1) as bridge:
        with bridge.subscribe("a", after="earliest") as stream:
            bridge.publish_many([("a", 1), ("b", 2)])
            assert stream.next(60) is not None
        bridge.revoke(user="ada")
        bridge.close_channel("a")
        assert bridge.history("a")
    assert {"SELECT", b"SELECT"} & {word for word in words if isinstance(word, (str, bytes))}
    assert [word for word in words if not isinstance(word, (str, bytes))] == []


async def test_the_backend_works_without_hiredis(monkeypatch: pytest.MonkeyPatch, redis_url: str, prefix: str) -> None:
    from sse_bridge.backends.redis import RedisBackend, aio, link, scripts, startup, threads
    from sse_bridge.config import Settings
    from sse_bridge.records.continuity import ReadRequest
    from tests.backends.sides import Recorder, batch, datas
    from tests.support.wait import await_for

    for module in (aio, threads, link):
        monkeypatch.setattr(module, "new_reader", PurePythonReader)
    for module in (aio, threads, link, scripts):
        monkeypatch.setattr(module, "pack", pack_python)
    assert startup
    backend = RedisBackend(Settings(url=redis_url, prefix=prefix))
    sinks = [Recorder(), Recorder()]
    upstreams = [backend.upstream(sinks[0]), backend.aupstream(sinks[1])]
    for sink, upstream in zip(sinks, upstreams, strict=True):
        upstream.subscribe(["a"])
        await await_for(lambda sink=sink: sink.confirmations("a"))
    backend.append(batch("a", b"x" * 100_000))
    await backend.aappend(batch("a", b"\r\n", b"3"))
    for sink in sinks:
        await await_for(lambda sink=sink: len(sink.entries) == 2)
        assert sink.data("a") == [b"\r\n", b"3"]
    for pages in (backend.read([ReadRequest("a")]), await backend.aread([ReadRequest("a")])):
        assert datas(pages[0]) == [b"x" * 100_000, b"\r\n", b"3"]
    for upstream in upstreams:
        upstream.close()
    await backend.aclose()
