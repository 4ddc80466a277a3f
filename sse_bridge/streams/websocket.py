"""The WebSocket protocol of this library, without I/O: what a client may say, and what a session says and follows.

A client sends JSON objects as text messages:

    {"type": "subscribe", "channels": ["a", "b"], "after": "<id>"}   after: also "earliest" or "now"; or "last": 50
    {"type": "unsubscribe", "channels": ["a"]}
    {"type": "cancel", …}    the run behind the stream, if the application has a hook for it
    {"type": "ping"}         answered by {"type": "stream.pong"}
    {"type": …}              anything else is for the application's own hook, if it has one

The server sends one JSON envelope per message (`sse_bridge.wire.websocket`). Each id stands for *all* channels of the
connection, so a client keeps the last one it saw and, on its next connection, subscribes to everything with it. Every
subscribe and unsubscribe is answered by ``stream.open`` with the channels that are followed from then on, or by
``stream.error``, and then nothing has changed.

The server ends a connection with a ``stream.close`` message and a close code: 1000 when every channel that the address
named has ended, else 4000 + the HTTP status that says why (private codes: autobahn, and so daphne, sends no other ones).

Rules: one session per connection, not safe for concurrent use; `now` and `when` are `time.monotonic`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from ..config import Policy
from ..errors import InvalidInput, NotAuthorized, SlowReader, SSEBridgeError
from ..filters import Filter, for_browsers
from ..follow.follower import Batch, Follower
from ..follow.wish import Wish
from ..wire import WEBSOCKET_FORMAT
from .host import Host
from .pacing import Pacing, Why, retry_ms
from .refusals import REVOKED
from .rendering import messages
from .request import StreamRequest
from .response import Grant
from .websocket_messages import Cancel, Command, Custom, Rejected, Subscribe, Unsubscribe, error_frame, parse_command

SUBPROTOCOL: Final = (
    "sse-bridge.v1"  # chosen where the client offers it; a browser that offers one insists on an answer
)
BURST_SECONDS: Final = 4.0  # of messages may come at once: a page that subscribes widget by widget
IDLE_SECONDS: Final = 60.0  # a connection that follows nothing for so long is closed
CLOSE_DONE: Final = 1000
# of a stream.close reason; the others mean: come back later
_CLOSE_STATUS: Final = {"expired": 401, "idle": 408, "limit": 429, "replaced": 409, "revoked": 403}


class PullingReader(Protocol):
    """What `WebSocketScript.pull` needs of a hub's reader of either colour."""

    follower: Follower

    def pull(self, max_bytes: int) -> Batch | None: ...


class WebSocketScript:
    """What one session says and follows, decided without I/O; a driver carries it out.

    The driver's part, for each command of `received`:

    - `Subscribe`, `Unsubscribe`: `wanted` names the channels that would be followed then; ask the authorize hook for all
      of them when there are new ones; make the `wish`; enter the hub with it; when the new reader is ready, close the
      old one and send `opened`, then what `pull` returns. With no channel left there is no reader, and if `wanted` is
      what is followed already, only `opened` is left to do. If anything fails, send `refused` and change nothing.
    - the others as they say.

    In between it sends what `pull` returns and waits for a wake of the reader, or until `next_due`.

    Args:
        bridge: whose channels.
        filter: which events clients get; those that are not for browsers are hidden unless it names visibilities.
        policy: what happens when a client is slow.
        queue_size: likewise.
        now: when the session began.
        fixed: the server chose the channels; the client cannot change them.

    Attributes:
        channels: what is followed, in the order of the subscriptions; set by `opened`.
        ends_with_channels: the address named the channels, so the end of all of them is the end of the connection.
            A client that subscribes for itself may still want others, and stays.
    """

    def __init__(
        self,
        bridge: Host,
        now: float,
        *,
        filter: Filter | None = None,
        policy: Policy | None = None,
        queue_size: int | None = None,
        fixed: bool = False,
    ) -> None:
        self.channels: tuple[str, ...] = ()
        self.ends_with_channels = fixed
        self._fixed = fixed
        self._bridge = bridge
        self._settings = bridge.settings
        self._filter = filter
        self._policy = policy
        self._queue_size = queue_size
        self._grant = Grant()
        self._began = now
        self._idle_from = now
        self._ends: list[tuple[float, Why]] = []
        self._pacing = Pacing(self._settings, now)
        self._per_second = bridge.settings.max_websocket_messages_per_second
        self._at_once = max(1.0, BURST_SECONDS * self._per_second)
        self._tokens = self._at_once
        self._refilled = now

    # what the client says

    def received(self, message: str | bytes, now: float) -> Command:
        """One text message of the client. Never raises: what breaks a rule comes back as `Rejected`."""
        self._tokens = min(self._at_once, self._tokens + (now - self._refilled) * self._per_second)
        self._refilled = now
        if self._tokens < 1:
            return self._rejected(429, f"at most {self._per_second:g} messages per second", fatal=True)
        self._tokens -= 1
        # a str has at most four bytes per character; only one that may be too long is worth encoding
        most = self._settings.max_websocket_message_bytes
        if len(message) > most or (isinstance(message, str) and len(message.encode("utf-8", "replace")) > most):
            return self._rejected(413, f"a message has at most {most} bytes", fatal=True)
        try:
            command = parse_command(message)
        except InvalidInput as error:
            return self._rejected(error.http_status, str(error))
        if isinstance(command, (Subscribe, Unsubscribe)):
            if self._fixed:
                return self._rejected(403, "the server chose the channels of this connection")
            self.ends_with_channels = False
        return command

    def first(self, request: StreamRequest) -> Subscribe | None:
        """What the address asks for by ``?channel=…&after=…``; None if it names no channel."""
        if not request.channels:
            return None
        self.ends_with_channels = True
        return Subscribe(request.channels, request.last_event_id, request.start, request.last)

    # what is followed

    def user(self, grant: Grant | None) -> str | None:
        """Whose stream it is with this grant; None: with the last one."""
        return (self._grant if grant is None else grant).user

    def wanted(self, command: Subscribe | Unsubscribe) -> tuple[str, ...]:
        """The channels that are followed once the command is carried out, those of today first."""
        if isinstance(command, Subscribe):
            return tuple(dict.fromkeys((*self.channels, *command.channels)))
        gone = set(command.channels)
        return tuple(channel for channel in self.channels if channel not in gone)

    def wish(self, command: Subscribe | Unsubscribe, follower: Follower | None, grant: Grant | None = None) -> Wish:
        """What to enter the hub with. Channels that are followed already go on from where `follower` stands.

        `grant` is the authorize hook's for all of `wanted`; None: nothing new is followed, the last one counts.

        Call it directly before entering, without a wait between: what the follower delivers later would come twice.

        Raises:
            InvalidInput: a name, too many channels.
            NotAuthenticated, NotAuthorized: the grant has ended, or is known to be revoked.
            PolicyNotSupported: ``block`` on a backend that cannot keep it.
        """
        channels = self.wanted(command)
        grant = self._grant if grant is None else grant
        wanted = self._filter if grant.filter is None else grant.filter
        options: dict[str, Any] = {
            "filter": for_browsers(wanted), "policy": self._policy, "queue_size": self._queue_size,
        }  # fmt: skip
        if isinstance(command, Subscribe):
            options.update(after=command.after, start=command.start, last=command.last)
        wish = self._bridge.wish(channels, **options)
        grant.check_time()
        if self._bridge.revoked(grant.user, channels):
            raise NotAuthorized(REVOKED)
        if follower is None:
            return wish
        today = self._bridge.wish(self.channels, after=follower.id().decode())
        positions = dict(zip(wish.channels, wish.positions, strict=True))
        known = dict(zip(today.channels, today.positions, strict=True))
        positions.update((channel, known[channel]) for channel in channels if known.get(channel) is not None)
        new = [positions[channel] for channel in channels if channel not in known]
        after = command.after if isinstance(command, Subscribe) else None
        # an id is invalid if it says nothing of the channels it was sent for; those of today do not count
        invalid = bool(after) and bool(new) and all(position is None for position in new)
        return dataclasses.replace(wish, positions=tuple(positions.values()), invalid=invalid)

    def opened(self, channels: Sequence[str], follower: Follower | None, grant: Grant | None, now: float) -> bytes:
        """The answer to a subscribe or unsubscribe that was carried out; from now on `pull` may be called.

        Args:
            grant: as for `wish`.
        """
        self.channels = tuple(channels)
        self._idle_from = now
        if grant is not None:
            self._grant = grant
            expires_at = None if grant.expires_at is None else now + grant.expires_at - time.time()
            self._pacing = Pacing(self._settings, self._began, expires_at)
            for when, why in self._ends:
                self._pacing.end_at(when, why)
        self._pacing.wrote(now)
        id = b"" if follower is None else follower.id()
        data = {"channels": list(self.channels)}
        return WEBSOCKET_FORMAT.control("stream.open", data, id=id or None, retry_ms=retry_ms(self._settings))

    # what the session says

    def pull(self, reader: PullingReader | None, now: float) -> tuple[list[bytes], int | None]:
        """The messages to send now (none: wait until `next_due`), and the code to close with then, or None."""
        due = self._pacing.due(now)
        if due is not None and due != "heartbeat":
            return self.goodbye(due)
        if not self.channels and now >= self._idle_from + IDLE_SECONDS:
            return self.goodbye("idle")
        batch = None
        if reader is not None:
            try:
                batch = reader.pull(self._settings.max_write_bytes)
            except SlowReader:
                return self.goodbye("slow")
            if batch is None and due == "heartbeat":
                batch = reader.follower.tell_position()
        if batch is not None:
            self._pacing.wrote(now)
            return messages(batch, WEBSOCKET_FORMAT), None
        if reader is not None and self.ends_with_channels and reader.follower.finished:
            return [], CLOSE_DONE
        if due == "heartbeat":
            self._pacing.wrote(now)
            return [WEBSOCKET_FORMAT.heartbeat()], None
        return [], None

    def next_due(self) -> float:
        """When to call `pull` again if no wake comes before."""
        due = self._pacing.next()
        return due if self.channels else min(due, self._idle_from + IDLE_SECONDS)

    def given_up_at(self) -> float:
        """When a message that the client does not take is given up."""
        return self._pacing.given_up_at()

    def end_by(self, when: float, why: Why = "drain") -> None:
        """The server goes down, or the client may not stay: `pull` says goodbye at `when`."""
        self._ends.append((when, why))
        self._pacing.end_at(when, why)

    def goodbye(self, reason: str) -> tuple[list[bytes], int]:
        """The last message and the close code; the client comes back after ``retry_ms``."""
        frame = WEBSOCKET_FORMAT.retry(retry_ms(self._settings), reason)
        return [frame], 4000 + _CLOSE_STATUS.get(reason, 503)

    def pong(self) -> bytes:
        return WEBSOCKET_FORMAT.control("stream.pong", {})

    def reply(self, command: Cancel | Custom, result: Any) -> bytes:
        """What the application's hook answered: ``stream.cancelled``, or ``stream.reply`` with ``{"to", "result"}``."""
        if isinstance(command, Cancel):
            return WEBSOCKET_FORMAT.control("stream.cancelled", {"result": result})
        return WEBSOCKET_FORMAT.control("stream.reply", {"to": command.type, "result": result})

    def refused(self, error: SSEBridgeError, command: Command | None = None) -> bytes:
        """The answer to a command that could not be carried out."""
        return error_frame(error.http_status, str(error) if error.http_status < 500 else "not possible now", command)

    def _rejected(self, status: int, message: str, fatal: bool = False) -> Rejected:
        return Rejected(error_frame(status, message), 4000 + status if fatal else None)
