"""A WebSocket session on asyncio, for any server: `WebSocketScript` decides, this waits and sends.

Who waits on whom: one task is in `run` and does everything, one thing after the other: the client's commands in their
order, then what the channels have, then it waits for a wake. `received` and `close` only leave word and wake it; the
task that reads from the client calls them, and so is never held up by a slow hook or a client that reads nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ..errors import BackendUnavailable, NotAuthenticated, NotAuthorized, SSEBridgeError, TooManyStreams
from ..hub.loop import LoopReader
from .channels import OPENING_SECONDS
from .hooks import grant_of
from .host import Host
from .pacing import Why
from .patience import Patience
from .refusals import REVOKED, too_many_streams
from .response import Grant
from .websocket import CLOSE_DONE, WebSocketScript
from .websocket_messages import Cancel, Command, Custom, Ping, Rejected, Subscribe, Unsubscribe, error_frame

INBOX: Final = 100  # commands that wait while the client reads nothing or a hook is slow; then the connection ends

# why a reader may not be opened: as an error, and as the last word of a connection that has nothing else
_ERRORS: Final[Mapping[str, Callable[[], SSEBridgeError]]] = {
    "unavailable": lambda: BackendUnavailable("the user's streams cannot be counted now"),
    "revoked": lambda: NotAuthorized(REVOKED),
    "limit": too_many_streams,
}
_REASONS: Final = {
    BackendUnavailable: "unavailable", NotAuthenticated: "expired", NotAuthorized: "revoked", TooManyStreams: "limit",
}  # fmt: skip

logger = logging.getLogger("sse_bridge.streams")


class WebSocketSession:
    """See the module. On one loop; `end_by` from any thread.

    Args:
        bridge: whose channels.
        script: made for this connection.
        send: sends one text message; it may wait for a slow client, and OSError means that the client is gone.
        authorize: gets all channels that would be followed, returns what `grant_of` understands or raises an
            `SSEBridgeError`; None: everything is allowed.
        on_cancel: called with the client's whole ``cancel`` message; its result is the answer's.
        on_message: likewise for messages of the application's own.

    Attributes:
        patience: how long the client is waited for; its `give_up` is for whoever has the task that is in `run`.
    """

    def __init__(
        self,
        bridge: Host,
        script: WebSocketScript,
        send: Callable[[str], Awaitable[None]],
        *,
        authorize: Callable[[tuple[str, ...]], Awaitable[Any]] | None = None,
        on_cancel: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None,
        on_message: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None,
    ) -> None:
        self._bridge = bridge
        self._script = script
        self.patience = Patience(send)
        self._authorize = authorize
        self._on_cancel = on_cancel
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Command] = deque()
        self._reader: LoopReader | None = None
        self._opening: LoopReader | None = None  # takes its place when it is ready
        self._news = asyncio.Event()  # the wake while there is no reader
        self._over = False

    def received(self, message: str | bytes) -> None:
        """The client sent a text message. Never waits, never raises."""
        command = self._script.received(message, time.monotonic())
        if len(self._inbox) >= INBOX:
            command = Rejected(error_frame(429, f"more than {INBOX} messages wait to be carried out"), 4429)
        elif self._inbox and isinstance(self._inbox[-1], Rejected) and self._inbox[-1].close_code is not None:
            return  # the connection ends with that one
        self._inbox.append(command)
        self._wake()

    async def run(self, first: Subscribe | None = None, grant: Grant | None = None) -> int:
        """The session, until its end or `close`; cancelling it ends it. `close` must follow in any case.

        Args:
            first: what the address asked for, and
            grant: what the authorize hook said to that.

        Returns:
            The code to close the connection with.

        Raises:
            OSError: from `send`.
        """
        if self._over:
            return CLOSE_DONE
        if self._bridge.streams.full:
            return await self._say_goodbye("limit")
        self._bridge.streams.add(self)
        self.patience.until(self._script.given_up_at())
        try:
            if first is not None:
                try:
                    await self._follow(first, grant or Grant())
                except (BackendUnavailable, NotAuthenticated, NotAuthorized, TooManyStreams) as refused:
                    return await self._say_goodbye(_REASONS[type(refused)])
            while not self._over:
                if self._reader is not None and self._reader.closed:
                    return await self._say_goodbye("closed")  # the bridge was
                # One look between two commands: it tells the gaps of a new reader, so that each channel has a position.
                frames, code = self._script.pull(self._reader, time.monotonic())
                for frame in frames:
                    await self._send(frame)
                if code is None and self._inbox:
                    code = await self._obey(self._inbox.popleft())
                elif code is None and not frames:
                    await self._wait(self._script.next_due())
                if code is not None:
                    return code
            return CLOSE_DONE
        finally:
            self._give_back()

    def close(self) -> None:
        """Gives everything back, and `run` ends soon; idempotent. On the session's loop.

        Call it when the connection is closed, not before: a drain waits for it, and the server's end for the drain.
        """
        self._bridge.streams.discard(self)
        self.patience.close()
        self._give_back()

    async def last_cancels(self) -> None:
        """Carries out what the client asked to cancel right before it left; when `run` is over."""
        commands, self._inbox = self._inbox, deque()
        for command in commands:
            if isinstance(command, Cancel) and self._on_cancel is not None:
                try:
                    await self._guarded(self._on_cancel, command.message)
                except (SSEBridgeError, OSError) as error:
                    logger.warning("a WebSocket client's last cancel failed: %r", error)

    def _give_back(self) -> None:
        self._over = True
        for reader in (self._reader, self._opening):
            if reader is not None:
                reader.close()
        self._news.set()

    def end_by(self, when: float, why: Why = "drain") -> None:
        """Says goodbye at `when` (`time.monotonic`); from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_by, when, why)

    # inside

    def _end_by(self, when: float, why: Why) -> None:
        self._script.end_by(when, why)
        if not self._over:
            self.patience.until(self._script.given_up_at())
        # exactly then: the hub's alarms are up to a tick late, and the server waits for no tick
        self._loop.call_later(max(0.0, when - time.monotonic()), self._wake)

    def _wake(self) -> None:
        self._news.set()
        if self._reader is not None:
            self._reader.wake()

    async def _wait(self, until: float) -> None:
        if self._reader is not None:
            await self._reader.wait(until)
            return
        try:
            await asyncio.wait_for(self._news.wait(), max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            pass
        self._news.clear()

    async def _send(self, frame: bytes) -> None:
        await self.patience.send(frame.decode())

    async def _say_goodbye(self, reason: str) -> int:
        frames, code = self._script.goodbye(reason)
        for frame in frames:
            await self._send(frame)
        return code

    async def _obey(self, command: Command) -> int | None:
        """Carries out one command; returns the code if the connection ends with it."""
        try:
            if isinstance(command, (Subscribe, Unsubscribe)):
                await self._follow(command)
            elif isinstance(command, Ping):
                await self._send(self._script.pong())
            elif isinstance(command, (Cancel, Custom)):
                await self._hook(command)
            else:
                await self._send(command.frame)
                return command.close_code
        except SSEBridgeError as error:
            if error.http_status >= 500:
                logger.warning("a WebSocket client's %r failed: %r", command, error)
            await self._send(self._script.refused(error, command))
        return None

    async def _hook(self, command: Cancel | Custom) -> None:
        hook = self._on_cancel if isinstance(command, Cancel) else self._on_message
        if hook is None:
            await self._send(error_frame(400, "nothing here answers this type of message", command))
            return
        result = await self._guarded(hook, command.message)
        if isinstance(command, Cancel) or result is not None:
            await self._send(self._script.reply(command, result))

    async def _guarded(self, hook: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """A hook's result; what it raises by mistake must not tell its text to the client, nor end the session."""
        try:
            return await hook(*args)
        except (SSEBridgeError, OSError):
            raise
        except Exception:
            logger.exception("a hook of a WebSocket session failed")
            raise SSEBridgeError("the hook failed") from None

    async def _follow(self, command: Subscribe | Unsubscribe, grant: Grant | None = None) -> None:
        """Changes what is followed, or raises and changes nothing."""
        script, old = self._script, self._reader
        channels = script.wanted(command)
        if channels == script.channels or not channels:
            if old is not None and not channels:
                old.close()
                self._reader = old = None
            await self._send(script.opened(channels, None if old is None else old.follower, None, time.monotonic()))
            return
        if grant is None and isinstance(command, Subscribe) and self._authorize is not None:
            self._bridge.wish(channels)  # no hook sees more than the limit
            grant = grant_of(await self._guarded(self._authorize, channels))
        elif grant is None and isinstance(command, Subscribe):
            grant = Grant()
        wish = script.wish(command, None if old is None else old.follower, grant)
        hub = self._bridge.loop_hub()
        reader = self._opening = hub.enter(wish)
        try:
            hub.register(reader, script.user(grant), self, heir_of=old)
            await self._ready(reader)
            refused = await hub.guard.admit(reader)
            if refused is not None:
                error = _ERRORS[refused]
                raise error()
        except BaseException:
            reader.close()
            raise
        finally:
            self._opening = None
        if old is not None:
            old.close()
        self._reader = reader
        opened = script.opened(channels, reader.follower, grant, time.monotonic())
        self.patience.until(script.given_up_at())
        await self._send(opened)

    async def _ready(self, reader: LoopReader) -> None:
        until = time.monotonic() + OPENING_SECONDS
        while not reader.ready():
            if reader.closed or time.monotonic() >= until:
                raise BackendUnavailable(f"the log could not be read within {OPENING_SECONDS} s")
            await reader.wait(until)
