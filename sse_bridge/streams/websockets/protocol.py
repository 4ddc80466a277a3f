"""The WebSocket protocol of this library, without I/O: the messages of both sides, and a session's subscriptions.

A client sends JSON objects as text messages:

    {"type": "subscribe", "channels": ["a", "b"], "after": "<id>"}   after: also "earliest" or "now"; or "last": 50
    {"type": "unsubscribe", "channels": ["a"]}
    {"type": "cancel", …}    the run behind the stream, if the application has a hook for it
    {"type": "ping"}         answered by {"type": "stream.pong"}
    {"type": …}              anything else is for the application's own hook, if it has one

The server sends one JSON envelope per message (`sse_bridge.wire.envelope`). Each id stands for *all* channels of the
connection, so a client keeps the last id it saw and, on its next connection, subscribes to everything with it. Every
subscribe and unsubscribe is answered by ``stream.open`` with the channels that are followed from then on, or by
``stream.error`` if nothing has changed.

The server ends a connection with a ``stream.close`` message and a close code: 1000 when every channel that the address
named has ended, else 4000 + the HTTP status of the reason (private codes: autobahn, and so daphne, sends no others).

Rules: one session per connection, not safe for concurrent use; `now` and `when` are `time.monotonic`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from ...admission.admissions import Why
from ...admission.grants import Grant
from ...config import Policy
from ...encoding import encode_data
from ...errors import InvalidInput, SlowReader, SSEBridgeError
from ...filters import Filter, for_browsers
from ...follow.follower import Follower
from ...follow.subscribe_request import SubscribeRequest
from ...hub.loop import LoopReader
from ...wire import WEBSOCKET_FORMAT
from ..channels.script import messages
from ..http.request import StreamRequest
from ..lifecycle.bridge_protocol import BridgeProtocol
from ..lifecycle.ending import CLOSE_DONE, Deadlines, Reason, close_code, last_frame, refusal_error, retry_ms
from .messages import Cancel, Command, Custom, Rejected, Subscribe, Unsubscribe, error_frame, parse_command

# chosen where the client offers it; a browser that offers one insists on an answer
SUBPROTOCOL: Final = "sse-bridge.v1"
BURST_SECONDS: Final = 4.0  # of messages may come at once, for a page that subscribes widget by widget
IDLE_SECONDS: Final = 60.0  # a connection that follows nothing for so long is closed


class WebSocketScript:
    """The messages and subscriptions of one session, decided without I/O; a driver carries them out.

    The driver's part, for each command of `received`:

    - `Subscribe`, `Unsubscribe`: `wanted` names the channels that would be followed then; ask the authorize hook for all
      of them when there are new ones; make the `subscribe_request`; enter the hub with it; when the new reader is
      ready, close the old one and send `opened`, then the messages of `pull`. With no channel left there is no reader,
      and if `wanted` equals `channels`, only `opened` is left to do. If anything fails, send `refused` and change
      nothing.
    - the others as their docstrings say.

    In between the driver sends the messages of `pull` and waits for a wake of the reader, or until `next_due`.

    Args:
        filter, policy, queue_size: as for `stream_channels`.
        now: when the session began.
        fixed: the server chose the channels; the client cannot change them.

    Attributes:
        channels: the channels that are followed, in the order of the subscriptions; set by `opened`.
        grant: the last one of the authorize hook; set by `opened`.
        ends_with_channels: the address named the channels, so the end of all of them is the end of the connection.
            A client that subscribes by messages may still want others, and stays.
    """

    def __init__(
        self,
        bridge: BridgeProtocol,
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
        self.grant = Grant()
        self._idle_from = now
        self._deadlines = Deadlines(self._settings)
        self._deadlines.open(now, self._settings.max_stream_seconds)
        self._per_second = bridge.settings.max_websocket_messages_per_second
        self._at_once = max(1.0, BURST_SECONDS * self._per_second)
        self._tokens = self._at_once
        self._refilled = now

    # commands of the client

    def received(self, message: str | bytes, now: float) -> Command:
        """One text message of the client. Never raises: a message that breaks a rule is returned as `Rejected`."""
        self._tokens = min(self._at_once, self._tokens + (now - self._refilled) * self._per_second)
        self._refilled = now
        if self._tokens < 1:
            return self._rejected(429, f"at most {self._per_second:g} messages per second", fatal=True)
        self._tokens -= 1
        # A str with more characters than `most` is refused without being encoded, which takes time and memory.
        most = self._settings.max_websocket_message_bytes
        if len(message) > most or (isinstance(message, str) and len(message.encode("utf-8", "replace")) > most):
            return self._rejected(413, f"a message has at most {most} bytes", fatal=True)
        try:
            command = parse_command(message)
        except InvalidInput as error:
            return self._rejected(error.http_status, str(error))
        if isinstance(command, (Subscribe, Unsubscribe)):
            if self._fixed:
                return self._rejected(403, "this connection takes no subscriptions: the server chose what it streams")
            self.ends_with_channels = False
        return command

    def first(self, request: StreamRequest) -> Subscribe | None:
        """The subscription that the address asks for by ``?channel=…&after=…``; None if it names no channel."""
        if not request.channels:
            return None
        self.ends_with_channels = True
        return Subscribe(request.channels, request.last_event_id, request.start, request.last)

    # subscriptions

    def wanted(self, command: Subscribe | Unsubscribe) -> tuple[str, ...]:
        """The channels that are followed once the command is carried out, the present ones first."""
        if isinstance(command, Subscribe):
            return tuple(dict.fromkeys((*self.channels, *command.channels)))
        gone = set(command.channels)
        return tuple(channel for channel in self.channels if channel not in gone)

    def subscribe_request(
        self, command: Subscribe | Unsubscribe, follower: Follower | None, grant: Grant | None = None
    ) -> SubscribeRequest:
        """The request to enter the hub with; channels that are followed already go on from `follower`'s positions.

        `grant` is the authorize hook's for all of `wanted`; None: nothing new is followed, the last grant counts.

        Call it directly before entering, without a wait between: later deliveries of `follower` would come twice.

        Raises:
            InvalidInput: a name, too many channels.
            NotAuthenticated, NotAuthorized: the grant has ended, or is known to be revoked.
            PolicyNotSupported: ``block`` on a backend that cannot keep it.
        """
        channels = self.wanted(command)
        grant = grant or self.grant
        wanted = self._filter if grant.filter is None else grant.filter
        options: dict[str, Any] = {
            "filter": for_browsers(wanted), "policy": self._policy, "queue_size": self._queue_size,
        }  # fmt: skip
        if isinstance(command, Subscribe):
            options.update(after=command.after, start=command.start, last=command.last)
        subscribe_request = self._bridge.subscribe_request(channels, **options)
        grant.check_time()
        if self._bridge.revoked(grant.user, channels):
            raise refusal_error("revoked")
        if follower is None:
            return subscribe_request
        parts = [part for cursor in follower.cursors if (part := cursor.part())]
        today = self._bridge.subscribe_request(self.channels, after=b".".join(parts).decode())
        positions = dict(zip(subscribe_request.channels, subscribe_request.positions, strict=True))
        known = dict(zip(today.channels, today.positions, strict=True))
        positions.update((channel, known[channel]) for channel in channels if known.get(channel) is not None)
        new = [positions[channel] for channel in channels if channel not in known]
        after = command.after if isinstance(command, Subscribe) else None
        # An id is invalid if it has a position for none of the command's new channels.
        invalid = bool(after) and bool(new) and all(position is None for position in new)
        return dataclasses.replace(subscribe_request, positions=tuple(positions.values()), invalid=invalid)

    def opened(self, channels: Sequence[str], follower: Follower | None, grant: Grant | None, now: float) -> bytes:
        """The answer to a subscribe or unsubscribe that was carried out with `subscribe_request`; `pull` may follow."""
        self.channels = tuple(channels)
        self._idle_from = now
        if grant is not None:
            self.grant = grant
            self._deadlines.expire_at(None if grant.expires_at is None else now + grant.expires_at - time.time())
        self._deadlines.wrote_at = now
        id = b"" if follower is None else follower.id()
        data = {"channels": list(self.channels)}
        return WEBSOCKET_FORMAT.control("stream.open", data, id=id or None, retry_ms=retry_ms(self._settings))

    # messages to the client

    def pull(self, reader: LoopReader | None, now: float) -> tuple[list[bytes], int | None]:
        """The messages to send now (none: wait until `next_due`), and the code to close with then, or None."""
        due = self._deadlines.due(now)
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
            self._deadlines.wrote_at = now
            return messages(batch, WEBSOCKET_FORMAT), None
        if reader is not None and self.ends_with_channels and reader.follower.finished:
            return [], CLOSE_DONE
        if due == "heartbeat":
            self._deadlines.wrote_at = now
            return [WEBSOCKET_FORMAT.heartbeat()], None
        return [], None

    def next_due(self) -> float:
        """The moment to call `pull` again if no wake comes before."""
        due = self._deadlines.next()
        return due if self.channels else min(due, self._idle_from + IDLE_SECONDS)

    def given_up_at(self) -> float:
        """The moment at which a message that the client does not take is given up."""
        return self._deadlines.given_up_at()

    def ends_for(self) -> Reason:
        """The reason of the end that is due next."""
        return self._deadlines.due(self._deadlines.ends_at) or "lifetime"

    def end_by(self, when: float, why: Why = "drain") -> None:
        """Ends the session at `when` at the latest: `pull` returns the goodbye then."""
        self._deadlines.end_at(when, why)

    def goodbye(self, reason: Reason) -> tuple[list[bytes], int]:
        """The last message and the close code; the client reconnects after ``retry_ms``."""
        return [last_frame(WEBSOCKET_FORMAT, reason, self._settings)], close_code(reason)

    def pong(self) -> bytes:
        return WEBSOCKET_FORMAT.control("stream.pong", {})

    def reply(self, command: Cancel | Custom, result: Any) -> bytes:
        """A hook's result as ``stream.cancelled``, or ``stream.reply`` with ``{"to", "result"}``; raises as `encode_data`."""
        kind, data = encode_data(result, sys.maxsize)
        answer = {"result": data.decode() if kind == "T" else json.loads(data)}
        if isinstance(command, Cancel):
            return WEBSOCKET_FORMAT.control("stream.cancelled", answer)
        return WEBSOCKET_FORMAT.control("stream.reply", {"to": command.type, **answer})

    def refused(self, error: SSEBridgeError, command: Command | None = None) -> bytes:
        """The answer to a command that could not be carried out."""
        return error_frame(error.http_status, str(error) if error.http_status < 500 else "not possible now", command)

    def _rejected(self, status: int, message: str, fatal: bool = False) -> Rejected:
        return Rejected(error_frame(status, message), 4000 + status if fatal else None)
