"""FastAPI's endpoints under the strict server and under uvicorn: what is returned is streamed, and given back."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import pytest
from starlette.middleware import base
from starlette.responses import StreamingResponse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sse_bridge.errors import ConfigurationError
from sse_bridge.testing import memory_bridge
from sse_bridge_starlette import EventSourceResponse, EventStream
from tests.apps import starlette_site as site
from tests.asgi.strict_server import Http, Lifespan
from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient, follow
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve("uvicorn", "tests.apps.starlette_site:app") as server:
        yield server


def get(server: Server, path: str, method: str = "GET") -> object:
    with HTTPStream(f"{server.url}{path}", method=method) as response:
        return json.loads(response.read_all())


def state(server: Server) -> dict[str, list[str]]:
    seen = get(server, "/held")
    assert isinstance(seen, dict)
    return seen


def held(server: Server) -> tuple[object, object]:
    seen = state(server)
    return seen["readers"], seen["streams"]


def test_a_source_in_a_websocket_endpoint(server: Server) -> None:
    options = {"proxy": None} if "proxy" in inspect.signature(connect).parameters else {}  # from websockets 15
    with connect(f"ws://{server.host}:{server.port}/ask?words=one,two", **options) as client:
        messages = [json.loads(client.recv(60)) for _ in range(4)]
        with pytest.raises(ConnectionClosed):
            client.recv(60)
    assert [message["type"] for message in messages] == ["stream.open", "token", "token", "stream.end"]
    assert client.close_code == 1000
    wait_for(lambda: held(server) == (0, 0))


async def test_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    if issubclass(base._StreamingResponse, StreamingResponse):  # of Starlette 0.37, which receives twice at a time
        rest = [each for each in site.app.user_middleware if not issubclass(each.cls, base.BaseHTTPMiddleware)]
        monkeypatch.setattr(site.app, "user_middleware", rest)
    # the only test that runs the app in this process: its lifespan closes the bridge for good
    async with Lifespan(site.app):
        async with Http(site.app, "/orders/1", headers={"X-User": "ada"}) as client:
            await client.read_until(b"stream.open")
            cookies = [value.split(b";")[0] for name, value in client.raw_headers if name == b"set-cookie"]
            assert sorted(cookies) == [b"own=1", b"user=ada"]
            assert client.headers["content-type"] == "text/event-stream"
            assert client.headers["x-own"] == "1"
            assert "content-length" not in client.headers
        for headers, channel, status in (({"X-User": "stranger"}, "1", 401), ({"Accept": "image/png"}, "1", 406)):
            async with Http(site.app, f"/orders/{channel}", headers=headers) as client:
                assert json.loads(await client.read_all())["status"] == status
                assert client.status == status
        async with Http(
            site.app, "/ask", "POST", b'{"words":["a","b"]}', headers={"Content-Type": "application/json"}
        ) as client:
            body = await client.read_all()
            assert body.count(b"event: token\n") == 2


def test_stream_and_resume(server: Server) -> None:
    url = f"{server.url}/orders/7"
    with SSEClient(url, {"X-User": "ada", "Accept-Encoding": "gzip"}) as client:
        opened = client.take(1)[0]
        get(server, "/publish/orders:7", "POST")
        assert client.take(1)[0].data == '"x"'
        assert client.headers["x-middleware"] == "1"
        assert client.headers["vary"] == "Accept"
    with SSEClient(url, last_event_id=opened.id) as client:
        assert [frame.data for frame in client.take(2)] == ["{}", '"x"']
    wait_for(lambda: held(server) == (0, 0), what="everything given back")
    # Starlette runs it in a thread after the response: the reader is gone before it has run.
    wait_for(lambda: state(server)["background"].count("7") == 2, what="both background tasks")


def test_a_sync_endpoint_publishes_and_streams(server: Server) -> None:
    with SSEClient(f"{server.url}/sync/s") as client:
        assert client.take(2)[1].data == '"from a thread"'
    wait_for(lambda: held(server) == (0, 0), what="everything given back")


def test_ndjson_through_gzip_middleware(server: Server) -> None:
    headers = {"Accept": "application/x-ndjson", "Accept-Encoding": "gzip"}
    with HTTPStream(f"{server.url}/orders/8", headers=headers) as response:
        assert json.loads(response.read() or b"")["type"] == "stream.open"


def test_mounted_where_the_client_chooses(server: Server) -> None:
    get(server, "/publish/m", "POST")
    with SSEClient(f"{server.url}/any/?channel=m&after=earliest") as client:
        assert client.take(2)[1].data == '"x"'
    with HTTPStream(f"{server.url}/any/?channel=forbidden") as response:
        assert response.status == 403


def test_sources_of_both_colours(server: Server) -> None:
    body = b'{"words":["a","b"]}'
    headers = {"Content-Type": "application/json"}
    with SSEClient(f"{server.url}/ask", headers, method="POST", body=body) as client:
        assert [frame.data for frame in client.rest() if frame.event == "token"] == ['"a"', '"b"']
        assert client.ended == "complete"
    with HTTPStream(f"{server.url}/count", headers={"Accept": "application/x-ndjson"}) as response:
        assert response.read_all().split(b"\n")[:3] == [b"0", b"1", b"2"]
    assert follow(f"{server.url}/count", lambda frames: False).finished


def test_leaving_closes_the_source(server: Server) -> None:
    with SSEClient(f"{server.url}/endless") as client:
        client.take(5)
    wait_for(lambda: state(server)["closed"] == ["ticks"], what="the generator's finally")
    wait_for(lambda: held(server) == (0, 0), what="everything given back")


def test_what_was_asked_as_a_dependency(server: Server) -> None:
    assert get(server, "/asked?channel=a&after=x") == {"id": "x", "channels": ["a"]}
    with HTTPStream(f"{server.url}/asked?last=x") as response:
        assert response.status == 400


def test_refuses_what_no_eventsource_accepts() -> None:
    with pytest.raises(ConfigurationError, match="200"):
        EventStream("a", status_code=201)


def test_the_schema_names_the_content_type(server: Server) -> None:
    schema = get(server, "/openapi.json")
    assert isinstance(schema, dict)
    assert list(schema["paths"]["/ask"]["post"]["responses"]["200"]["content"]) == ["text/event-stream"]


def test_a_format_that_no_stream_has_is_the_endpoint_s_mistake() -> None:
    with pytest.raises(ConfigurationError, match=r"sse-data.*got 'sse_data'"):
        EventStream("a", format="sse_data")


async def test_what_is_no_source_is_the_endpoint_s_mistake() -> None:
    with memory_bridge():
        async with Http(EventSourceResponse(42)) as client:  # type: ignore[arg-type]
            assert await client.head() == 500
