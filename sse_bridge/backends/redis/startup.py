"""Checks before the first use, besides retention.py: permissions and eviction; no I/O."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from ...errors import BackendUnavailable, ConfigurationError
from .breaker import Breakers
from .calls import backoff
from .connecting import permanent_error
from .keys import PROBE
from .resp import ReplyError
from .retention import Retention, RetentionCall
from .routes import Routes
from .scripts import RETRYABLE, error_code
from .urls import Address

INFO: Final = ("INFO", "memory")

log = logging.getLogger("sse_bridge.redis")


def too_slow(timeout: float) -> BackendUnavailable:
    """The error of a caller that waited for the first look of another one."""
    return BackendUnavailable(
        f"Redis could not be asked for its settings within publish_timeout_seconds={timeout:g}; nothing was published"
    )


class StartupRetries:
    """The checks under one deadline: one that fails for a passing reason is repeated, as a publish would be.

    A cluster is usable while some primaries are away: without the stored retention if one of those holds it, and with a
    probe message over a primary that answers.

    Args:
        deadline: when to give up (seconds, monotonic).
        attempt_seconds: the longest wait for one primary of a cluster.
    """

    def __init__(
        self, deadline: float, attempt_seconds: float, retention: Retention, routes: Routes, breakers: Breakers
    ) -> None:
        self._deadline = deadline
        self._attempt_seconds = attempt_seconds
        self._retention = retention
        self._routes = routes
        self._breakers = breakers
        self._cluster = routes.kind == "cluster"
        self._made = 0
        self._probed: Address | None = None

    def left(self, now: float) -> float:
        """Seconds for reading the retention; on a cluster less than the rest, so that work can begin without it."""
        left = max(0.05, self._deadline - now)
        return min(left, self._attempt_seconds) if self._cluster else left

    def looked(self, look: RetentionCall, now: float) -> str:
        """Takes over the stored retention, or raises the error that keeps this process from working.

        Returns the channel of the probe message; on a cluster one of a primary not known to be away.
        """
        error = look.error
        if self._cluster and isinstance(error, BackendUnavailable) and self._routes.primaries() - {look.asked}:
            self._retention.unknown(error, now)
        else:
            self._retention.learn(look.outcome(), now)
        names = [PROBE, *[f"{PROBE}{number}" for number in range(64 * self._cluster)]]
        away = (None, *self._breakers.open)
        channel = next((name for name in names if self._routes.address(name) not in away), PROBE)
        self._probed = self._routes.address(channel)
        return channel

    def pause(self, error: BaseException, now: float) -> float:
        """Seconds until the next check after the probe message failed; raises if there is no time for one."""
        fatal = permanent_error(error)
        if fatal is not None:
            raise fatal from error
        if self._cluster:  # the next probe goes to another primary
            self._breakers.in_vain(self._probed, now, now, str(error))
        self._made += 1
        delay = backoff(self._made, 0.5)
        if now + delay >= self._deadline:
            raise BackendUnavailable(
                f"the checks before the first use of Redis failed, and nothing was published: {error}"
            ) from error
        return delay


class Probe:
    """A probe message that this process sends to itself like an announcement: Redis has separate ACLs for channels and keys.

    `subscribe` is the command for the first connection, `announce` for the second.
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
        """Logs a warning, unless `message` is the probe."""
        if not isinstance(message, list) or message[1:] != [self._channel, b"probe"]:
            log.warning("expected our own probe on the live link, got %r; readers may hear of events late", message)


def eviction_policy(info: Any) -> str | None:
    """The server's maxmemory-policy, with a warning if it would delete logs; None where INFO is not allowed."""
    found = re.search(rb"^maxmemory_policy:([^\r]*)", info, re.MULTILINE) if isinstance(info, bytes) else None
    if found is None:
        return None
    policy = found[1].decode("ascii", "replace")
    if policy != "noeviction":
        log.warning(
            "Redis has maxmemory-policy %s: when memory runs short it deletes logs, and readers see gaps; "
            "set it to noeviction",
            policy,
        )
    return policy
