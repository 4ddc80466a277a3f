"""Leases and revocations on Redis: which script, with which keys and arguments, and what its reply means; no I/O.

::

    {prefix}:<database>:{.control}:o             zset  owner -> alive until
    {prefix}:<database>:{.control}:v             zset  what is revoked -> until
    {prefix}:<database>:{.control}:s:<user key>  zset  a user's leases -> since
    {prefix}:<database>:{.control}               pub/sub channel

All in one slot of a cluster, for a lease is judged by its owner's sign of life. Connecting is rare beside publishing.
"""

from __future__ import annotations

from typing import Any, Final

from typing_extensions import override

from ...errors import ConfigurationError
from ..admission import ALIVE_SECONDS, CONTROL, Beat, ControlRequest, Revoke, TakeLease, revoked_message
from .calls import Call
from .scripts import Codec, Script, lua

LEASE: Final = Script(lua("lease"))
BEAT: Final = Script(lua("beat"))
REVOKE: Final = Script(lua("revoke"))
REVOCATIONS: Final = Script(lua("revocations"))

_ALIVE_MS: Final = b"%d" % round(ALIVE_SECONDS * 1000)
_OWNERS_MS: Final = b"%d" % round(60 * ALIVE_SECONDS * 1000)


class ControlCall(Call[Any]):
    """One request of ``backends/admission.py``."""

    def __init__(self, codec: Codec, request: ControlRequest) -> None:
        super().__init__(codec, CONTROL)
        self.request = request

    @property
    @override
    def script(self) -> Script:
        if isinstance(self.request, TakeLease):
            return LEASE
        if isinstance(self.request, Beat):
            return BEAT
        return REVOKE if isinstance(self.request, Revoke) else REVOCATIONS

    @override
    def arguments(self, age_ms: int | None) -> tuple[Any, ...]:
        request, keys = self.request, self.codec.keys
        owners, revocations = keys.control(b"o"), keys.control(b"v")
        publish, announce = self.codec.publish_command, keys.of(CONTROL)[0]
        if isinstance(request, TakeLease):
            return (
                b"2", owners, keys.control(b"s:" + request.user.encode()), request.owner, request.lease,
                b"%d" % request.limit, b"1" if request.replace else b"0", _ALIVE_MS,
                b"%d" % round(request.seconds * 1000), publish, announce,
            )  # fmt: skip
        if isinstance(request, Beat):
            users = [keys.control(b"s:" + user.encode()) for user, _ in request.released]
            leases = [lease for _, lease in request.released]
            return (b"%d" % (1 + len(users)), owners, *users, request.owner, _ALIVE_MS, _OWNERS_MS, *leases)
        if isinstance(request, Revoke):
            milliseconds = b"%d" % round(request.seconds * 1000)
            return (b"1", revocations, request.target, milliseconds, publish, announce, revoked_message(request))
        return (b"1", revocations)

    @override
    def parse(self, reply: Any) -> Any:
        if isinstance(self.request, (TakeLease, Beat, Revoke)):
            return reply == 1
        pairs = zip(reply[::2], reply[1::2], strict=True)
        return {target.decode("utf-8", "replace"): left / 1000 for target, left in pairs}

    @override
    def expire(self) -> None:
        self._unknown_since = None  # each may be done again, and whoever asked does
        super().expire()


def check_eviction(policy: str | None) -> None:
    """Leases that Redis throws away would let anybody in, and revocations would end by themselves.

    Raises:
        ConfigurationError: Redis evicts keys. None: it does not say, so nobody can know.
    """
    if policy is not None and policy != "noeviction":
        raise ConfigurationError(
            f"limits per user and revocations need maxmemory-policy noeviction, but Redis has {policy!r}: it would drop "
            "them when memory runs short; set it to noeviction, or keep them in another Redis"
        )
