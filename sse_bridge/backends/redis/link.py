"""One pub/sub connection as a conversation: what to send, and what the bytes that arrive mean; no I/O.

Redis never says that messages were lost. What can be seen is a second confirmation, an unsubscription that nobody asked
for, silence, or the end of the connection; each is told to the sink, whose readers then look into the log.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from ...errors import ForeignRecord
from ...records import decode_announcement
from ..admission import CONTROL
from ..base import Sink
from .keys import Keys
from .resp import Reader, ReplyError, new_reader, pack

log = logging.getLogger("sse_bridge.redis")

_PING: Final = pack(("PING",))


class Link:
    """The conversation on one connection after the other, as long as the upstream lives.

    Args:
        keys: the names.
        sink: who is told.
        sharded: SSUBSCRIBE, in a cluster.
        timeout: seconds of silence that mean a lost link; half of it, and a PING is sent.

    Attributes:
        wanted: what shall be subscribed: pub/sub channel → channel.
        strays: channels that this server gave up or refused; the driver takes them away and decides where they go.
        fruitful: this connection has brought something, so the next attempt need not wait long.
    """

    def __init__(self, keys: Keys, sink: Sink, sharded: bool, timeout: float) -> None:
        self._keys = keys
        self._sink = sink
        self._timeout = timeout
        self._subscribe, self._unsubscribe = (
            (b"SSUBSCRIBE", b"SUNSUBSCRIBE") if sharded else (b"SUBSCRIBE", b"UNSUBSCRIBE")
        )
        self.wanted: dict[bytes, str] = {}
        self.strays: list[str] = []
        self.fruitful = False
        self._open = False
        # commands without an answer yet, in order: only so can an error be told whose it is
        self._asked: deque[tuple[bytes, bytes]] = deque()
        self._reader: Reader = new_reader()
        self._heard_at = 0.0
        self._pinged_at: float | None = None

    def subscribe(self, channels: Iterable[str]) -> bytes:
        """Adds channels; returns what to send now."""
        names = []
        for channel in channels:
            name = self._keys.of(channel)[0]
            self.wanted[name] = channel
            names.append(name)
        return self._ask(self._subscribe, names) if self._open else b""

    def unsubscribe(self, channels: Iterable[str]) -> bytes:
        """Drops channels; returns what to send now."""
        names = [name for channel in channels if self.wanted.pop(name := self._keys.of(channel)[0], None) is not None]
        return self._ask(self._unsubscribe, names) if self._open else b""

    def _ask(self, command: bytes, names: Iterable[bytes]) -> bytes:
        # one command per channel: an error then concerns that channel alone, and in a cluster slots differ
        sent = []
        for name in names:
            self._asked.append((command, name))
            sent.append(pack((command, name)))
        return b"".join(sent)

    def opened(self, now: float) -> bytes:
        """A new connection stands; returns what to send on it."""
        self._open = True
        self.fruitful = False
        self._asked.clear()
        self._reader = new_reader()
        self._heard_at = now
        self._pinged_at = None
        return self._ask(self._subscribe, list(self.wanted))

    def lost(self, why: str) -> None:
        """The connection is gone, or none can be made."""
        self._open = False
        if self.wanted:
            self._sink.lost(list(self.wanted.values()), why)
            self._sink.flush()

    def received(self, data: bytes, now: float) -> None:
        """Tells the sink everything that one read brought, then flushes it once."""
        self._heard_at = now
        self._pinged_at = None
        self.fruitful = True
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
                            self._sink.told(message[2])
                            continue
                        log.warning("channel %r: a message that is not ours: %s", channel, error)
                        announced(channel, None)
                    else:
                        announced(channel, announcement)
                else:
                    self._answered(message)
        finally:
            self._sink.flush()

    def _answered(self, message: Any) -> None:
        if isinstance(message, ReplyError):
            command, name = self._asked.popleft() if self._asked else (b"", b"")
            channel = self.wanted.get(name)
            if command == self._subscribe and channel is not None:
                self._stray(channel, str(message))
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
            self._sink.confirmed(channel)
        elif kind == self._unsubscribe and not requested:
            self._stray(channel, "Redis ended the subscription")

    def _stray(self, channel: str, why: str) -> None:
        if not why.startswith("MOVED "):
            log.warning("channel %r: subscription lost: %s", channel, why)
        self._sink.lost([channel], why)
        self.strays.append(channel)

    def due(self, now: float) -> bytes:
        """What silence demands: nothing, a PING, or `TimeoutError` when that was not answered."""
        half = self._timeout / 2
        if self._pinged_at is not None:
            if now - self._pinged_at >= half:
                raise TimeoutError(f"no byte for {now - self._heard_at:.1f} s, not even an answer to PING")
        elif now - self._heard_at >= half:
            self._pinged_at = now
            return _PING
        return b""

    def due_at(self) -> float:
        """When to call `due` again, unless something arrives."""
        return (self._heard_at if self._pinged_at is None else self._pinged_at) + self._timeout / 2
