"""`Bridge.position`: a page and its stream lose nothing of what is published exactly between the two."""

from __future__ import annotations

import json

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import AsyncContextError, InvalidChannel, InvalidInput, TooManyChannels

from .both import Both, data


def test_what_is_published_between_rendering_and_connecting_arrives(both: Both) -> None:
    both.publish("a", "shown on the page")
    position = both.position("a")
    both.publish("a", "between")
    stream = both.subscribe("a", after=position)
    both.publish("a", "later")
    assert [stream.next().data, stream.next().data] == ["between", "later"]
    stream.close()


def test_a_channel_without_entries_has_a_place(both: Both) -> None:
    position = both.position("a")
    both.publish("a", "the first")
    stream = both.subscribe("a", after=position)
    event = stream.next()
    assert (event.type, event.data) == ("message", "the first")
    stream.close()


def test_one_id_for_several_channels_in_any_order(both: Both) -> None:
    both.publish("a", "old")
    both.publish("b", "old")
    position = both.position(["a", "b", "empty"])
    for channel in ("empty", "b", "a"):
        both.publish(channel, f"new in {channel}")
    stream = both.subscribe(["empty", "b", "a", "other"], after=position)
    assert sorted(stream.next().data for _ in range(3)) == ["new in a", "new in b", "new in empty"]
    assert stream.next(0.01) is None
    stream.close()


def test_it_is_the_id_of_the_newest_event(both: Both) -> None:
    published = both.publish("a", 1)
    assert both.position("a") == str(published)


def test_a_closed_channel_is_marked(both: Both) -> None:
    both.publish("a", 1)
    ended = both.close_channel("a")
    assert both.position("a") == str(ended)
    assert both.position("a").endswith("-e")
    assert not both.position(["a", "b"]).endswith("-e")


def test_it_opens_nothing(both: Both) -> None:
    both.position(["a", "b"])
    assert both.bridge.hubs() == []


def test_it_is_one_read(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    name = "aread" if both.asynchronous else "read"
    real = getattr(both.bridge.backend, name)

    def counting(requests: list) -> object:
        calls.append(len(requests))
        return real(requests)

    monkeypatch.setattr(both.bridge.backend, name, counting)
    both.position(["a", "b", "c"])
    assert calls == [3]


def test_names_are_checked(both: Both) -> None:
    with pytest.raises(InvalidChannel, match="at least one channel"):
        both.position([])
    with pytest.raises(InvalidChannel):
        both.position("no spaces")
    for channels in (None, 5, b"orders:42", object()):
        with pytest.raises(InvalidChannel, match="a channel's name, or several"):
            both.position(channels)
    with pytest.raises(TooManyChannels, match="max_channels"):
        both.position([f"c{number}" for number in range(21)])


async def test_the_sync_one_names_its_twin_on_a_loop() -> None:
    with Bridge() as bridge, pytest.raises(AsyncContextError, match="aposition"):
        bridge.position("a")


def test_a_snapshot_asks_for_the_position_first() -> None:
    with Bridge() as bridge:

        def load() -> dict[str, str]:
            bridge.publish("a", "while it is read")
            return {"status": "paid"}

        answer = json.loads(json.dumps(bridge.snapshot("a", load)))
        assert answer["data"] == {"status": "paid"}
        assert data(bridge.history("a", after=answer["position"])) == ["while it is read"]


async def test_a_snapshot_asks_for_the_position_first_async() -> None:
    async with Bridge() as bridge:

        async def load() -> dict[str, str]:
            await bridge.apublish("a", "while it is read")
            return {"status": "paid"}

        answer = await bridge.asnapshot("a", load)
        assert answer["data"] == {"status": "paid"}
        assert data(await bridge.ahistory("a", after=answer["position"])) == ["while it is read"]


async def _coroutine() -> None: ...


def test_a_snapshot_takes_a_function_of_its_own_colour() -> None:
    with Bridge() as bridge:
        with pytest.raises(InvalidInput, match=r"asnapshot.* takes coroutine functions"):
            bridge.snapshot("a", _coroutine)
        with pytest.raises(InvalidInput, match=r"function that reads the state, got \{\}"):
            bridge.snapshot("a", {})  # type: ignore[arg-type]


async def test_a_snapshot_takes_a_function_of_its_own_colour_async() -> None:
    async with Bridge() as bridge:
        with pytest.raises(InvalidInput, match="coroutine function, got one that returned 5"):
            await bridge.asnapshot("a", lambda: 5)  # type: ignore[arg-type, return-value]
        with pytest.raises(InvalidInput, match=r"pass load itself, not load\(\)"):
            await bridge.asnapshot("a", _coroutine())  # type: ignore[arg-type]
