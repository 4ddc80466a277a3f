"""Retention of a prefix: the values stored in Redis rule, and a higher generation replaces a lower; no I/O.

Each process reads the values at its first use, and a publishing one again after `LOOK_AGAIN_SECONDS`, so that a change
reaches running processes. Until then two processes trim one log differently; readers get a gap for trimmed entries as ever.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Literal, NamedTuple

from typing_extensions import override

from ...config import Settings
from ...errors import ConfigurationError, SSEBridgeError
from .calls import Call
from .keys import LAYOUT_VERSION
from .scripts import Codec, Script, lua

log = logging.getLogger("sse_bridge.redis")

LOOK_AGAIN_SECONDS: Final = 30.0  # costs one call of 50 µs each; a deploy that changes retention lasts longer
LOOK_SOON_SECONDS: Final = 1.0  # the same, while a process has not been able to read them yet
LOOK_SECONDS: Final = 0.5  # a publish waits at most so long for a look, where the server in charge is away

RETENTION: Final = Script(lua("retention"))

Mode = Literal["keep", "update", "adopt", "set", "show"]


class Stored(NamedTuple):
    """The retention stored under the prefix."""

    version: bytes  # of the layout, see `LAYOUT_VERSION`
    replay_size: int  # entries per channel
    replay_seconds: float  # how long after the last append
    generation: int  # how often values were stored, from 1; 0: none are stored, and these are the caller's own
    changed_ms: int  # the last change by the broker's clock (milliseconds since 1970); 0: never since the first use


class RetentionCall(Call[Stored]):
    """Reads the stored values, and stores or replaces them according to `mode` (retention.lua).

    A raise that is done twice is one more generation of the same values.

    Args:
        values: ``replay_size`` and ``replay_seconds``.
        seen: the generation that this process has seen; 0: none.
        made: when the caller's settings were made (seconds, monotonic); counts for `update` only.
        now: the time until the call is sent, which tells how old they are then.
    """

    script = RETENTION

    def __init__(
        self, codec: Codec, mode: Mode, values: tuple[int, float], seen: int = 0, made: float = 0.0, now: float = 0.0
    ) -> None:
        super().__init__(codec, codec.keys.retention.decode())
        self._mode = mode
        self._values = values
        self._seen = seen
        self._made = made
        self.sent_at = now

    @property
    @override
    def purpose(self) -> str:
        return f"reading the retention stored under {self.channel!r}"

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        size, seconds = self._values
        # `sent_at` is this attempt's: a change made while the first ones found no server is newer than these settings
        age = max(0, round((self.sent_at - self._made) * 1000))
        return (
            b"1", self.codec.keys.retention, LAYOUT_VERSION, b"%d" % size, b"%.17g" % seconds, b"%d" % self._seen,
            self._mode.encode(), b"%d" % age,
        )  # fmt: skip

    @override
    def parse(self, reply: Any) -> Stored:
        if not reply:
            return Stored(LAYOUT_VERSION, *self._values, 0, 0)
        version, size, seconds, generation, changed = (bytes(value or b"0") for value in reply)
        if version == LAYOUT_VERSION:
            try:
                return Stored(version, int(size), float(seconds), int(generation), int(changed))
            except ValueError:
                version += b" with other values"
        return Stored(version, 0, 0.0, 0, 0)  # the meaning of the other values is known to that version alone


class Retention:
    """The stored retention as one process knows it. Safe for any number of threads: values are replaced as a whole."""

    def __init__(self, codec: Codec, settings: Settings, now: float) -> None:
        self._codec = codec
        self._settings = settings
        self._made = now  # when the settings were made (seconds, monotonic)
        self.known: Stored | None = None  # the values read last; None before the first use
        self.look_at = now  # when to read again (seconds, monotonic)

    def call(self, now: float) -> RetentionCall:
        seen = 0 if self.known is None else self.known.generation
        values = (self._codec.replay_size, self._codec.replay_seconds)
        return RetentionCall(self._codec, self._settings.retention_change, values, seen, self._made, now)

    def learn(self, stored: Stored, now: float) -> None:
        """Takes over the stored values; raises `ConfigurationError` if another version has laid out this prefix's keys."""
        settings = self._settings
        if stored.version != LAYOUT_VERSION:
            raise ConfigurationError(
                f"expected layout {LAYOUT_VERSION.decode()!r} under the prefix {settings.prefix!r}, got "
                f"{stored.version.decode('ascii', 'replace')!r} of another version of sse_bridge; nothing was read or "
                "published: give both versions prefixes of their own until the other one is gone"
            )
        self.look_at = now + LOOK_AGAIN_SECONDS
        before, self.known = self.known, stored
        values = (stored.replay_size, stored.replay_seconds)
        if values != (self._codec.replay_size, self._codec.replay_seconds):
            self._codec.retain(*values)
        if before is not None and before[1:4] == stored[1:4]:
            return
        if settings.retention_change == "adopt":
            return
        if values != (settings.replay_size, settings.replay_seconds):
            log.warning(
                "prefix %r keeps replay_size=%d, replay_seconds=%g (generation %d), not replay_size=%d, replay_seconds=%g as "
                "configured here: the stored values rule; retention_change='update' or `sse-bridge retention set` changes them",
                settings.prefix, *values, stored.generation, settings.replay_size, settings.replay_seconds,
            )  # fmt: skip
        elif before is not None:
            log.info(
                "prefix %r keeps replay_size=%d, replay_seconds=%g from now on (generation %d)",
                settings.prefix, *values, stored.generation,
            )  # fmt: skip

    def unknown(self, error: SSEBridgeError, now: float) -> None:
        """The first look failed: the values of the process's own settings rule until one succeeds."""
        self.look_at = now + LOOK_SOON_SECONDS
        log.warning("reading the retention of prefix %r failed; this process keeps its own replay_size=%d, "
                    "replay_seconds=%g until a read succeeds: %s",
                    self._settings.prefix, self._codec.replay_size, self._codec.replay_seconds, error)  # fmt: skip

    def failed(self, error: SSEBridgeError, now: float) -> None:
        """A later look failed: the values known so far go on to rule."""
        if self.known is None:
            self.look_at = now + LOOK_SOON_SECONDS
            return
        self.look_at = now + LOOK_AGAIN_SECONDS
        log.info("reading the retention of prefix %r again failed; the values read before stay in force: %s",
                 self._settings.prefix, error)  # fmt: skip
