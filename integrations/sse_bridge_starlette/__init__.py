"""Streams as return values, for Starlette and FastAPI.

    @app.get("/orders/{number}/events")
    async def events(number: int):
        return EventStream(f"orders:{number}", bridge=bridge)

    @app.post("/ask")
    async def ask(question: Question):
        return EventSourceResponse(answer(question))          # any sync or async iterable

Channels that the client chooses are served by `sse_bridge_asgi.EventStreamApp`, mounted: ``Mount("/events", …)``.

responses   `EventStream` and `EventSourceResponse`
requests    the client's request, as a dependency
websockets  an iterable over WebSocket
"""

try:
    import starlette as _starlette  # noqa: F401  # for a clear error if missing
except ImportError as error:
    raise ImportError("sse_bridge_starlette needs Starlette: pip install 'sse-bridge[starlette]'") from error

from sse_bridge.token_hook import by_token

from .requests import stream_request
from .responses import EventSourceResponse, EventStream
from .websockets import send_source

__all__ = ["EventSourceResponse", "EventStream", "by_token", "send_source", "stream_request"]
