"""What a WebSocket's hooks answer is encoded, or refused, as published data is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sse_bridge import Bridge, Json, Text
from sse_bridge_asgi import EventStreamApp
from tests.asgi.strict_server import WebSocket


async def test_answers_of_hooks_are_data_as_published_events_are(
    bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    answers: dict[str, Any] = {"keys": {None: 1}, "text": Text("as it is"), "json": Json(b'{"a":1}'), "none": object(),
                               "broken": Json(b"{"), "surrogate": "\ud800"}  # fmt: skip
    app = EventStreamApp(bridge, authorize=lambda *_: True, on_message=lambda scope, message: answers[message["type"]])
    async with WebSocket(app) as client:

        async def ask(type: str) -> Any:
            client.say(json.dumps({"type": type}))
            return json.loads(await client.take())["data"]

        for name, expected in (("keys", {"null": 1}), ("text", "as it is"), ("json", {"a": 1})):
            assert await ask(name) == {"to": name, "result": expected}
        for name in ("none", "broken", "surrogate"):
            error = await ask(name)
            assert error["detail"] == {"status": 500, "request": name}
            assert "object" not in error["message"]
    assert caplog.text.count("the answer of a WebSocket's hook cannot be sent") == 3
