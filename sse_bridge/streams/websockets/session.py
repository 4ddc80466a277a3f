"""A WebSocket session on asyncio, for any server: `WebSocketScript` decides, the session waits and sends.

One task is in `run` and does one thing after the other: the client's commands in their order, then deliveries of the
channels, then a wait for a wake. `received` and `close` only leave word and wake `run`, so the task that reads from the
client and calls them is never held up by a slow hook or a client that reads nothing.

The limits of the client are not held up either: `received` itself ends the session when one is passed. Nothing more is
received then, and `run` has a second to send the reason, even if it waits for a hook.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ...admission.admissions import Why
from ...admission.grants import Grant, grant_of
from ...errors import (
    BackendError,
    BridgeClosed,
    ConfigurationError,
    NotAuthenticated,
    NotAuthorized,
    SSEBridgeError,
    TooManyStreams,
)
from ...follow.subscribe_request import SubscribeRequest
from ...hub.loop import LoopReader
from ...runtime.wakers import LoopWaker
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import CLOSE_DONE, Reason, refusal_error
from ..lifecycle.opening import UNAVAILABLE, Place, acarry_out, opening
from ..lifecycle.write_timeout import WriteTimeout
from .messages import Cancel, Command, Custom, Ping, Rejected, Subscribe, Unsubscribe, error_frame
from .protocol import WebSocketScript

INBOX: Final = 100  # commands that may wait for a slow hook or client; one more ends the connection

# The end's reason for a session whose first channels cannot be followed.
_REASONS: Final[Mapping[type[SSEBridgeError], Reason]] = {
    NotAuthenticated: "expired", NotAuthorized: "revoked", TooManyStreams: "limit",
}  # fmt: skip

logger = logging.getLogger("sse_bridge.streams")


class WebSocketSession:
    """See the module. On one loop; `end_by` from any thread.

    Args:
        send: sends one text message; it may wait for a slow client, and OSError means that the client is gone.
        authorize: gets all channels that would be followed, returns a value for `grant_of` or raises an
            `SSEBridgeError`; None: everything is allowed.
        on_cancel: called with the client's whole ``cancel`` message; its result is the answer's.
        on_message: likewise for messages of the application's own.

    Attributes:
        write_timeout: limits the waits for the client; its `give_up` is set by the owner of the task in `run`.
        breach: the client's message that broke a rule for which the connection is closed; None: none did.
    """

    def __init__(
        self,
        bridge: BridgeProtocol,
        script: WebSocketScript,
        send: Callable[[str], Awaitable[None]],
        *,
        authorize: Callable[[tuple[str, ...]], Awaitable[Any]] | None = None,
        on_cancel: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None,
        on_message: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None,
    ) -> None:
        self._bridge = bridge
        self._script = script
        self.write_timeout = WriteTimeout(send, hooks=True)
        self.breach: Rejected | None = None
        self._authorize = authorize
        self._on_cancel = on_cancel
        self._on_message = on_message
        self.loop = asyncio.get_running_loop()
        self._inbox: deque[Command] = deque()
        self._reader: LoopReader | None = None
        self._wanted: tuple[SubscribeRequest, str | None] | None = None  # of the reader that opens, and its user
        self._opening: LoopReader | None = None  # replaces `_reader` when it may open
        self._waker = LoopWaker(self.loop)  # of `run`, while there is no reader
        self._over = False

    def enter(self) -> Place | None:
        """The place of the reader that opens; None: the session begins, and follows nothing yet."""
        if self._wanted is None:
            return None
        request, user = self._wanted
        hub = self._bridge.loop_hub()
        reader = self._opening = hub.enter(request, self, user, replaces=self._reader)
        return hub, reader, reader.wait

    def is_over(self) -> bool:
        return self._over

    def received(self, message: str | bytes) -> bool:
        """Takes a client's text message; never waits, never raises. False: the connection ends, and takes no more."""
        if self.breach is not None:
            return False
        command = self._script.received(message, time.monotonic())
        if len(self._inbox) >= INBOX:
            command = Rejected(error_frame(429, f"more than {INBOX} messages wait to be carried out"), 4429)
        if isinstance(command, Rejected) and command.close_code is not None:
            self.breach = command
        else:
            self._inbox.append(command)
        self._wake()
        return self.breach is None

    async def run(self, first: Subscribe | None = None, grant: Grant | None = None) -> int:
        """Runs the session until its end or `close`; a cancel ends it. `close` must follow in any case.

        Args:
            first: the subscription that the address asks for.
            grant: the authorize hook's grant for `first`.

        Returns:
            The code to close the connection with.

        Raises:
            OSError: from `send`.
        """
        if self._over:
            return CLOSE_DONE
        if (refused := await acarry_out(opening(self, self._bridge))) is not None:
            return await self._say_goodbye(refused)
        self.write_timeout.until(self._script.given_up_at())
        try:
            if first is not None:
                try:
                    await self._follow(first, grant or Grant())
                except (NotAuthenticated, NotAuthorized, TooManyStreams) as error:
                    return await self._say_goodbye(_REASONS[type(error)])
                except (BackendError, BridgeClosed, ConfigurationError) as error:
                    if not isinstance(error, UNAVAILABLE):  # an operator must act
                        logger.error("a WebSocket's channels cannot be followed: %r", error)
                    return await self._say_goodbye("unavailable")
            while not self._over:
                if self._bridge.closed or (self._reader is not None and self._reader.closed):
                    return await self._say_goodbye("unavailable")
                if self.breach is not None:
                    return await self._say(*self.last_words())
                # One `pull` between two commands sends a new reader's gaps, so that each channel has a position.
                frames, code = self._script.pull(self._reader, time.monotonic())
                for frame in frames:
                    await self._send(frame)
                if code is None and self._inbox:
                    code = await self._obey(self._inbox.popleft())
                elif code is None and not frames:
                    await (self._reader or self._waker).wait(self._script.next_due())
                if code is not None:
                    return code
            return CLOSE_DONE
        finally:
            self._give_back()

    def close(self) -> None:
        """Releases everything, and `run` ends soon; idempotent. On the session's loop.

        Call it when the connection is closed, not before: the drain, and so the server's end, waits for this call.
        """
        self._bridge.streams.discard(self)
        self.write_timeout.close()
        self._give_back()

    def last_words(self) -> tuple[list[bytes], int]:
        """The last messages and the close code of a session that must end, or whose `run` was given up."""
        if self.breach is not None:
            return [self.breach.frame], self.breach.close_code or CLOSE_DONE
        return self._script.goodbye(self._script.ends_for())

    async def last_cancels(self) -> None:
        """Carries out cancels that the client sent right before it left; when `run` is over."""
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
        self._waker.wake()
        self._waker.disarm()

    def end_by(self, when: float, why: Why = "drain") -> None:
        """Ends the session at `when` (`time.monotonic`); thread-safe."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._end_by, when, why)

    # inside

    def _end_by(self, when: float, why: Why) -> None:
        self._script.end_by(when, why)
        if not self._over:
            self.write_timeout.until(self._script.given_up_at())
        # A timer of its own, since the hub's alarms are up to a tick late, and the server waits for the end.
        self.loop.call_later(max(0.0, when - time.monotonic()), self._wake)

    def _wake(self) -> None:
        self._waker.wake()
        if self._reader is not None:
            self._reader.wake()

    async def _send(self, frame: bytes) -> None:
        if not self.write_timeout.gave_up:  # a hook may outlive its cancel, when last messages are sent already
            await self.write_timeout.send(frame.decode())

    async def _say_goodbye(self, reason: Reason) -> int:
        return await self._say(*self._script.goodbye(reason))

    async def _say(self, frames: list[bytes], code: int) -> int:
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
            try:
                frame = self._script.reply(command, result)
            except ValueError as error:  # the application's mistake, whose text is not for the client
                logger.error("the answer of a WebSocket's hook cannot be sent: %r", error)
                raise SSEBridgeError("the hook failed") from None
            await self._send(frame)

    async def _guarded(self, hook: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """A hook's result; an unexpected error must neither show its text to the client nor end the session."""
        try:
            return await hook(*args)
        except (SSEBridgeError, OSError):
            raise
        except Exception:
            logger.exception("a hook of a WebSocket session failed")
            raise SSEBridgeError("the hook failed") from None

    async def _follow(self, command: Subscribe | Unsubscribe, grant: Grant | None = None) -> None:
        """Changes the channels that are followed, or raises and changes nothing."""
        script, old = self._script, self._reader
        channels = script.wanted(command)
        if channels == script.channels or not channels:
            if old is not None and not channels:
                old.close()
                self._reader = old = None
            await self._send(script.opened(channels, None if old is None else old.follower, None, time.monotonic()))
            return
        if grant is None and isinstance(command, Subscribe) and self._authorize is not None:
            self._bridge.subscribe_request(channels)  # no hook sees more than the limit
            grant = grant_of(await self._guarded(self._authorize, channels))
        elif grant is None and isinstance(command, Subscribe):
            grant = Grant()
        request = script.subscribe_request(command, None if old is None else old.follower, grant)
        self._wanted = request, (grant or script.grant).user
        try:
            refused = await acarry_out(opening(self, self._bridge, registered=True))
            reader = self._opening
            assert reader is not None
            if refused is not None:
                raise (reader.refusal() if refused == "unavailable" else None) or refusal_error(refused)
        except BaseException:
            if self._opening is not None:
                self._opening.close()
            raise
        finally:
            self._wanted = self._opening = None
        if old is not None:
            old.close()
        self._reader = reader
        opened = script.opened(channels, reader.follower, grant, time.monotonic())
        self.write_timeout.until(script.given_up_at())
        await self._send(opened)
