"""What is looked at before the first use: retention, the version of records, permissions, eviction; no I/O."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from ...config import Settings
from ...errors import BackendUnavailable, ConfigurationError
from .calls import backoff
from .connecting import hopeless
from .resp import ReplyError
from .scripts import RECORD_VERSION, RETRYABLE, error_code

INFO: Final = ("INFO", "memory")

log = logging.getLogger("sse_bridge.redis")


def retention(stored: Sequence[bytes], settings: Settings) -> tuple[int, float]:
    """The replay_size and replay_seconds to keep to.

    Raises:
        ConfigurationError: another version or other values are stored under the prefix. Two bridges that trim and expire
            the same logs differently would break each other's promises without either noticing.
    """
    version, size, seconds = stored
    if version != RECORD_VERSION:
        raise ConfigurationError(
            f"prefix {settings.prefix!r} holds records of version {version!r}, this library writes "
            f"{RECORD_VERSION!r}: use another prefix while both are in use"
        )
    replay_size, replay_seconds = int(size), float(seconds)
    if (replay_size, replay_seconds) == (settings.replay_size, settings.replay_seconds) or settings.adopt_retention:
        return replay_size, replay_seconds
    raise ConfigurationError(
        f"prefix {settings.prefix!r} was first used with replay_size={replay_size}, replay_seconds={replay_seconds:g}; this "
        f"bridge has replay_size={settings.replay_size}, replay_seconds={settings.replay_seconds:g}. Make them equal, set "
        f"adopt_retention=True to use the stored ones, or delete the key '{settings.prefix}:retention' to store new ones"
    )


def too_slow(timeout: float) -> BackendUnavailable:
    """The error of who waited for a first look that others make."""
    return BackendUnavailable(
        f"Redis could not be asked for its settings within publish_timeout_seconds={timeout:g}; nothing was published"
    )


class Trials:
    """The looks under one deadline: one that fails for a passing reason is made again, as a publish would be.

    Args:
        deadline: when to give up (seconds, monotonic).
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._made = 0

    def left(self, now: float) -> float:
        """Seconds for what comes next."""
        return max(0.05, self._deadline - now)

    def pause(self, error: BaseException, now: float) -> float:
        """A look failed: the seconds until the next one; raises when there is none."""
        fatal = hopeless(error)
        if fatal is not None:
            raise fatal from error
        self._made += 1
        delay = backoff(self._made, 0.5)
        if now + delay >= self._deadline:
            raise BackendUnavailable(
                f"Redis could not be asked for its settings, and nothing was published: {error}"
            ) from error
        return delay


class Probe:
    """A message from us to ourselves, the way announcements go: the ACL of channels is apart from that of keys.

    Attributes:
        subscribe: the command for one connection.
        announce: the command for another one.
    """

    def __init__(self, channel: bytes, sharded: bool) -> None:
        self._channel = channel
        self.subscribe = (b"SSUBSCRIBE" if sharded else b"SUBSCRIBE", channel)
        self.announce = (b"SPUBLISH" if sharded else b"PUBLISH", channel, b"probe")

    def refused(self, reply: Any) -> bool:
        """Whether a command failed for a passing reason; raises `ConfigurationError` for a lasting one."""
        if not isinstance(reply, ReplyError):
            return False
        if error_code(str(reply)) in RETRYABLE:
            return True
        raise ConfigurationError(
            f"Redis does not let this user subscribe and publish on {self._channel!r}: {reply}; its ACL needs a rule like "
            f"&{self._channel.decode().rpartition('{')[0]}*"
        )

    def heard(self, message: Any) -> None:
        """Judges what arrived."""
        if not isinstance(message, list) or message[1:] != [self._channel, b"probe"]:
            log.warning("the live link told %r instead of our own probe; readers may hear of events late", message)


def eviction_policy(info: Any) -> str | None:
    """What Redis does when memory runs short, with a warning if it deletes logs then; None where INFO is not allowed."""
    if not isinstance(info, bytes):
        return None
    for line in info.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"maxmemory_policy":
            policy = value.decode("ascii", "replace")
            if policy != "noeviction":
                log.warning(
                    "Redis has maxmemory-policy %s: when memory runs short it deletes logs, and readers see gaps; "
                    "set it to noeviction",
                    policy,
                )
            return policy
    return None
