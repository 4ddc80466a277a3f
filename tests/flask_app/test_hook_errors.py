"""Hooks that raise what is no plain exception, in views of both colours: Flask's own 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response

from sse_bridge_flask import SSEBridge, aevent_stream, event_stream
from tests.streams.strange_errors import STRANGE, async_raiser, raiser


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask(__name__)
    sse = SSEBridge(app, default=False)
    with sse.bridge:
        yield app


@pytest.mark.parametrize("make", [raiser, async_raiser])
@pytest.mark.parametrize("name", STRANGE)
def test_authorize(app: Flask, name: str, make: Any) -> None:
    hook = make(STRANGE[name])

    def view() -> Response:
        return event_stream("a", authorize=hook)

    async def aview() -> Response:
        return await aevent_stream("a", authorize=hook)

    app.add_url_rule("/sync", view_func=view)
    app.add_url_rule("/async", view_func=aview)
    for path in ("/sync", "/async"):
        assert app.test_client().get(path).status_code == 500
