"""A FastAPI app as users write one, behind the middleware that is known to get in a stream's way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request

from sse_bridge import Bridge
from sse_bridge.errors import NotAuthenticated
from sse_bridge.streams import StreamRequest
from sse_bridge_asgi import EventStreamApp
from sse_bridge_starlette import EventSourceResponse, EventStream, send_source, stream_request

bridge = Bridge(linger_seconds=0.0, heartbeat_seconds=0.5)
background: list[str] = []
closed: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with bridge:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=1)
app.mount("/any", EventStreamApp(bridge, authorize=lambda scope, channels: "forbidden" not in channels))


@app.middleware("http")
async def passing(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["x-middleware"] = "1"
    return response


class Question(BaseModel):
    words: list[str]


def user(request: Request) -> str:
    return request.headers.get("x-user", "nobody")


def may_read(request: Request, channels: tuple[str, ...]) -> bool:
    assert threading.current_thread() is not threading.main_thread()
    if request.headers.get("x-user") == "stranger":
        raise NotAuthenticated("log in")
    return "forbidden" not in channels


@app.get("/orders/{number}")
async def orders(number: str, user: Annotated[str, Depends(user)]) -> EventStream:
    stream = EventStream(
        f"orders:{number}", bridge=bridge, authorize=may_read, last=1, headers={"X-Own": "1"},
        background=BackgroundTask(background.append, number),
    )  # fmt: skip
    stream.set_cookie("own", "1")
    stream.set_cookie("user", user)
    return stream


@app.get("/sync/{channel}")
def from_a_sync_endpoint(channel: str) -> EventStream:
    bridge.publish(channel, "from a thread")
    return EventStream([channel], bridge=bridge, start="earliest")


@app.get("/asked")
async def asked(request: Annotated[StreamRequest, Depends(stream_request)]) -> dict[str, Any]:
    return {"id": request.last_event_id, "channels": request.channels}


@app.post("/ask", response_class=EventSourceResponse)
async def ask(question: Question) -> EventSourceResponse:
    async def answer() -> AsyncIterator[Any]:
        for word in question.words:
            yield {"event": "token", "data": word}
            await asyncio.sleep(0)

    return EventSourceResponse(answer(), bridge=bridge)


@app.websocket("/ask")
async def ask_by_socket(websocket: WebSocket, words: str) -> None:
    async def answer() -> AsyncIterator[Any]:
        for word in words.split(","):
            yield {"event": "token", "data": word}

    await send_source(websocket, answer(), bridge=bridge)


@app.get("/count")
def count() -> EventSourceResponse:
    def numbers() -> Iterator[int]:
        yield from range(3)

    return EventSourceResponse(numbers, bridge=bridge)


@app.get("/endless")
async def endless() -> EventSourceResponse:
    async def ticks() -> AsyncIterator[Any]:
        try:
            while True:
                yield {"event": "tick", "data": 1}
                await asyncio.sleep(0.01)  # paces an app, no test waits for it
        finally:
            closed.append("ticks")

    return EventSourceResponse(ticks, bridge=bridge)


@app.post("/publish/{channel}")
async def publish(channel: str) -> str:
    return str(await bridge.apublish(channel, "x"))


@app.get("/held")
async def held() -> dict[str, Any]:
    readers = bridge.loop_hub().readers()
    return {"readers": readers, "streams": len(bridge.streams), "background": background, "closed": closed}


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Any:
        return await call_next(request)


app.add_middleware(Passing)
