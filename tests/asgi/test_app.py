"""`EventStreamApp` under the strict server: what is served, what is refused, and what is given back."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from sse_bridge import Bridge, configure
from sse_bridge.errors import ConfigurationError, NotAuthenticated, TooManyStreams
from sse_bridge.streams import Grant
from sse_bridge_asgi import EventStreamApp
from tests.asgi.conftest import nothing_left
from tests.asgi.strict_server import Http, Lifespan, WebSocket
from tests.support.sse_parser import Frame, SSEParser
from tests.support.wait import await_for


def frames(body: bytes) -> list[Frame]:
    return SSEParser().feed(body)


def everybody(scope: Any, channels: tuple[str, ...]) -> bool:
    return True


async def test_streams_what_is_published_and_resumes(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, authorize=everybody)
    async with Http(app, "/events?channel=a") as client:
        opened = frames(await client.read_until(b"\n\n"))[0]
        assert (client.status, opened.event) == (200, "stream.open")
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-cache, no-transform"
        assert client.headers["vary"] == "Accept"
        assert "connection" not in client.headers
        await bridge.apublish("a", 1)
        assert frames(await client.read_until(b"data: 1\n\n"))[0].id
    await nothing_left(bridge)
    await bridge.apublish("a", 2)
    async with Http(app, "/events?channel=a", headers={"Last-Event-ID": opened.id}) as client:
        got = frames(await client.read_until(b"data: 2\n\n"))
        assert [frame.data for frame in got] == ["{}", "1", "2"]
    async with Http(app, f"/events?channel=a&after={got[1].id}") as client:
        assert [frame.data for frame in frames(await client.read_until(b"data: 2\n\n"))] == ["{}", "2"]


async def test_head_and_first_frame_are_two_messages_and_no_more(bridge: Bridge) -> None:
    async with Http(EventStreamApp(bridge, channels="a", start="earliest"), room=0) as client:
        # with room for nothing, what was sent is what one write holds
        await client.head()
        await await_for(lambda: client.blocked)
        assert frames(client._take())[0].event == "stream.open"


async def test_channels_by_name_by_hook_and_both_ends(bridge: Bridge) -> None:
    await bridge.apublish("user:7", "hello")

    async def of_user(scope: Any) -> list[str]:
        return [f"user:{scope['path'].rsplit('/', 1)[1]}"]

    for channels in ("user:7", ["user:7"], of_user, lambda scope: "user:7"):
        async with Http(EventStreamApp(bridge, channels=channels, last=1), "/of/7?channel=secret") as client:
            await client.read_until(b'data: "hello"\n\n')


async def test_a_hook_gets_each_channel_once(bridge: Bridge) -> None:
    asked: list[tuple[str, ...]] = []

    def hook(scope: Any, channels: tuple[str, ...]) -> bool:
        asked.append(channels)
        return False

    target = "/?channels=" + "b,a," * 1000
    async with Http(EventStreamApp(bridge, authorize=hook), target) as client:
        await client.ended()
    async with WebSocket(EventStreamApp(bridge, authorize=hook), target) as socket:
        await socket.ended()
    async with Http(EventStreamApp(bridge, channels=["b", "a", "b"], authorize=hook)) as client:
        await client.ended()
    assert asked == [("b", "a")] * 3


async def test_ndjson_by_accept_and_by_name(bridge: Bridge) -> None:
    await bridge.apublish("a", {"n": 1}, type="order.paid")
    app = EventStreamApp(bridge, channels="a", start="earliest")
    for target, headers in (("/", {"Accept": "application/x-ndjson"}), ("/?format=ndjson", {})):
        async with Http(app, target, headers=headers) as client:
            lines = (await client.read_until(b'{"n":1}')).splitlines()
            assert client.headers["content-type"] == "application/x-ndjson"
            assert [json.loads(line)["type"] for line in lines] == ["stream.open", "order.paid"]


async def test_a_format_that_the_app_names_is_not_negotiated(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, channels="a", start="earliest", format="sse-data", type_in_data=True)
    await bridge.apublish("a", {"n": 0}, type="order.paid")
    async with Http(app, "/events?format=ndjson", headers={"Accept": "application/x-ndjson"}) as client:
        body = await client.read_until(b"\n\n")
        assert client.headers["content-type"] == "text/event-stream"
        assert "vary" not in client.headers
        assert body.startswith(b":\nid: ")
        assert body.endswith(b'\ndata: {"type":"order.paid","n":0}\n\n')


async def test_an_end_that_the_format_cannot_tell_is_a_204_at_the_next_request(bridge: Bridge) -> None:
    app = EventStreamApp(bridge, channels="a", start="earliest", format="sse-data")
    position = await bridge.apublish("a", 1)
    async with Http(app, "/events") as client:
        await client.read_until(b"data: 1\n\n")
        await bridge.aclose_channel("a")
        assert (await client.read_all()).endswith(b"data: 1\n\n")
    async with Http(app, "/events", headers={"Last-Event-ID": str(position)}) as client:
        assert await client.read_all() == b""
        assert client.status == 204
    await nothing_left(bridge)


async def test_the_end_ends_the_body_and_then_204(bridge: Bridge) -> None:
    await bridge.apublish("a", 1)
    await bridge.aclose_channel("a")
    app = EventStreamApp(bridge, channels="a", start="earliest")
    async with Http(app) as client:
        last = frames(await client.read_all())[-1]
        assert last.event == "stream.end"
    async with Http(app, headers={"Last-Event-ID": last.id}) as client:
        assert await client.read_all() == b""
        assert client.status == 204
        assert "content-length" not in client.headers
    async with Http(app, method="HEAD", headers={"Last-Event-ID": last.id}) as client:
        assert await client.head() == 204


async def test_an_end_is_asked_of_the_log_before_the_status(bridge: Bridge) -> None:
    """An id may say what its history said, which the broker has lost: forged here."""
    await bridge.apublish("a", 1)
    closed = await bridge.aclose_channel("a")
    open_ = await bridge.apublish("b", 1)
    ids = {"a": f"{closed}".removesuffix("-e") + "-e", "b": f"{open_}-e"}
    both = f"{ids['a']}.{ids['b']}"
    app = EventStreamApp(bridge, authorize=everybody)
    async with Http(app, "/?channel=a", headers={"Last-Event-ID": ids["a"], "Cookie": "x=1"}) as client:
        assert await client.read_all() == b""
        assert (client.status, "content-type" in client.headers) == (204, False)
    for target, id in (("/?channel=b", ids["b"]), ("/?channel=a&channel=b", both)):
        async with Http(app, target, headers={"Last-Event-ID": id}) as client:
            opened = frames(await client.read_until(b"\n\n"))
            assert (client.status, opened[0].event) == (200, "stream.open")
            event = await bridge.apublish("b", 2)
            got = frames(await client.read_until(b"data: 2\n\n"))
            assert [frame.event for frame in got if frame.event == "stream.gap"] == []
            assert got[-1].id.endswith(str(event))
    await nothing_left(bridge)


async def test_head_costs_no_reader(bridge: Bridge) -> None:
    async with Http(EventStreamApp(bridge, channels="a"), method="HEAD") as client:
        assert await client.read_all() == b""
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream")
        assert not bridge.loop_hub().state.feeds


def authorize(scope: Any, channels: tuple[str, ...]) -> Any:
    assert channels
    assert "/" not in channels
    assert len(channels) <= 20
    if "login" in channels:
        raise NotAuthenticated("log in")
    if "busy" in channels:
        raise TooManyStreams("at most 3 streams", retry_after_seconds=7)
    return {"broken": 1, "none": None, "no": False}.get(channels[0], True)


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/?channel=no", {}, 403),
        ("/?channel=none", {}, 403),
        ("/?channel=login", {}, 401),
        ("/?channel=busy", {}, 429),
        ("/?channel=broken", {}, 500),
        ("/", {}, 400),
        ("/?channel=%2F", {}, 400),
        ("/?last=x&channel=a", {}, 400),
        ("/?" + "&".join(f"channel=c{n}" for n in range(21)), {}, 400),
        ("/?" + "&".join(f"channel=c{n}" for n in range(300)), {}, 400),
        ("/?channel=a&format=xml", {}, 406),
        ("/?channel=a", {"Accept": "image/png"}, 406),
    ],
)
async def test_refusals(bridge: Bridge, target: str, headers: dict[str, str], status: int) -> None:
    app = EventStreamApp(bridge, authorize=authorize)
    async with Http(app, target, headers=headers) as client:
        problem = json.loads(await client.read_all())
        assert (client.status, problem["status"]) == (status, status)
        assert client.headers["content-type"] == "application/problem+json"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers.get("retry-after") == ("7" if status == 429 else None)
        assert client.headers.get("vary") == ("Accept" if status == 406 else None)
        if status == 500:
            assert "authorize" not in problem["detail"]
    async with Http(app, target, method="HEAD", headers=headers) as client:
        assert await client.read_all() == b""
        assert client.status == status
    assert not bridge.loop_hub().state.feeds


async def test_other_methods_are_405(bridge: Bridge) -> None:
    async with Http(EventStreamApp(bridge, channels="a"), method="POST", body=b"x" * 100) as client:
        await client.read_all()
        assert (client.status, client.headers["allow"]) == (405, "GET, HEAD")


async def test_the_hook_gets_scope_and_channels_and_its_grant_counts(bridge: Bridge) -> None:
    seen: list[Any] = []

    class Hook:
        async def __call__(self, scope: Any, channels: tuple[str, ...]) -> Grant:
            seen.append((scope["path"], channels))
            return Grant(user="u", expires_at=time.time() + 1)

    async with Http(EventStreamApp(bridge, authorize=Hook()), "/x?channels=a,b&channel=c") as client:
        assert frames(await client.read_all())[-1].data == '{"reason":"expired"}'
    assert seen == [("/x", ("a", "b", "c"))]


async def test_sync_hooks_run_side_by_side(bridge: Bridge) -> None:
    import threading

    both = threading.Barrier(2, timeout=60)

    def slow(scope: Any, channels: tuple[str, ...]) -> bool:
        both.wait()  # breaks unless two hooks run at the same time
        return True

    app = EventStreamApp(bridge, authorize=slow)
    async with Http(app, "/?channel=a") as one, Http(app, "/?channel=a") as other:
        await asyncio.gather(one.read_until(b"stream.open"), other.read_until(b"stream.open"))


def test_refuses_to_start_without_a_decision() -> None:
    with pytest.raises(ConfigurationError, match="authorize=lambda scope, channels: True"):
        EventStreamApp(Bridge())
    with pytest.raises(ConfigurationError, match="callable"):
        EventStreamApp(Bridge(), authorize=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="Bridge"):
        EventStreamApp("memory://", channels="a")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"sse-data.*got 'sse_data'"):
        EventStreamApp(Bridge(), channels="a", format="sse_data")


async def test_default_bridge_and_lifespan(bridge: Bridge) -> None:
    app = EventStreamApp(channels="a", last=1)
    configure(bridge)
    try:
        await bridge.apublish("a", 1)
        async with Lifespan(app), Http(app) as client:
            await client.read_until(b"data: 1\n\n")
    finally:
        configure(None)
    with pytest.raises(ValueError, match="raw"):
        await app({"type": "raw"}, None, None)  # type: ignore[arg-type]


async def test_closing_the_bridge_ends_the_streams() -> None:
    bridge = Bridge()
    async with Http(EventStreamApp(bridge, channels="a")) as client:
        await client.read_until(b"stream.open")
        await bridge.aclose()
        await client.read_all()
        assert client.complete


@pytest.mark.parametrize("follows", [False, True])
async def test_closing_the_bridge_ends_the_connections(follows: bool) -> None:
    bridge = Bridge()
    async with WebSocket(EventStreamApp(bridge, authorize=everybody), "/?channel=a" if follows else "/") as client:
        client.say('{"type": "ping"}')
        for kind in ["stream.open"] * follows + ["stream.pong"]:
            assert json.loads(await client.take())["type"] == kind
        await bridge.aclose()
        if not follows:  # nothing of the bridge can wake it
            client.say('{"type": "subscribe", "channels": ["a"]}')
        assert json.loads(await client.take())["data"] == {"reason": "unavailable"}
        await client.ended()
        assert client.closed == 4503


# The client leaves in every phase, and everything is given back (the fixture looks).


async def test_leaving_before_anything(bridge: Bridge) -> None:
    client = Http(EventStreamApp(bridge, channels="a"))
    client.leave()
    async with client:
        await client.ended()
    await nothing_left(bridge)


async def test_leaving_while_the_hook_runs(bridge: Bridge) -> None:
    inside, go = asyncio.Event(), asyncio.Event()

    async def hook(scope: Any, channels: Any) -> bool:
        inside.set()
        await go.wait()
        return True

    async with Http(EventStreamApp(bridge, authorize=hook), "/?channel=a") as client:
        await inside.wait()
        client.leave()
        go.set()
        await client.ended()
    await nothing_left(bridge)


async def test_leaving_while_it_opens(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def stuck(requests: Any) -> Any:
        await never.wait()

    monkeypatch.setattr(bridge.backend, "aread", stuck)
    async with Http(EventStreamApp(bridge, channels="a", start="earliest")) as client:
        await await_for(bridge.loop_hub().readers)
        client.leave()
        await client.ended()
        assert client.status is None
        await nothing_left(bridge)


async def test_leaving_while_it_waits_for_events(bridge: Bridge) -> None:
    async with Http(EventStreamApp(bridge, channels="a")) as client:
        await client.read_until(b"stream.open")
        client.leave()
        await client.ended()
        await nothing_left(bridge)


async def test_leaving_while_it_is_blocked_in_send(bridge: Bridge) -> None:
    async with Http(EventStreamApp(bridge, channels="a"), room=100) as client:
        await client.read_until(b"stream.open")
        await bridge.apublish("a", "x" * 1000)
        await await_for(lambda: client.blocked)
        client.leave()
        await client.ended()
        await nothing_left(bridge)


@pytest.mark.parametrize("phase", ["opening", "waiting", "blocked"])
async def test_the_server_cancels_the_request(bridge: Bridge, phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if phase == "opening":
        monkeypatch.setattr(bridge.backend, "aread", lambda requests: asyncio.Event().wait())
    client = Http(EventStreamApp(bridge, channels="a", start="earliest"), room=100)
    await client.__aenter__()
    if phase == "opening":
        await await_for(bridge.loop_hub().readers)
    else:
        await client.read_until(b"stream.open")
    if phase == "blocked":
        await bridge.apublish("a", "x" * 1000)
        await await_for(lambda: client.blocked)
    client.task.cancel()
    await asyncio.wait({client.task})
    assert client.task.cancelled()
    client.check()
    await nothing_left(bridge)


async def test_a_send_that_raises_oserror_is_a_gone_client(bridge: Bridge) -> None:
    async def send(message: Any) -> None:
        raise OSError("gone")

    client = Http(EventStreamApp(bridge, channels="a"))
    await asyncio.wait_for(EventStreamApp(bridge, channels="a")(client.scope, client._receive, send), 60)
    await nothing_left(bridge)
