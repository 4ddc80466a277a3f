"""The protocol of one pub/sub connection: bytes to send, and the meaning of received ones; no I/O.

Redis never reports lost messages. Their signs are a second confirmation, an unrequested unsubscription, silence, or the end
of the connection; `PubSubLink` reports each to the sink, whose readers then read the log.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from ...admission.contract import CONTROL
from ...errors import ForeignRecord, SSEBridgeError
from ...records.codec import decode_announcement
from ..base import Sink
from .calls import backoff
from .keys import Keys
from .resp import Reader, ReplyError, new_reader, pack
from .retries import Retries
from .scripts import PERMANENT, error_code, refusal

log = logging.getLogger("sse_bridge.redis")

_PING: Final = pack(("PING",))
LONGEST_PAUSE: Final = 2.0  # seconds between attempts to connect, and so the latest that readers notice Redis's return


class PubSubLink:
    """The protocol's state over successive connections, for the life of an upstream.

    Args:
        sharded: SSUBSCRIBE, in a cluster.
        timeout: seconds of silence after which the link counts as lost; after half of it a PING is sent.

    Attributes:
        dropped: channels that this server of a cluster gave up or redirected; the driver takes them and finds them
            another place. Refused channels, and those of a single server, are subscribed here again instead.
    """

    def __init__(self, keys: Keys, sink: Sink, sharded: bool, timeout: float) -> None:
        self._keys = keys
        self._sink = sink
        self._timeout = timeout
        self._subscribe, self._unsubscribe = (
            (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        )
        self.wanted: dict[bytes, str] = {}  # pub/sub channel → channel, of all wanted subscriptions
        self.dropped: list[str] = []
        self.retry_at = math.inf  # when to call `tick` for a retry of refused channels
        self.changed = False  # whether `dropped` or `retry_at` has changed since the driver last reset this
        self._attempts = 0  # to connect, since a connection last received anything
        self._open = False
        # unanswered commands in order, since an error reply does not name its channel
        self._asked: deque[tuple[bytes, bytes]] = deque()
        self._reader: Reader = new_reader()
        self._heard_at = 0.0
        self._pinged_at: float | None = None
        self._sharded = sharded
        self._retries = Retries()
        self._refused: list[tuple[str, str]] = []  # channels refused in the current read, with the reasons

    def subscribe(self, channels: Iterable[str]) -> bytes:
        """Adds channels; returns what to send now."""
        names = {self._keys.of(channel)[0]: channel for channel in channels}
        self.wanted.update(names)
        return self._ask(self._subscribe, names) if self._open else b""

    def unsubscribe(self, channels: Sequence[str]) -> bytes:
        """Drops channels; returns what to send now."""
        for channel in channels:
            self._retries.settled(channel)
        names = [self._keys.of(channel)[0] for channel in channels]
        dropped = [name for name in names if self.wanted.pop(name, None) is not None]
        return self._ask(self._unsubscribe, dropped) if self._open else b""

    def _ask(self, command: bytes, names: Iterable[bytes]) -> bytes:
        # One command per channel: an error then concerns that channel alone, and channels of a cluster differ in slots.
        asked = [(command, name) for name in names]
        self._asked += asked
        return b"".join([pack(each) for each in asked])

    def opened(self, now: float) -> bytes:
        """Begins a new connection; returns the bytes to send on it."""
        self._open = True
        self._asked.clear()
        self._reader = new_reader()
        self._heard_at = now
        self._pinged_at = None
        self._retries.begin()
        self.retry_at = math.inf
        return self._ask(self._subscribe, self.wanted)

    def lost(self, why: str, error: SSEBridgeError | None = None) -> float:
        """Reports a lost or failed connection; returns the seconds until the next attempt.

        `error` if no retry can succeed before a change of configuration.
        """
        if self._attempts == 0:
            log.warning("live link lost: %s; it reconnects, then readers resume from the log", why)
        self._attempts += 1
        self._open = False
        if self.wanted:
            self._sink.lost(list(self.wanted.values()), why, error)
            self._sink.flush()
        return backoff(self._attempts, LONGEST_PAUSE)

    def received(self, data: bytes, now: float) -> None:
        """Passes the messages of one read to the sink, then flushes the sink once."""
        self._heard_at = now
        self._pinged_at = None
        self._attempts = 0
        self._reader.feed(data)
        gets = self._reader.gets
        wanted = self.wanted
        announced = self._sink.announced
        try:
            while (message := gets()) is not False:
                if type(message) is list and len(message) == 3 and message[0] in (b"message", b"smessage"):
                    channel = wanted.get(message[1])
                    if channel is None:
                        continue  # sent before Redis saw the unsubscription
                    try:
                        announcement = decode_announcement(message[2])
                    except (ForeignRecord, ValueError) as error:
                        if channel == CONTROL:
                            self._sink.control_message(message[2])
                            continue
                        log.warning("channel %r: foreign live message, so the log is read: %s", channel, error)
                        announced(channel, None)
                    else:
                        announced(channel, announcement)
                else:
                    self._answered(message)
        finally:
            if self._refused:
                self._retry(now)
            self._sink.flush()

    def _retry(self, now: float) -> None:
        """Schedules the refused subscriptions of one read for a retry, and logs them in one line."""
        refused, self._refused = dict(self._refused), []
        new = self._retries.refused(list(refused), now)
        self.retry_at = self._retries.due_at
        self.changed = True
        if new:
            log.warning(
                "subscriptions to %d channels refused or ended by Redis are retried; their readers read the log every "
                "check_seconds meanwhile; %r: %r", len(new), new[0], refused[new[0]],
            )  # fmt: skip

    def _answered(self, message: Any) -> None:
        if isinstance(message, ReplyError):
            command, name = self._asked.popleft() if self._asked else (b"", b"")
            channel = self.wanted.get(name)
            if command == self._subscribe and channel is not None:
                self._drop(channel, str(message))
            return
        if not isinstance(message, list) or message[0] == b"pong":
            return
        kind = message[0].upper()
        name = message[1]
        requested = bool(self._asked) and self._asked[0] == (kind, name)
        if requested:
            self._asked.popleft()
        channel = self.wanted.get(name)
        if channel is None:
            return
        if kind == self._subscribe:
            self._retries.settled(channel)
            self._sink.confirmed(channel)
        elif kind == self._unsubscribe and not requested:
            self._drop(channel, "Redis ended the subscription")

    def _drop(self, channel: str, why: str) -> None:
        refused = error_code(why) in PERMANENT  # another server would refuse as well
        self._sink.lost([channel], why, refusal(why, channel) if refused else None)
        if refused or not self._sharded:
            self._refused.append((channel, why))
            return
        if not why.startswith("MOVED "):
            log.warning("subscription to channel %r lost: %s; it is renewed", channel, why)
        self.dropped.append(channel)
        self.changed = True

    def tick(self, now: float) -> bytes:
        """The bytes to send now: a PING after half of `timeout` in silence, and subscriptions to ask for again.

        Raises:
            TimeoutError: the PING was not answered.
        """
        half = self._timeout / 2
        if self._pinged_at is not None:
            if now - self._pinged_at >= half:
                raise TimeoutError(f"expected an answer to PING, got no byte for {now - self._heard_at:.1f} s")
        elif now - self._heard_at >= half:
            self._pinged_at = now
            return _PING + self._again(now)
        return self._again(now)

    def _again(self, now: float) -> bytes:
        if now < self.retry_at:
            return b""
        channels = self._retries.take(now)
        self.retry_at = self._retries.due_at
        return self.subscribe(channels)

    def tick_at(self) -> float:
        """When to call `tick` again, unless bytes arrive before."""
        silent = (self._heard_at if self._pinged_at is None else self._pinged_at) + self._timeout / 2
        return min(silent, self.retry_at)
