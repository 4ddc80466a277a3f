"""An open stream on a server costs the server's own task and no other; where a middleware wraps `receive`, one more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge_asgi import EventStreamApp
from tests.support.wait import await_for


class Connection:
    """What a server hands to an app: both are methods of one object."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.mark.parametrize(("wrapped", "tasks"), [(False, 1), (True, 2)])
async def test_tasks_of_an_open_stream(wrapped: bool, tasks: int) -> None:
    async with Bridge("memory://") as bridge:
        app = EventStreamApp(bridge, channels="a")
        connection = Connection()

        async def receive() -> dict[str, str]:
            return await connection.receive()

        before = asyncio.all_tasks()
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        serving = asyncio.create_task(app(scope, receive if wrapped else connection.receive, connection.send))
        await await_for(lambda: len(connection.sent) == 2, what="the first frame")
        await await_for(lambda: len(asyncio.all_tasks() - before) == tasks, what=f"{tasks} tasks")
        await bridge.apublish("a", 1)
        await await_for(lambda: len(connection.sent) == 3, what="the event")
        assert len(asyncio.all_tasks() - before) == tasks
        connection.gone.set()
        await asyncio.wait_for(serving, 60)
