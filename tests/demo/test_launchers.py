"""What `make demo` and `make demo-redis` run: they find a port, print the address, and leave nothing behind."""

from __future__ import annotations

import signal
import socket
import urllib.request
from contextlib import closing

from tests.demo.conftest import launched
from tests.support.http_stream import HTTPStream
from tests.support.process import Process, accepts
from tests.support.requires import needs_redis7
from tests.support.wait import wait_for


def test_a_taken_port_is_left_alone() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        process = Process(["python", "-m", "demo_django", "--port", str(port)])
        wait_for(lambda: "http://127.0.0.1:" in process.output)
        address = process.output.split()[0]
        assert f":{port}/" not in address
        with urllib.request.urlopen(address) as response:
            assert b"sse_bridge" in response.read()
        process.terminate()


def test_ctrl_c_ends_open_streams_and_the_process() -> None:
    with launched("demo_django") as (process, url), HTTPStream(f"{url}events/") as stream:
        assert b"stream.open" in (stream.read() or b"")
        process.signal(signal.SIGINT)
        assert b'event: stream.close\ndata: {"reason":"drain"}\n\n' in stream.read_all(60)
        assert stream.ended == "complete"
        assert process.wait(60) == 0
        assert "Traceback" not in process.output


@needs_redis7
def test_with_redis_everything_works_across_processes_and_stops() -> None:
    with launched("demo_django", "--redis") as (process, url):
        redis = int(process.output.split("redis://127.0.0.1:")[1].split("/")[0])
        with urllib.request.urlopen(url) as page:
            cookie = page.headers["Set-Cookie"].split(";")[0]
            token = page.read().decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        headers = {"X-CSRFToken": token, "Cookie": cookie}
        with HTTPStream(f"{url}live/?channel=orders") as first, HTTPStream(f"{url}events/") as second:
            assert b"stream.open" in (first.read() or b"")
            assert b"stream.open" in (second.read() or b"")
            urllib.request.urlopen(urllib.request.Request(f"{url}orders/batch/", b"", headers)).close()
            for stream in (first, second):
                seen = b""
                while seen.count(b"Celery task") < 12:
                    seen += stream.read(60) or b""
                    assert not stream.ended
        process.signal(signal.SIGINT)
        process.wait(60)
    assert not accepts(redis), "Redis was left behind"
