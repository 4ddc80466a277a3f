"""The WebSocket consumer in this process: hooks, origins, refusals, and all is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.test import override_settings

from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError, NotAuthenticated
from sse_bridge.streams import SUBPROTOCOL
from sse_bridge_channels import EventWebSocketConsumer
from tests.channels_app.helpers import readers
from tests.support.wait import await_for


async def not_secret(scope: Any, channels: tuple[str, ...]) -> bool:
    return "secret" not in channels


async def connected(app: Any, address: str = "/", **options: Any) -> WebsocketCommunicator:
    socket = WebsocketCommunicator(app, address, **options)
    assert (await socket.connect(5))[0]
    return socket


async def says(socket: WebsocketCommunicator, kind: str) -> Any:
    """The next message, which is of this type."""
    message = await socket.receive_json_from(5)
    assert message["type"] == kind, message
    return message


async def test_subscribe_events_resume(bridge: Bridge) -> None:
    app = EventWebSocketConsumer.as_asgi(authorize=not_secret)
    socket = await connected(app)
    await socket.send_json_to({"type": "subscribe", "channels": ["a", "b"]})
    assert (await says(socket, "stream.open"))["data"] == {"channels": ["a", "b"]}
    await bridge.apublish("a", 1, type="one")
    event = await says(socket, "one")
    assert (event["channel"], event["data"]) == ("a", 1)
    await socket.disconnect()
    assert readers(bridge) == 0

    await bridge.apublish("b", 2, type="two")
    await bridge.apublish("a", 3, type="three")
    socket = await connected(app)
    await socket.send_json_to({"type": "subscribe", "channels": ["a", "b"], "after": event["id"]})
    await says(socket, "stream.open")
    missed = [await socket.receive_json_from(5) for _ in range(2)]
    assert {event["type"] for event in missed} == {"two", "three"}  # no order across channels
    await socket.send_json_to({"type": "unsubscribe", "channels": ["a"]})
    assert (await says(socket, "stream.open"))["data"] == {"channels": ["b"]}
    await bridge.apublish("a", 4, type="four")
    await bridge.apublish("b", 5, type="five")
    await says(socket, "five")
    await socket.disconnect()


async def test_every_subscribe_is_authorized(bridge: Bridge) -> None:
    asked: list[tuple[str, ...]] = []

    def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        asked.append(channels)
        return "secret" not in channels

    socket = await connected(EventWebSocketConsumer.as_asgi(authorize=authorize), "/?channel=a")
    await says(socket, "stream.open")
    await socket.send_json_to({"type": "subscribe", "channels": ["secret"]})
    error = await says(socket, "stream.error")
    assert error["data"]["detail"] == {"status": 403, "request": "subscribe"}
    await bridge.apublish("secret", 1, type="hidden")
    await bridge.apublish("a", 2, type="shown")
    await says(socket, "shown")
    assert asked == [("a",), ("a", "secret")]
    await socket.disconnect()


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"type": "dance"}', '{"type": "subscribe", "channels": ["b c"]}'])
async def test_messages_that_nobody_understands(bridge: Bridge, text: str) -> None:
    socket = await connected(EventWebSocketConsumer.as_asgi(authorize=not_secret), "/?channel=a")
    await says(socket, "stream.open")
    await socket.send_to(text_data=text)
    assert (await says(socket, "stream.error"))["data"]["detail"]["status"] == 400
    await bridge.apublish("a", 1, type="still-there")
    await says(socket, "still-there")
    await socket.disconnect()


async def test_hooks_for_cancel_and_for_messages_of_your_own(bridge: Bridge) -> None:
    class Socket(EventWebSocketConsumer):
        async def authorize(self, scope: Any, channels: tuple[str, ...]) -> bool:
            return True

        def on_cancel(self, scope: Any, message: Mapping[str, Any]) -> Any:
            if message["run"] == "broken":
                raise LookupError("a secret of the server")
            if message["run"] == "foreign":
                raise NotAuthenticated("who are you?")
            return {"stopped": message["run"], "at": scope["path"]}

        async def on_message(self, scope: Any, message: Mapping[str, Any]) -> Any:
            return message["value"]

    socket = await connected(Socket.as_asgi(), "/x")
    await socket.send_json_to({"type": "cancel", "run": "7"})
    assert (await says(socket, "stream.cancelled"))["data"]["result"] == {"stopped": "7", "at": "/x"}
    await socket.send_json_to({"type": "cancel", "run": "foreign"})
    assert (await says(socket, "stream.error"))["data"]["detail"]["status"] == 401
    await socket.send_json_to({"type": "cancel", "run": "broken"})
    error = await says(socket, "stream.error")
    assert error["data"]["detail"]["status"] == 500
    assert "secret" not in str(error)
    await socket.send_json_to({"type": "dance", "value": 3})
    assert (await says(socket, "stream.reply"))["data"] == {"to": "dance", "result": 3}
    await socket.disconnect()


async def test_a_cancel_is_carried_out_though_its_client_leaves(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    started, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Socket(EventWebSocketConsumer):
        async def on_cancel(self, scope: Any, message: Mapping[str, Any]) -> None:
            started.set()
            await gate.wait()
            done.set()
            raise LookupError("too late to tell the client")

    socket = await connected(Socket.as_asgi(authorize=not_secret))
    await socket.send_json_to({"type": "cancel"})
    await started.wait()
    await socket.disconnect(timeout=5)
    gate.set()
    await await_for(lambda: done.is_set() and "too late" in caplog.text)


async def test_the_server_chooses(bridge: Bridge) -> None:
    def channels(scope: Any) -> list[str]:
        return ["a", "b"]

    await bridge.apublish("a", 1, type="one")
    socket = await connected(EventWebSocketConsumer.as_asgi(get_channels=channels, start="earliest"), "/?channel=c")
    assert (await says(socket, "stream.open"))["data"] == {"channels": ["a", "b"]}
    await says(socket, "one")
    await socket.send_json_to({"type": "subscribe", "channels": ["c"]})
    assert (await says(socket, "stream.error"))["data"]["detail"]["status"] == 403
    for channel in ("a", "b"):
        await bridge.aclose_channel(channel)
        await says(socket, "stream.end")
    assert (await socket.receive_output(5)) == {"type": "websocket.close", "code": 1000}
    await socket.wait(5)


@pytest.mark.parametrize(
    ("address", "status"), [("/?channel=secret", 403), ("/?channel=a%20b", 400), ("/?channel=a&last=x", 400)]
)
async def test_a_connection_is_refused_in_the_handshake(bridge: Bridge, address: str, status: int) -> None:
    app = EventWebSocketConsumer.as_asgi(authorize=not_secret)
    socket = WebsocketCommunicator(app, address)
    assert not (await socket.connect(5))[0]
    await socket.wait(5)

    socket = WebsocketCommunicator(app, address)
    socket.scope["extensions"] = {"websocket.http.response": {}}
    await socket.send_input({"type": "websocket.connect"})
    start = await socket.receive_output(5)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert (await socket.receive_output(5))["body"]
    await socket.wait(5)


@pytest.mark.parametrize(
    ("origin", "allowed", "accepted"),
    [
        (None, None, True),  # no browser
        ("https://app.example.com", None, True),  # ALLOWED_HOSTS
        ("https://example.org", None, False),
        ("https://app.example.com.evil.org", None, False),
        ("null", None, False),
        ("http://[", None, False),
        ("https://app.example.com:443.evil.org", None, False),  # no browser sends such a thing, and it is no origin
        ("https://app.example.com:99999", None, False),
        ("https://app.example.com:8443x", ["*"], False),
        ("//app.example.com", None, False),
        ("https://app.example.com:8443", None, True),
        ("https://one.org", ["https://one.org"], True),
        ("http://one.org", ["https://one.org"], False),
        ("https://one.org:8443", ["https://one.org"], False),
        ("https://app.example.com", ["https://one.org"], False),
        ("https://anybody.org", ["*"], True),
        ("null", ["*"], True),
    ],
)
async def test_pages_of_other_sites_are_refused(
    bridge: Bridge, origin: str | None, allowed: list[str] | None, accepted: bool
) -> None:
    headers = [] if origin is None else [(b"origin", origin.encode())]
    with override_settings(ALLOWED_HOSTS=[".example.com"]):
        app = EventWebSocketConsumer.as_asgi(authorize=not_secret, origins=allowed)
        socket = WebsocketCommunicator(app, "/", headers=headers)
        assert (await socket.connect(5))[0] is accepted
        await socket.disconnect()


async def test_the_subprotocol(bridge: Bridge) -> None:
    app = EventWebSocketConsumer.as_asgi(authorize=not_secret)
    for offered, chosen in ((["x", SUBPROTOCOL], SUBPROTOCOL), (["x"], None), (None, None)):
        socket = WebsocketCommunicator(app, "/", subprotocols=offered)
        assert await socket.connect(5) == (True, chosen)
        await socket.disconnect()


async def test_clients_that_leave_hold_nothing(bridge: Bridge) -> None:
    gate = asyncio.Event()

    async def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        if "slow" in channels:
            await gate.wait()
        return True

    app = EventWebSocketConsumer.as_asgi(authorize=authorize)
    quiet = await connected(app, "/?channel=a")
    asking = await connected(app, "/?channel=a")
    cancelled = await connected(app, "/?channel=a")
    await asking.send_json_to({"type": "subscribe", "channels": ["slow"]})
    await await_for(lambda: readers(bridge) == len(bridge.streams) == 3)
    await quiet.disconnect()
    assert readers(bridge) == 2
    leaving = asyncio.ensure_future(asking.disconnect(timeout=5))
    await await_for(lambda: readers(bridge) == 1)  # before the hook has answered
    gate.set()
    await leaving
    cancelled.stop()
    await await_for(lambda: readers(bridge) == len(bridge.streams) == 0)


async def test_a_drain_says_goodbye(bridge: Bridge) -> None:
    socket = await connected(EventWebSocketConsumer.as_asgi(authorize=not_secret), "/?channel=a")
    await says(socket, "stream.open")
    bridge.streams.begin_drain(0)
    await says(socket, "stream.close")
    assert (await socket.receive_output(5))["code"] == 4503
    await socket.wait(5)


def test_mistakes_stop_the_start() -> None:
    with pytest.raises(ConfigurationError, match="authorize"):
        EventWebSocketConsumer.as_asgi()
    with pytest.raises(ConfigurationError, match="list of origins"):
        EventWebSocketConsumer.as_asgi(authorize=not_secret, origins="https://example.com")


async def test_a_scope_that_is_no_websocket(bridge: Bridge) -> None:
    with pytest.raises(ValueError, match="'http'"):
        await EventWebSocketConsumer(authorize=not_secret)({"type": "http"}, None, None)  # type: ignore[arg-type]
