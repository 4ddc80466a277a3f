"""An ASGI server in memory that enforces the spec (HTTP & WebSocket 2.5) where real servers look away.

Order and types of every message, no message after the last one, no two sends at a time, a complete answer before the app
returns. A breach raises `Breach` in the app and again when the connection is left, so that an app cannot swallow it.

    async with Http(app, "/events?channel=a") as client:
        await client.read_until(b"\\n\\n")       # what the app sends waits for whoever reads: a slow client is one that does not
    # leaving the block is the client leaving; the app must return soon
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from tests.support.wait import await_for

SECONDS = 60.0
_HOP_BY_HOP = {b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"proxy-connection"}

App = Callable[[dict[str, Any], Any, Any], Coroutine[Any, Any, None]]


class Breach(AssertionError):
    """The app broke the spec."""


class _Connection:
    """What HTTP and WebSocket share: the app's task, its inbox, and what it is blocked on."""

    scheme = "http"
    kind = "http"

    def __init__(
        self,
        app: App,
        target: str = "/",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        root_path: str = "",
        room: int = 1 << 20,
        extensions: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        path, _, query = target.partition("?")
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        own = [("host", "testserver"), *((name.lower(), value) for name, value in pairs)]
        self.scope: dict[str, Any] = {
            "type": self.kind,
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "root_path": root_path,
            "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in own],
            "client": ("127.0.0.1", 40000),
            "server": ("testserver", 80),
            "state": {},
            "extensions": dict(extensions or {}),
            **extra,
        }
        self.breaches: list[str] = []
        self.gone = False
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._app = app
        self._room = room
        self._held = 0  # bytes that the client has not read
        self._writable = asyncio.Event()
        self._sending = False
        self._receiving = 0

    async def __aenter__(self) -> Self:
        self.task = asyncio.ensure_future(self._app(self.scope, self._receive, self._send))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        try:
            await self.ended()
        except BaseException:
            if error is None:
                raise
        if error is None:
            self.check()

    async def ended(self, seconds: float = SECONDS) -> None:
        """Waits until the app has returned; raises what it raised."""
        done, _ = await asyncio.wait({self.task}, timeout=seconds)
        if not done:
            stack = self.task.get_stack()
            self.task.cancel()
            await asyncio.wait({self.task}, timeout=SECONDS)
            raise Breach(f"the app did not return within {seconds} s after its end: {stack}")
        self.task.result()

    def check(self) -> None:
        if self.breaches:
            raise Breach("; ".join(self.breaches))

    def leave(self) -> None:
        """The client goes away."""
        if not self.gone:
            self.gone = True
            self._disconnect()
            self._writable.set()

    @property
    def blocked(self) -> bool:
        """The app waits in `send` for the client to read."""
        return self._sending and self._held > self._room

    # the app's side

    async def _receive(self) -> dict[str, Any]:
        self._receiving += 1
        try:
            self._require(self._receiving == 1, "two receives at a time")
            return await self._next_message()
        finally:
            self._receiving -= 1

    async def _next_message(self) -> dict[str, Any]:
        return await self.inbox.get()

    def _disconnect(self) -> None:
        raise NotImplementedError

    async def _send(self, message: dict[str, Any]) -> None:
        self._require(not self._sending, f"two sends at a time: {message!r:.200}")
        self._require(type(message) is dict or hasattr(message, "items"), f"a message is a dict, got {message!r:.200}")
        self._require(isinstance(message.get("type"), str), f"a message has a type, got {message!r:.200}")
        self._sending = True
        try:
            self._accept(message)
            while self._held > self._room and not self.gone:
                self._writable.clear()
                await self._writable.wait()
        finally:
            self._sending = False

    def _accept(self, message: dict[str, Any]) -> None:
        raise NotImplementedError

    def _require(self, holds: object, breach: str) -> None:
        if not holds:
            self.breaches.append(breach)
            raise Breach(breach)

    def _check_keys(self, message: Mapping[str, Any], **types: tuple[type, ...]) -> None:
        for name, value in message.items():
            if name != "type":
                self._require(name in types, f"{message['type']} has no {name!r}")
                self._require(isinstance(value, types[name]), f"{name!r} must be {types[name]}, got {value!r:.100}")

    def _check_headers(self, headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
        pairs = []
        for pair in headers:
            self._require(len(pair) == 2, f"a header is a pair, got {pair!r}")
            name, value = pair
            self._require(type(name) is bytes and type(value) is bytes, f"headers are bytes, got {pair!r}")
            self._require(name == name.lower(), f"header names are in lower case, got {name!r}")
            self._require(b"\n" not in name + value and b"\r" not in name + value, f"a line break in {pair!r}")
            self._require(name not in _HOP_BY_HOP, f"{name!r} belongs to the server")
            pairs.append((name, value))
        return pairs


class Http(_Connection):
    """One request.

    Attributes:
        status: None before the response started.
        headers: pairs as the app sent them.
        body: everything that was read so far.
        complete: the last body message came.
    """

    def __init__(self, app: App, target: str = "/", method: str = "GET", body: bytes = b"", **options: Any) -> None:
        super().__init__(app, target, method=method, **options)
        self.status: int | None = None
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False
        self._unread = b""
        self._length = 0
        middle = len(body) // 2
        if body:
            self.inbox.put_nowait({"type": "http.request", "body": body[:middle], "more_body": True})
        self.inbox.put_nowait({"type": "http.request", "body": body[middle:], "more_body": False})

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode("latin-1") for name, value in self.raw_headers}

    async def head(self) -> int:
        """The status, once the head is there."""
        await self._until(lambda: self.status is not None, "the response's head")
        assert self.status is not None
        return self.status

    async def read_until(self, part: bytes, seconds: float = SECONDS) -> bytes:
        """Reads on until `part` is in what was read since the last call; returns that."""
        before = len(self.body)
        await self._until(lambda: part in self._take()[before:] or self.task.done(), repr(part), seconds)
        found = self.body[before:]
        assert part in found, f"the app ended before {part!r}: {found!r}"
        return found

    async def read_all(self, seconds: float = SECONDS) -> bytes:
        """Reads to the end of the body."""
        await self._until(lambda: (self._take() is not None and self.complete) or self.task.done(), "the end", seconds)
        return self.body

    def _take(self) -> bytes:
        if self._unread:
            self.body += self._unread
            self._unread, self._held = b"", 0
            self._writable.set()
        return self.body

    async def _until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        try:
            await await_for(lambda: condition() or self.task.done(), seconds, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; so far {self.status} {self.body!r:.500}") from None
        if self.task.done() and not self.task.cancelled() and self.task.exception() is not None:
            raise self.task.exception()  # type: ignore[misc]

    async def ended(self, seconds: float = SECONDS) -> None:
        await super().ended(seconds)
        if not self.complete and not self.gone:
            raise Breach("the app returned before its response was complete")

    async def _next_message(self) -> dict[str, Any]:
        if self.gone or (self.complete and self.inbox.empty()):
            return {"type": "http.disconnect"}
        return await self.inbox.get()

    def _disconnect(self) -> None:
        self.inbox.put_nowait({"type": "http.disconnect"})

    def _accept(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._require(self.status is None, "a second http.response.start")
            self._check_keys(message, status=(int,), headers=(list, tuple), trailers=(bool,))
            self._require(100 <= message["status"] < 600, f"a status, got {message['status']!r}")
            self.raw_headers = self._check_headers(message.get("headers", ()))
            self.status = message["status"]
            return
        self._require(message["type"] == "http.response.body", f"an HTTP message, got {message['type']!r}")
        self._require(self.status is not None, "a body before http.response.start")
        self._require(not self.complete, "a body after the last one")
        self._check_keys(message, body=(bytes,), more_body=(bool,))
        piece = message.get("body", b"")
        self._length += len(piece)
        bodiless = self.scope["method"] == "HEAD" or self.status in (204, 304)
        self._require(not (bodiless and piece), f"a body where there is none: {piece!r:.100}")
        self.complete = not message.get("more_body", False)
        declared = dict(self.raw_headers).get(b"content-length")
        if declared is not None and self.complete and not bodiless:
            self._require(int(declared) == self._length, f"content-length {declared!r}, but {self._length} bytes")
        if not self.gone:
            self._unread += piece
            self._held += len(piece)


class WebSocket(_Connection):
    """One WebSocket.

    Attributes:
        accepted: the subprotocol (or None) once it was accepted.
        messages: what the app sent; `take` hands them out.
        closed: the app's close code.
        status: of a refusal by the extension ``websocket.http.response``.
    """

    scheme = "ws"
    kind = "websocket"

    def __init__(self, app: App, target: str = "/", *, subprotocols: Iterable[str] = (), **options: Any) -> None:
        super().__init__(app, target, subprotocols=list(subprotocols), **options)
        self.accepted: list[str | None] = []
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.closed: int | None = None
        self.status: int | None = None
        self.refusal = b""
        self._refused = False
        self.inbox.put_nowait({"type": "websocket.connect"})

    def say(self, text: str) -> None:
        """The client sends a text message."""
        self.inbox.put_nowait({"type": "websocket.receive", "text": text})

    async def take(self, seconds: float = SECONDS) -> str:
        """The next message of the app."""
        getting = asyncio.ensure_future(self.messages.get())
        await asyncio.wait({getting, self.task}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            if self.task.done():
                self.task.result()
            raise AssertionError(f"no message within {seconds} s (closed: {self.closed})")
        text = getting.result()
        self._held -= len(text)
        self._writable.set()
        return text

    def _disconnect(self) -> None:
        if self.closed is None:
            self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})

    def _accept(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self._require(self.closed is None and not self._refused, f"{kind} after the close")
        if self.gone and kind == "websocket.send":
            raise OSError("the client is gone")  # spec 2.4
        if kind == "websocket.accept":
            self._require(not self.accepted, "a second websocket.accept")
            self._check_keys(message, subprotocol=(str, type(None)), headers=(list, tuple))
            chosen = message.get("subprotocol")
            self._require(chosen is None or chosen in self.scope["subprotocols"], f"{chosen!r} was not offered")
            self.accepted.append(chosen)
        elif kind == "websocket.send":
            self._require(self.accepted, "websocket.send before websocket.accept")
            self._check_keys(message, text=(str, type(None)), bytes=(bytes, type(None)))
            text, data = message.get("text"), message.get("bytes")
            self._require((text is None) != (data is None), "exactly one of text and bytes")
            self._require(text is not None, "this library sends text")
            self._held += len(text or "")
            self.messages.put_nowait(text or "")
        elif kind == "websocket.close":
            self._check_keys(message, code=(int,), reason=(str, type(None)))
            code = message.get("code", 1000)
            # RFC 6455, 7.4: what an endpoint may send; autobahn allows an application 1000 and 3000-4999 only
            self._require(code == 1000 or code == 1011 or 3000 <= code < 5000, f"close code {code}")
            self.closed = code
        elif kind == "websocket.http.response.start":
            self._require("websocket.http.response" in self.scope["extensions"], "an extension the server has not")
            self._require(not self.accepted and self.status is None, "a refusal after the handshake")
            self._check_keys(message, status=(int,), headers=(list, tuple))
            self._check_headers(message["headers"])
            self.status = message["status"]
        elif kind == "websocket.http.response.body":
            self._require(self.status is not None, "a body before its start")
            self._check_keys(message, body=(bytes,), more_body=(bool,))
            self.refusal += message["body"]
            self._refused = not message.get("more_body", False)
        else:
            self._require(False, f"a WebSocket message, got {kind!r}")


class Lifespan:
    """Startup on entering, shutdown on leaving."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

        async def send(message: dict[str, Any]) -> None:
            await self._outbox.put(message["type"])

        self.task = asyncio.ensure_future(self._app(scope, self._inbox.get, send))
        await self._step("startup")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._step("shutdown")
        await asyncio.wait_for(self.task, SECONDS)

    async def _step(self, name: str) -> None:
        self._inbox.put_nowait({"type": f"lifespan.{name}"})
        answer = asyncio.ensure_future(self._outbox.get())
        await asyncio.wait({answer, self.task}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self.task.result()
            raise Breach(f"no answer to lifespan.{name}")
        assert answer.result() == f"lifespan.{name}.complete"
