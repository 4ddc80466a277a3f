"""The site for tests of the browser client: channels at /events/ (POST too), a page at /, and answers as a test plans them.

Everything asked of /events/ is remembered by its first channel; `/asked?channel=` tells it.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from starlette.staticfiles import StaticFiles

from sse_bridge import Bridge
from sse_bridge.streams import Cors, scope_request, send_refusal, send_stream, stream_channels
from tests.support.process import ROOT

PAGE = b"""<!doctype html><meta charset=utf-8><link rel=icon href="data:,"><title>client</title>
<script type=module>import * as client from "/static/sse_bridge/client.js"; Object.assign(globalThis, client);</script>
<body data-position="%b">"""
EXAMPLES = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "browser.md").read_text(), re.DOTALL)
EXAMPLE_STARTS = {"page.js": "import", "events.js": "// events.js", "native.js": "const source"}

bridge = Bridge()
files = StaticFiles(packages=[("sse_bridge", "static")])
asked: dict[str, list[dict[str, Any]]] = defaultdict(list)
plans: dict[str, list[list[Any]]] = {}


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


async def _events(scope: Any, receive: Any, send: Any, channel: str) -> None:
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    if (preflight := Cors.of(bridge.settings).preflight(scope["method"], headers)) is not None:
        await send_refusal(preflight, send)
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    body = (await _body(receive)).decode() if scope["method"] == "POST" else ""
    asked[channel].append(
        {"method": scope["method"], "headers": headers, "query": query, "body": body, "at": time.monotonic()}
    )
    if plans.get(channel):
        status, extra, text = plans[channel].pop(0)
        await _answer(send, status, extra, text.encode())
        return
    request = scope_request(scope)
    await send_stream(stream_channels(bridge, request.channels, request), receive, send)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/orders/42/events/":  # the address in the docs
        scope, path = {**scope, "query_string": b"channel=orders:42&" + scope["query_string"]}, "/events/"
    channel = parse_qs(scope["query_string"].decode()).get("channel", [""])[0]
    if path == "/events/":
        await _events(scope, receive, send, channel)
    elif path == "/asked":
        await _answer(send, 200, {}, json.dumps(asked[channel]).encode())
    elif path == "/readers":
        await _answer(send, 200, {}, str(bridge.loop_hub().readers()).encode())
    elif path == "/plan":
        plans[channel] = json.loads(await _body(receive))
        await _answer(send, 204, {}, b"")
    elif path.startswith("/static/shop/"):  # examples of docs/browser.md, by their first words
        body = next(text for text in EXAMPLES if text.startswith(EXAMPLE_STARTS[path.rpartition("/")[2]]))
        await _answer(send, 200, {"content-type": "text/javascript"}, body.encode())
    elif path.startswith("/static/"):
        await files({**scope, "path": path.removeprefix("/static"), "root_path": ""}, receive, send)
    else:
        position = await bridge.aposition("orders:42")
        await _answer(send, 200, {"content-type": "text/html"}, PAGE % position.encode())
