"""The Flask app that the servers of these tests run; its bridge is configured by SSE_BRIDGE_* in the environment.

What the process holds is at /state: streams, readers, feeds, threads, and how many event loops were ever made.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify, request, stream_with_context

from sse_bridge import get_bridge
from sse_bridge.errors import NotAuthenticated
from sse_bridge.streams import Grant
from sse_bridge_flask import SSEBridge, aevent_stream, event_stream

app = Flask(__name__)
sse = SSEBridge(app)
if os.environ.get("WARM_UP"):  # a master that has used everything before it forks its workers
    sse.publish("a", "before the fork")
    warm = sse.bridge.subscribe("a", after="earliest")
    assert warm.next(60) is not None
loops_made = 0
responses_closed: list[str] = []


class _CountedLoop(asyncio.SelectorEventLoop):
    def __init__(self, *args: Any, **options: Any) -> None:
        global loops_made
        loops_made += 1
        super().__init__(*args, **options)


asyncio.SelectorEventLoop = asyncio.DefaultEventLoopPolicy._loop_factory = _CountedLoop  # type: ignore[assignment,misc]


def by_user(request: Any, channels: tuple[str, ...]) -> bool | Grant:
    user = request.headers.get("X-User")
    if user is None:
        raise NotAuthenticated("say who you are in X-User")
    return all(channel.startswith(f"user:{user}:") for channel in channels) and Grant(user=user)


async def by_user_async(request: Any, channels: tuple[str, ...]) -> bool | Grant:
    await asyncio.sleep(0)
    return by_user(request, channels)


sse.mount("/mounted", authorize=by_user)
sse.mount("/mounted-async", authorize=by_user_async, endpoint="mounted_async")


@app.get("/events/<channel>")
def events(channel: str) -> Response:
    response = event_stream(channel.split(","))
    response.set_cookie("seen", "yes")
    response.headers["X-Pid"] = str(os.getpid())
    response.call_on_close(lambda: responses_closed.append(channel))
    return response


@app.get("/aevents/<channel>")
async def aevents(channel: str) -> Response:
    return event_stream(channel)


@app.get("/guarded/<channel>")
async def guarded(channel: str) -> Response:
    return await aevent_stream(channel, authorize=by_user_async)


@app.get("/source")
def source() -> Response:
    def numbers() -> Iterator[dict[str, Any]]:
        for number in range(3):
            yield {"event": "number", "data": {"number": number, "path": request.path}}

    return event_stream(stream_with_context(numbers()))


@app.post("/publish/<channel>")
def publish(channel: str) -> Response:
    count = request.args.get("count", 1, int)
    first = request.args.get("first", 0, int)
    before = threading.active_count(), loops_made
    for number in range(first, first + count):
        sse.publish(channel, {"n": number}, type="number")
        after = threading.active_count(), loops_made
    return jsonify(before=before, after=after, default=get_bridge() is sse.bridge, pid=os.getpid())


@app.post("/apublish/<channel>")
async def apublish(channel: str) -> Response:
    return jsonify(id=str(await sse.apublish(channel, {"n": 0})))


@app.post("/close/<channel>")
def close(channel: str) -> Response:
    return jsonify(id=str(sse.bridge.close_channel(channel)))


@app.get("/redacted/<channel>")
def redacted(channel: str) -> Response:
    return event_stream(channel)


@app.after_request
def redact(response: Response) -> Response:
    """What an application may do to every piece of a body; the number of bytes stays the same."""
    if request.path.startswith("/redacted/"):
        pieces = response.response
        response.response = (piece.replace(b'"n"', b'"*"') for piece in pieces)  # type: ignore[union-attr]
    return response


@app.get("/state")
def state() -> Response:
    bridge = sse.bridge
    hub = bridge._thread_hub
    return jsonify(
        streams=len(bridge.streams),
        readers=0 if hub is None else hub.readers(),
        pushed=0 if hub is None else len(hub.shared_readers.members()),
        feeds=[] if hub is None else sorted(hub.state.feeds),
        threads=sorted(thread.name for thread in threading.enumerate()),
        loops=loops_made,
        closed=responses_closed,
    )
