"""The ASGI site of the fault tests: /events/ (SSE and WebSocket), /counts, /blocked, /jump; its bridge is configured by SSE_BRIDGE_*."""

from __future__ import annotations

import time

JUMP = [0.0]
_wall = time.time
time.time = lambda: _wall() + JUMP[0]  # before anything can have taken the real one

import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402
from urllib.parse import parse_qsl  # noqa: E402

from sse_bridge import Bridge  # noqa: E402
from sse_bridge.streams import Grant  # noqa: E402
from sse_bridge_asgi import SSEBridgeMiddleware  # noqa: E402
from tests.faults.counting import blocked, counts  # noqa: E402

bridge = Bridge()
if "WARM_UP" in os.environ:  # a master that has used everything before it forks its workers
    bridge.publish("warm", 0)
    warm = bridge.subscribe("warm", after="earliest")
    assert warm.next(60) is not None


async def authorize(scope: Any, channels: tuple[str, ...]) -> Grant:
    return Grant()


async def answer(scope: Any, message: Any) -> Any:
    """A hook that takes as long as the message says."""
    await asyncio.sleep(message["seconds"])
    return message["seconds"]


async def pages(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    if scope["path"] == "/jump":
        JUMP[0] = float(query["seconds"])
        value: Any = time.time()
    elif scope["path"] == "/publish":
        position = await bridge.apublish(query["channel"], json.loads(query["data"]))
        value = {"id": str(position), "pid": os.getpid()}
    elif scope["path"] == "/blocked":
        value = blocked()
    else:
        value = counts(bridge)
    body = json.dumps(value).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = SSEBridgeMiddleware(pages, bridge, path="/events/", authorize=authorize, on_message=answer)
