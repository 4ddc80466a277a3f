"""The project under daphne and uvicorn, over both brokers: what a client sees, and what a server holds when it has left."""

from __future__ import annotations

import contextlib
import inspect
import json
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any, Self

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sse_bridge import Bridge
from tests.support.process import Process
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

PROJECT = "tests.channels_app.project"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("channels") / "db.sqlite3"
    with Process(["python", "-m", PROJECT], env={"CHANNELS_APP_DB": str(path)}) as migrate:
        assert migrate.wait() == 0, migrate.output
    return path


class Site:
    """The project as its clients see it."""

    def __init__(self, server: Server, broker: str) -> None:
        self.server = server
        self.broker = broker
        self.url = server.url

    def publish(self, channel: str, *numbers: Any) -> None:
        """By a sync Django view."""
        answer = httpx.post(
            f"{self.url}/publish/", params={"channel": channel}, content=json.dumps(numbers), timeout=60
        )
        assert answer.status_code == 204, answer.text

    def socket(self, path: str = "ws/", **options: Any) -> Socket:
        return Socket(f"ws://127.0.0.1:{self.server.port}/{path}", options)

    def held(self) -> Any:
        return httpx.get(f"{self.url}/state/", timeout=60).json()

    def wait_until_released(self) -> None:
        wait_for(lambda: self.held() == {"streams": 0, "readers": 0}, what=f"nobody reading: {self.held()}")


class Socket:
    """A client that speaks JSON; connects in its with statement."""

    connection: ClientConnection

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        direct = {"proxy": None} if "proxy" in inspect.signature(connect).parameters else {}  # from websockets 15
        self._connect = lambda: connect(url, **direct, **options)

    def __enter__(self) -> Self:
        self.connection = self._connect().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message))

    def hear(self, seconds: float = 60) -> Any:
        """The next message that is no heartbeat, since a test may take longer than there are none."""
        while (message := json.loads(self.connection.recv(seconds))).get("type") == "stream.heartbeat":
            pass
        return message

    def ask(self, **message: Any) -> Any:
        self.say(**message)
        return self.hear()

    def numbers(self, count: int) -> list[int]:
        """The next events' numbers; keeps the last id."""
        events = [self.hear() for _ in range(count)]
        self.id = events[-1]["id"]
        return [event["data"]["n"] for event in events]

    def cut(self) -> None:
        """Without a goodbye."""
        self.connection.socket.shutdown(SHUT_RDWR)  # `close` sends nothing while the connection's thread reads


@pytest.fixture(
    scope="module",
    params=[(kind, broker) for kind in ("daphne", "uvicorn") for broker in ("memory", "redis")],
    ids="-".join,
)
def site(request: pytest.FixtureRequest, database: Path) -> Iterator[Site]:
    kind, broker = request.param
    url = request.getfixturevalue("redis_url") if broker == "redis" else "memory://"
    env = {"SSE_BRIDGE_URL": url, "SSE_BRIDGE_PREFIX": f"channels-{kind}", "CHANNELS_APP_DB": str(database)}
    with serve(kind, f"{PROJECT}:application", env=env) as server:
        yield Site(server, broker)
        assert "Traceback" not in server.output, server.output


@pytest.fixture
def channel() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


def test_sse_stream_and_resume(site: Site, channel: str) -> None:
    with SSEClient(f"{site.url}/events/?channel={channel}") as client:
        assert client.take(1)[0].event == "stream.open"
        site.publish(channel, 1, 2)
        assert [json.loads(frame.data)["n"] for frame in client.take(2)] == [1, 2]
        last = client.last_event_id
    site.publish(channel, 3, 4)
    with SSEClient(f"{site.url}/events/?channel={channel}", last_event_id=last) as client:
        assert [json.loads(frame.data)["n"] for frame in client.take(3)[1:]] == [3, 4]
        site.publish(channel, 5)
        assert json.loads(client.take(1)[0].data)["n"] == 5
    site.wait_until_released()


def test_sse_of_channels_that_are_not_allowed(site: Site) -> None:
    with SSEClient(f"{site.url}/events/?channel=secret") as client:
        assert client.status == 403


def test_sse_with_the_address_and_the_user_of_the_session(site: Site) -> None:
    address = f"{site.url}/orders/{uuid.uuid4().int % 10**6}/events/"
    with SSEClient(address) as stranger:
        assert stranger.status == 403
    session = httpx.get(f"{site.url}/login/", timeout=60).cookies["sessionid"]
    with SSEClient(address, {"Cookie": f"sessionid={session}"}) as ada:
        assert ada.status == 200
        site.publish(f"orders:{address.split('/')[-3]}", 7)
        assert json.loads(ada.take(2)[1].data) == {"n": 7}
    site.wait_until_released()


def test_websocket_resumes_what_was_missed_after_a_cut(site: Site, channel: str) -> None:
    other = f"{channel}.other"
    with site.socket() as socket:
        assert socket.ask(type="subscribe", channels=[channel, other])["type"] == "stream.open"
        site.publish(channel, 1, 2)
        assert socket.numbers(2) == [1, 2]
        socket.cut()
    site.publish(channel, 3, 4)
    site.publish(other, 10)
    with site.socket() as again:
        again.say(type="subscribe", channels=[channel, other], after=socket.id)
        assert again.hear()["type"] == "stream.open"
        assert sorted(again.numbers(3)) == [3, 4, 10]
        site.publish(channel, 5)
        assert again.numbers(1) == [5]
    site.wait_until_released()


def test_websocket_errors_and_refusals(site: Site, channel: str) -> None:
    with site.socket() as socket:
        socket.ask(type="subscribe", channels=[channel])
        assert socket.ask(type="dance")["type"] == "stream.error"
        answer = socket.ask(type="subscribe", channels=["secret"])
        assert (answer["type"], answer["data"]["detail"]["status"]) == ("stream.error", 403)
        site.publish(channel, 1)
        assert socket.numbers(1) == [1]
    for origin in ("http://127.0.0.1", "https://www.example.com"):
        with site.socket(origin=origin):
            pass
    for refused in (site.socket(origin="https://evil.org"), site.socket("ws/?channel=secret")):
        with pytest.raises(InvalidStatus, match="403"), refused:
            pass
    site.wait_until_released()


def test_websocket_cancel_reaches_the_hook(site: Site, channel: str) -> None:
    session = httpx.get(f"{site.url}/login/", timeout=60).cookies["sessionid"]
    with site.socket(additional_headers={"Cookie": f"sessionid={session}"}) as socket:
        socket.ask(type="subscribe", channels=[channel])
        answers = [socket.ask(type="cancel", run=channel), socket.hear()]
    by_type = {answer["type"]: answer["data"] for answer in answers}
    assert by_type == {"stream.cancelled": {"result": channel}, "run.cancelled": {"by": "ada"}}


def test_a_slow_hook_holds_up_its_own_connection_only(site: Site, channel: str) -> None:
    slow = f"slow:{channel}"
    with site.socket() as waiting, site.socket() as other:
        waiting.say(type="subscribe", channels=[slow])
        other.ask(type="subscribe", channels=[channel])
        site.publish(channel, 1)
        assert other.numbers(1) == [1]
        httpx.get(f"{site.url}/open-gate/", timeout=60)
        assert waiting.hear()["data"] == {"channels": [slow]}
    site.wait_until_released()


@pytest.mark.parametrize("path", ["ws/follow/", "ws/sync/"])
def test_your_own_consumer_follows_channels(site: Site, channel: str, path: str) -> None:
    with site.socket(path) as socket:
        assert socket.ask(do="follow", channels=[channel])["followed"] == [channel]
        site.publish(channel, 1)
        socket.say(do="publish", channel=channel, data={"n": 2})
        events = [each for each in [socket.hear() for _ in range(3)] if "did" not in each]
        assert [event["data"]["n"] for event in events] == [1, 2]
        socket.cut()
    site.publish(channel, 3, 4)
    with site.socket(path) as again:
        again.say(do="follow", channels=[channel], after=events[-1]["id"])
        events = [each for each in [again.hear() for _ in range(3)] if "did" not in each]
        assert [event["data"]["n"] for event in events] == [3, 4]
        again.ask(do="unfollow", channels=[channel])
        site.publish(channel, 5)
        assert again.ask(do="publish", channel="else", data=0)["did"] == "publish"
    site.wait_until_released()


# A memory bridge lives in one process.
@pytest.mark.parametrize(
    "site", [("daphne", "redis"), ("uvicorn", "redis")], ids="-".join, indirect=True, scope="module"
)
def test_another_process_publishes(site: Site, channel: str, redis_url: str) -> None:
    with (
        Bridge(redis_url, prefix=f"channels-{site.server.kind}") as bridge,
        site.socket(f"ws/?channel={channel}") as socket,
        SSEClient(f"{site.url}/events/?channel={channel}") as client,
    ):
        assert socket.hear()["type"] == client.take(1)[0].event == "stream.open"
        position = bridge.publish(channel, {"n": 1})
        assert socket.hear()["id"] == client.take(1)[0].id == str(position)
        bridge.close_channel(channel)
        assert socket.hear()["type"] == client.rest()[-1].event == "stream.end"
    site.wait_until_released()


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_streams_and_sockets_are_told_when_the_server_goes_down(kind: str, database: Path) -> None:
    with serve(kind, f"{PROJECT}:application", env={"CHANNELS_APP_DB": str(database)}) as server:
        site = Site(server, "memory")
        with SSEClient(f"{site.url}/events/?channel=a") as client, site.socket("ws/?channel=a") as socket:
            assert socket.hear()["type"] == client.take(1)[0].event == "stream.open"
            server.process.signal(signal.SIGTERM)
            assert client.rest()[-1].event == "stream.close"
            assert socket.hear()["type"] == "stream.close"
            with pytest.raises(ConnectionClosed) as closed:
                socket.hear()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4503
        server.process.wait()


# A client's text message (RFC 6455, 5.2), masked with zeros. A long one: in small ones daphne parses thousands between two
# writes, and it drops a connection a second after its close, which a busy machine has not written by then.
LONG_PING = b"\x81\xfe" + (4000).to_bytes(2) + bytes(4) + b'{"type":"ping"}'.ljust(4000)
# A second each for the write, the close and the client's answer to it, which comes behind all that the client has sent, and
# ten for the end of uvicorn's older protocol; the rest is for a loaded machine.
END_SECONDS = 60.0


class Flood:
    """Sends without a pause on a thread of its own until the connection is closed, or the block ends."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket.connection.socket
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        while not self._over.is_set():
            try:
                self._socket.sendall(LONG_PING * 10)
            except OSError:  # closed, or nobody takes it any more
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(SHUT_RDWR)  # ends a `sendall` that waits
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("path", ["ws/", "ws/slow/"])
def test_a_client_that_sends_without_a_pause_is_closed(site: Site, channel: str, path: str) -> None:
    with site.socket(f"ws/?channel={channel}") as other, site.socket(f"{path}?channel={channel}") as socket:
        assert other.hear()["type"] == socket.hear()["type"] == "stream.open"
        socket.say(type="mine")
        with Flood(socket):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    assert socket.hear(END_SECONDS)["type"] in ("stream.pong", "stream.error")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4429
        httpx.get(f"{site.url}/end-hooks/", timeout=60)
        site.publish(channel, 1)
        assert other.numbers(1) == [1]
    site.wait_until_released()


def test_a_client_that_also_reads_nothing_is_ended(site: Site, channel: str) -> None:
    site.publish(channel, *["x" * 50_000] * 40)  # more than any buffer
    with site.socket(f"ws/?channel={channel}") as other:
        assert other.hear()["type"] == "stream.open"
        with site.socket(f"ws/?channel={channel}&after=earliest", max_queue=1) as socket:
            wait_for(lambda: site.held()["streams"] == 2, what="both")
            with Flood(socket):
                wait_for(lambda: site.held() == {"streams": 1, "readers": 1}, END_SECONDS, what="the flooder's end")
            site.publish(channel, 1)
            assert other.numbers(1) == [1]
    site.wait_until_released()


def test_a_source(site: Site) -> None:
    with site.socket("ws/numbers/") as client:
        messages = [client.hear() for _ in range(6)]
        assert [message["type"] for message in messages] == ["stream.open", "users", *["number"] * 3, "stream.end"]
        with pytest.raises(ConnectionClosed):
            client.hear()
        assert client.connection.close_code == 1000
    site.wait_until_released()
