"""Hooks that raise what is no plain exception: the server answers 500, and nothing is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge_starlette import EventStream
from tests.asgi.strict_server import Http
from tests.asgi.test_hook_errors import cases


@cases
async def test_authorize(hook: Any) -> None:
    async with Bridge() as bridge:
        with pytest.raises(RuntimeError, match="raise"):
            async with Http(EventStream("a", bridge=bridge, authorize=hook)) as client:
                await client.ended()
        assert client.status is None
        assert not bridge.loop_hub().readers()
