"""The SSE consumer in this process: hooks, answers, and a client that leaves in every phase."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from channels.routing import URLRouter
from channels.testing import HttpCommunicator
from django.core.exceptions import PermissionDenied
from django.urls import path

from sse_bridge import Bridge, ByVisibility, Visibility
from sse_bridge.errors import ConfigurationError, NotAuthenticated
from sse_bridge.streams import Grant
from sse_bridge_channels import EventStreamConsumer
from tests.channels_app.helpers import readers
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import astays, await_for


def allow(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


class Stream:
    """A client of one consumer."""

    def __init__(self, app: Any, address: str, last_event_id: str = "", method: str = "GET") -> None:
        headers = [(b"last-event-id", last_event_id.encode())] if last_event_id else []
        self.http = HttpCommunicator(app, method, address, headers=headers)
        self.frames: list[Frame] = []
        self._parser = SSEParser(last_event_id)

    async def open(self) -> Stream:
        await self.http.send_input({"type": "http.request", "body": b""})
        start = await self.http.receive_output(5)
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return self

    async def next(self) -> Frame:
        while not self.frames:
            message = await self.http.receive_output(5)
            self.frames = self._parser.feed(message["body"])
        return self.frames.pop(0)

    async def leave(self) -> None:
        await self.http.send_input({"type": "http.disconnect"})
        await self.http.wait(5)


async def test_a_stream_and_its_resume(bridge: Bridge) -> None:
    app = EventStreamConsumer.as_asgi(authorize=allow)
    stream = await Stream(app, "/?channel=a&channel=b").open()
    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (await stream.next()).event == "stream.open"
    await bridge.apublish("a", 1)
    frame = await stream.next()
    assert frame.data == "1"
    await stream.leave()
    assert readers(bridge) == 0

    await bridge.apublish("b", 2)
    again = await Stream(app, "/?channels=a,b", frame.id).open()
    assert [(await again.next()).event, (await again.next()).data] == ["stream.open", "2"]
    await again.leave()


async def test_a_consumer_names_its_format(bridge: Bridge) -> None:
    app = EventStreamConsumer.as_asgi(authorize=allow, format="sse-data", type_in_data=True, start="earliest")
    await bridge.apublish("a", {"n": 0}, type="order.paid")
    stream = await Stream(app, "/?channel=a&format=text").open()
    assert stream.headers["content-type"] == "text/event-stream"
    frame = await stream.next()
    assert (frame.event, frame.data) == ("message", '{"type":"order.paid","n":0}')
    await stream.leave()


async def test_a_client_that_leaves_while_nothing_happens_is_noticed(bridge: Bridge) -> None:
    stream = await Stream(EventStreamConsumer.as_asgi(authorize=allow), "/?channel=a").open()
    assert readers(bridge) == 1
    assert len(bridge.streams) == 1
    await stream.leave()
    assert readers(bridge) == 0


async def test_the_server_chooses_by_the_address(bridge: Bridge) -> None:
    class Orders(EventStreamConsumer):
        last = 1

        def get_channels(self, scope: Any) -> list[str]:
            threads.append(threading.current_thread())
            return [f"orders:{scope['url_route']['kwargs']['number']}"]

    threads: list[threading.Thread] = []
    await bridge.apublish("orders:7", "old")
    await bridge.apublish("orders:7", "last")
    stream = await Stream(
        URLRouter([path("orders/<int:number>/", Orders.as_asgi())]), "/orders/7/?channel=secret"
    ).open()
    assert [(await stream.next()).event, (await stream.next()).data] == ["stream.open", '"last"']
    assert threads[0] is not threading.main_thread()
    await stream.leave()


@pytest.mark.parametrize("colour", ["sync", "async", "sync that returns an awaitable"])
@pytest.mark.parametrize("allowed", [True, False])
async def test_authorize_of_every_colour(bridge: Bridge, colour: str, allowed: bool) -> None:
    asked: list[Any] = []

    def answer(scope: Any, channels: tuple[str, ...]) -> bool:
        asked.append((scope["path"], channels))
        return allowed

    async def answer_async(scope: Any, channels: tuple[str, ...]) -> bool:
        return answer(scope, channels)

    def answer_awaitable(scope: Any, channels: tuple[str, ...]) -> Any:
        return answer_async(scope, channels)

    hook = {"sync": answer, "async": answer_async}.get(colour, answer_awaitable)
    stream = await Stream(EventStreamConsumer.as_asgi(authorize=hook), "/x?channel=a&channel=b").open()
    assert asked == [("/x", ("a", "b"))]
    assert stream.status == (200 if allowed else 403)
    await stream.leave()


async def test_a_grant_brings_its_filter_and_its_end(bridge: Bridge) -> None:
    def authorize(scope: Any, channels: tuple[str, ...]) -> Grant:
        return Grant("ada", time.time() + 1, ByVisibility(Visibility.MODEL_ONLY))

    await bridge.apublish("a", "for people")
    await bridge.apublish("a", "for the model", visibility="model_only")
    stream = await Stream(EventStreamConsumer.as_asgi(authorize=authorize), "/?channel=a&after=earliest").open()
    assert [(await stream.next()).event, (await stream.next()).data] == ["stream.open", '"for the model"']
    assert "expired" in (await stream.next()).data
    await stream.http.wait(5)


@pytest.mark.parametrize(
    ("address", "method", "status"),
    [
        ("/", "GET", 400),  # no channel
        ("/?channel=a%20b", "GET", 400),
        ("/?channel=" + "&channel=".join(map(str, range(40))), "GET", 400),
        ("/?channel=a&last=x", "GET", 400),
        ("/?channel=a&format=morse", "GET", 406),
        ("/?channel=a", "POST", 405),
    ],
)
async def test_what_cannot_be_served(bridge: Bridge, address: str, method: str, status: int) -> None:
    asked: list[Any] = []

    def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        asked.append(channels)
        return True

    answer = await HttpCommunicator(EventStreamConsumer.as_asgi(authorize=authorize), method, address).get_response(5)
    assert answer["status"] == status
    assert answer["body"]
    assert asked in ([], [("a",)]), "a hook is asked about proper names only"


async def test_an_error_of_the_hook_has_its_status(bridge: Bridge) -> None:
    def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        raise NotAuthenticated("who are you?")

    answer = await HttpCommunicator(
        EventStreamConsumer.as_asgi(authorize=authorize), "GET", "/?channel=a"
    ).get_response(5)
    assert answer["status"] == 401
    assert b"who are you?" in answer["body"]


async def test_djangos_permission_denied_is_a_403(bridge: Bridge) -> None:
    def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        raise PermissionDenied("not yours")

    answer = await HttpCommunicator(
        EventStreamConsumer.as_asgi(authorize=authorize), "GET", "/?channel=a"
    ).get_response(5)
    assert answer["status"] == 403
    assert b"not yours" in answer["body"]


async def test_the_servers_own_troubles_stay_in_its_log(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    def authorize(scope: Any, channels: tuple[str, ...]) -> Any:
        return "yes"

    answer = await HttpCommunicator(
        EventStreamConsumer.as_asgi(authorize=authorize), "GET", "/?channel=a"
    ).get_response(5)
    assert answer["status"] == 500
    assert b"yes" not in answer["body"]
    assert "'yes'" in caplog.text


async def test_head_sends_no_body_and_holds_nothing(bridge: Bridge) -> None:
    app = EventStreamConsumer.as_asgi(authorize=allow)
    answer = await HttpCommunicator(app, "HEAD", "/?channel=a").get_response(5)
    assert (answer["status"], answer["body"]) == (200, b"")


async def test_a_slow_hook_delays_nobody_else(bridge: Bridge) -> None:
    gate = asyncio.Event()

    async def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        if channels == ("slow",):
            await gate.wait()
        return True

    app = EventStreamConsumer.as_asgi(authorize=authorize)
    slow = Stream(app, "/?channel=slow")
    opening = asyncio.ensure_future(slow.open())
    fast = await Stream(app, "/?channel=fast").open()
    assert not opening.done()
    await astays(lambda: readers(bridge) == 1, 0.05)
    gate.set()
    await opening
    assert slow.status == 200
    await fast.leave()
    await slow.leave()


async def test_a_client_that_leaves_during_the_hook_holds_nothing(bridge: Bridge) -> None:
    gate = asyncio.Event()

    async def authorize(scope: Any, channels: tuple[str, ...]) -> bool:
        await gate.wait()
        return True

    stream = Stream(EventStreamConsumer.as_asgi(authorize=authorize), "/?channel=a")
    await stream.http.send_input({"type": "http.request", "body": b""})
    await stream.http.send_input({"type": "http.disconnect"})
    gate.set()
    await stream.http.wait(5)
    await await_for(lambda: readers(bridge) == 0)


async def test_a_bridge_of_its_own(bridge: Bridge) -> None:
    async with Bridge("memory://") as other:
        stream = await Stream(EventStreamConsumer.as_asgi(authorize=allow, bridge=other), "/?channel=a").open()
        assert (readers(other), readers(bridge)) == (1, 0)
        await stream.leave()


def test_a_client_that_chooses_needs_a_hook() -> None:
    with pytest.raises(ConfigurationError, match="authorize=lambda scope, channels: True"):
        EventStreamConsumer.as_asgi()


def test_options_are_checked_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"'autorize'.*authorize"):
        EventStreamConsumer.as_asgi(autorize=allow)
    with pytest.raises(ConfigurationError, match=r"sse-data.*got 'sse_data'"):
        EventStreamConsumer.as_asgi(authorize=allow, format="sse_data")


async def test_a_scope_that_is_not_http(bridge: Bridge) -> None:
    with pytest.raises(ValueError, match="websocket"):
        await EventStreamConsumer(authorize=allow)({"type": "websocket"}, None, None)  # type: ignore[arg-type]
