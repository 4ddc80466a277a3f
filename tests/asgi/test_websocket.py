"""WebSockets under the strict server: the handshake, the protocol, resuming, limits, and what is given back."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from unittest.mock import Mock

import pytest

from sse_bridge import Bridge
from sse_bridge.errors import BackendUnavailable, NotAuthorized
from sse_bridge.streams import Grant
from sse_bridge_asgi import EventStreamApp
from tests.asgi.conftest import nothing_left
from tests.asgi.strict_server import WebSocket
from tests.support.wait import await_for

REFUSAL = {"websocket.http.response": {}}


def everybody(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


async def take(client: WebSocket) -> dict[str, Any]:
    return json.loads(await client.take())


async def ask(client: WebSocket, **message: Any) -> dict[str, Any]:
    client.say(json.dumps(message))
    return await take(client)


async def test_subscribe_follow_and_resume_several_channels_by_one_id(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app) as client:
        opened = await ask(client, type="subscribe", channels=["a"])
        assert (opened["type"], opened["data"]) == ("stream.open", {"channels": ["a"]})
        await bridge.apublish("a", 1)
        assert (await take(client))["data"] == 1
        opened = await ask(client, type="subscribe", channels=["b", "a"])
        assert opened["data"] == {"channels": ["a", "b"]}
        await bridge.apublish("a", 2)
        await bridge.apublish("b", 3, type="x.y")
        first, second = await take(client), await take(client)
        assert [first["data"], second["data"], second["type"], second["channel"]] == [2, 3, "x.y", "b"]
        assert (await ask(client, type="ping"))["type"] == "stream.pong"
    await nothing_left(bridge)
    await bridge.apublish("b", 4)
    await bridge.apublish("a", 5)
    async with WebSocket(app) as client:
        await ask(client, type="subscribe", channels=["a", "b"], after=first["id"])
        assert sorted([(await take(client))["data"] for _ in range(3)]) == [3, 4, 5]
    async with WebSocket(app, f"/?channel=a&channel=b&after={second['id']}") as client:
        assert (await take(client))["type"] == "stream.open"
        assert sorted([(await take(client))["data"] for _ in range(2)]) == [4, 5]


async def test_adding_a_channel_loses_and_doubles_nothing_of_the_others(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app) as client:
        await ask(client, type="subscribe", channels=["a"])
        for number in range(100):
            await bridge.apublish("a", number)
            if number % 10 == 5:
                client.say(json.dumps({"type": "subscribe", "channels": [f"other:{number // 10}"]}))
                await asyncio.sleep(0)
        got: list[int] = []
        while len(got) < 100:
            message = await take(client)
            if message["type"] == "message":
                got.append(message["data"])
        assert got == list(range(100))


async def test_an_id_that_says_nothing_is_a_gap_of_the_new_channel_only(bridge: Bridge) -> None:
    async with WebSocket(EventStreamApp(bridge, authorize=everybody)) as client:
        await ask(client, type="subscribe", channels=["a"])
        await ask(client, type="subscribe", channels=["b"], after="nonsense")
        gap = await take(client)
        assert (gap["type"], gap["channel"], gap["data"]["reason"]) == ("stream.gap", "b", "invalid")
        await bridge.apublish("a", 1)
        assert (await take(client))["data"] == 1


async def test_unsubscribe_and_nothing_left(bridge: Bridge) -> None:
    async with WebSocket(EventStreamApp(bridge, authorize=everybody)) as client:
        opened = await ask(client, type="subscribe", channels=["a", "b"])
        assert opened["id"].count(".") == 1
        opened = await ask(client, type="unsubscribe", channels=["a", "c"])
        assert opened["data"] == {"channels": ["b"]}
        assert "." not in opened["id"]
        await bridge.apublish("a", 1)
        await bridge.apublish("b", 2)
        assert (await take(client))["data"] == 2
        opened = await ask(client, type="unsubscribe", channels=["b"])
        assert opened["data"] == {"channels": []}
        assert not bridge.loop_hub().readers()
        assert (await ask(client, type="subscribe", channels=["a"], last=1))["data"] == {"channels": ["a"]}
        assert (await take(client))["data"] == 1


async def test_the_end_of_what_the_address_named_ends_the_connection(bridge: Bridge) -> None:
    await bridge.apublish("a", 1)
    await bridge.aclose_channel("a")
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app, "/?channel=a&after=earliest") as client:
        assert [(await take(client))["type"] for _ in range(2)] == ["stream.open", "message"]
        end = await take(client)
        assert end["type"] == "stream.end"
        await client.ended()
        assert client.closed == 1000
    async with WebSocket(app, f"/?channel=a&after={end['id']}") as client:
        assert (await take(client))["type"] == "stream.open"
        await client.ended()
        assert client.closed == 1000
    async with WebSocket(app) as client:  # who subscribes for itself may want other channels yet
        await ask(client, type="subscribe", channels=["a"], after="earliest")
        assert [(await take(client))["type"] for _ in range(2)] == ["message", "stream.end"]
        assert (await ask(client, type="subscribe", channels=["b"]))["data"] == {"channels": ["a", "b"]}


async def test_the_server_may_choose_the_channels(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, channels="a", last=1)
    await bridge.apublish("a", 1)
    async with WebSocket(app, "/?channel=secret") as client:
        assert (await take(client))["data"] == {"channels": ["a"]}
        assert (await take(client))["data"] == 1
        error = await ask(client, type="subscribe", channels=["secret"])
        assert (error["type"], error["data"]["detail"]["status"]) == ("stream.error", 403)


@pytest.mark.parametrize("extension", [True, False])
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/?channel=no", {}, 403),
        ("/?channel=%2F", {}, 400),
        ("/?channel=a&last=x", {}, 400),
        ("/?channel=a", {"Origin": "https://evil.example"}, 403),
        ("/?channel=a", {"Origin": "null"}, 403),
        ("/", {"Origin": "http://testserver:8080"}, 403),
        ("/", {"Origin": "http://testserver.evil.example"}, 403),
        ("/", {"Origin": "http://[broken"}, 403),
    ],
)
async def test_refused_before_the_handshake(
    bridge: Bridge, target: str, headers: dict[str, str], status: int, extension: bool
) -> None:
    app = EventStreamApp(bridge, authorize=lambda scope, channels: "no" not in channels)
    async with WebSocket(app, target, headers=headers, extensions=REFUSAL if extension else {}) as client:
        await client.ended()
        assert not client.accepted
        assert (client.status if extension else client.closed) == (status if extension else 4000 + status)
        if extension:
            assert json.loads(client.refusal)["status"] == status


@pytest.mark.parametrize(
    ("origin", "origins"),
    [
        (None, ()),
        ("http://testserver", ()),
        ("https://testserver:443", ()),  # behind a proxy that terminates TLS
        ("https://app.example.com", ("https://app.example.com/",)),
        ("https://any.example", "*"),
    ],
)
async def test_origins_that_may(bridge: Bridge, origin: str | None, origins: Any) -> None:
    app = EventStreamApp(bridge, authorize=everybody, origins=origins)
    async with WebSocket(app, headers={} if origin is None else {"Origin": origin}) as client:
        assert (await ask(client, type="ping"))["type"] == "stream.pong"


async def test_subprotocol_is_chosen_when_offered(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    for offered, chosen in ((["x", "sse-bridge.v1"], "sse-bridge.v1"), (["x"], None), ([], None)):
        async with WebSocket(app, subprotocols=offered) as client:
            await ask(client, type="ping")
            assert client.accepted == [chosen]


async def test_switched_off(bridge: Bridge) -> None:
    async with WebSocket(EventStreamApp(bridge, channels="a", websocket=False)) as client:
        await client.ended()
        assert client.closed == 4403


async def test_the_hook_is_asked_for_all_channels_and_changes_nothing_when_it_refuses(bridge: Bridge) -> None:
    asked: list[tuple[str, ...]] = []

    async def hook(scope: Any, channels: tuple[str, ...]) -> bool:
        asked.append(channels)
        if "raises" in channels:
            raise RuntimeError("a secret")
        if "why" in channels:
            raise NotAuthorized("not yours")
        return "no" not in channels

    async with WebSocket(EventStreamApp(bridge, authorize=hook), "/?channel=a") as client:
        await take(client)
        await ask(client, type="subscribe", channels=["b"])
        assert asked == [("a",), ("a", "b")]
        for name, status in (("no", 403), ("why", 403), ("raises", 500)):
            error = await ask(client, type="subscribe", channels=[name])
            assert error["data"]["detail"] == {"status": status, "request": "subscribe"}
            assert "secret" not in error["data"]["message"]
        await bridge.apublish("b", 1)
        assert (await take(client))["data"] == 1
        await ask(client, type="subscribe", channels=["b"])
        assert asked[-1] == ("a", "b", "raises"), "nothing new, so nobody is asked"


async def test_a_grant_that_expires_ends_the_session(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=lambda scope, channels: Grant(expires_at=time.time() + 1))
    async with WebSocket(app, "/?channel=a") as client:
        await take(client)
        goodbye = await take(client)
        assert (goodbye["type"], goodbye["data"]) == ("stream.close", {"reason": "expired"})
        await client.ended()
        assert client.closed == 4401


async def test_a_grant_that_has_expired_is_401(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=lambda scope, channels: Grant(expires_at=time.time() - 1))
    async with WebSocket(app, "/?channel=a", extensions=REFUSAL) as client:
        await client.ended()
        assert client.status == 401
    async with WebSocket(app) as client:
        assert (await ask(client, type="subscribe", channels=["a"]))["data"]["detail"]["status"] == 401


async def test_bad_messages_are_told_and_survived(bridge: Bridge) -> None:
    async with WebSocket(EventStreamApp(bridge, authorize=everybody)) as client:
        for text in (
            "", "x", "[]", "1", '{"type":1}', '{"type":"subscribe"}', '{"type":"subscribe","channels":"a"}',
            '{"type":"subscribe","channels":[1]}', '{"type":"subscribe","channels":["/"]}',
            '{"type":"subscribe","channels":["a"],"after":5}', '{"type":"subscribe","channels":["a"],"last":true}',
            '{"type":"subscribe","channels":["a"],"last":-1}', "[" * 5000, '{"type":"\\ud800"}',
            '{"type":"unsubscribe"}', '{"type":"cancel"}', '{"type":"mine"}',
            json.dumps({"type": "subscribe", "channels": [f"c{n}" for n in range(21)]}),
        ):  # fmt: skip
            client.say(text)
            error = await take(client)
            assert (error["type"], error["data"]["detail"]["status"]) == ("stream.error", 400), text
        client.inbox.put_nowait({"type": "websocket.receive", "bytes": b'{"type":"ping"}'})
        assert (await take(client))["type"] == "stream.pong"


async def test_too_long_and_too_many_messages_end_the_connection(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    for text in ("x" * 16_385, json.dumps({"type": "ping", "x": "ü" * 8_200}, ensure_ascii=False)):
        async with WebSocket(app) as client:
            client.say(text)
            assert (await take(client))["data"]["detail"]["status"] == 413
            await client.ended()
            assert client.closed == 4413
    async with WebSocket(app) as client:
        for _ in range(200):
            client.say('{"type":"ping"}')
        await client.ended()
        assert client.closed == 4429
        assert client.messages.qsize() < 60


async def test_a_cancel_right_before_leaving_is_carried_out(bridge: Bridge) -> None:
    cancelled: list[Any] = []
    app = EventStreamApp(bridge, authorize=everybody, on_cancel=lambda scope, message: cancelled.append(message["run"]))
    async with WebSocket(app) as client:
        await ask(client, type="subscribe", channels=["a"])
        client.say('{"type":"cancel","run":"r1"}')
        client.leave()
    assert cancelled == ["r1"]


async def test_hooks_for_cancel_and_for_own_messages(bridge: Bridge) -> None:
    cancelled: list[Any] = []

    def on_cancel(scope: Any, message: Any) -> None:
        cancelled.append(message["run"])

    async def on_message(scope: Any, message: Any) -> Any:
        if message["type"] == "bug":
            raise RuntimeError("a secret")
        return {"got": message["text"]} if "text" in message else None

    app = EventStreamApp(bridge, authorize=everybody, on_cancel=on_cancel, on_message=on_message)
    async with WebSocket(app) as client:
        assert (await ask(client, type="cancel", run="r9"))["type"] == "stream.cancelled"
        assert cancelled == ["r9"]
        reply = await ask(client, type="message", text="hi")
        assert reply == {"type": "stream.reply", "data": {"to": "message", "result": {"got": "hi"}}}
        client.say('{"type":"quiet"}')
        error = await ask(client, type="bug")
        assert error["data"]["detail"] == {"status": 500, "request": "bug"}
        assert "secret" not in error["data"]["message"]


async def test_the_drain_says_goodbye(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app, "/?channel=a") as one, WebSocket(app) as idle:
        await take(one)
        await ask(idle, type="ping")
        await asyncio.to_thread(bridge.streams.begin_drain, 0.0)
        for client in (one, idle):
            goodbye = await take(client)
            assert (goodbye["type"], goodbye["data"]["reason"]) == ("stream.close", "drain")
            assert goodbye["retry_ms"] >= 2000
            await client.ended()
            assert client.closed == 4503


async def test_a_connection_that_follows_nothing_is_closed(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_bridge.streams.websockets.protocol.IDLE_SECONDS", 0.0)
    async with WebSocket(EventStreamApp(bridge, authorize=everybody)) as client:
        assert (await take(client))["data"] == {"reason": "idle"}
        await client.ended()
        assert client.closed == 4408


async def test_the_log_cannot_be_read(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with WebSocket(app) as client:
        await ask(client, type="subscribe", channels=["a"])
        monkeypatch.setattr("sse_bridge.streams.lifecycle.opening.OPENING_SECONDS", 0.0)
        monkeypatch.setattr(bridge.backend, "aread", lambda requests: asyncio.Event().wait())
        error = await ask(client, type="subscribe", channels=["b"], after="earliest")
        assert error["data"]["detail"] == {"status": 503, "request": "subscribe"}
        with monkeypatch.context() as patch:
            patch.setattr(bridge.loop_hub(), "enter", Mock(side_effect=BackendUnavailable("the broker restarts")))
            assert await ask(client, type="subscribe", channels=["b"]) == error
        assert "the broker restarts" in caplog.text, "who operates the server is told the cause"
        await bridge.apublish("a", 1)
        assert (await take(client))["data"] == 1
    async with WebSocket(app, "/?channel=c&after=earliest") as client:
        assert (await take(client))["data"] == {"reason": "unavailable"}
        await client.ended()
        assert client.closed == 4503


# The client leaves, or the server cancels, in every phase.


async def test_leaving_before_the_handshake(bridge: Bridge) -> None:
    client = WebSocket(EventStreamApp(bridge, authorize=everybody))
    client.inbox.get_nowait()
    client.leave()
    async with client:
        await client.ended()
        assert not client.accepted


@pytest.mark.parametrize("how", ["leave", "cancel"])
@pytest.mark.parametrize("phase", ["opening", "waiting", "idle", "blocked", "hook"])
async def test_leaving_gives_everything_back(
    bridge: Bridge, phase: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Event()

    async def hook(scope: Any, channels: Any) -> bool:
        if phase == "hook" and len(channels) > 1:
            entered.set()
            await asyncio.Event().wait()
        return True

    if phase == "opening":
        monkeypatch.setattr(bridge.backend, "aread", lambda requests: asyncio.Event().wait())
    client = WebSocket(EventStreamApp(bridge, authorize=hook), "/?channel=a&after=earliest", room=200)
    if phase == "idle":
        client.scope["query_string"] = b""
    await client.__aenter__()
    if phase == "idle":
        await ask(client, type="ping")
    elif phase == "opening":
        await await_for(bridge.loop_hub().readers)
    else:
        await take(client)
    if phase == "blocked":
        await bridge.apublish("a", "x" * 1000)
        await await_for(lambda: client.blocked)
    if phase == "hook":
        client.say('{"type":"subscribe","channels":["b"]}')
        await entered.wait()
    if how == "leave":
        client.leave()
        await client.ended()
    else:
        client.task.cancel()
        await asyncio.wait({client.task})
        assert client.task.cancelled()
    client.check()
    await nothing_left(bridge)
