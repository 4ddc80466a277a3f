"""Leases and revocations on Redis: scripts, keys, arguments, replies; no I/O.

::

    {prefix}:<database>:{.control}:o             zset  owner -> alive until
    {prefix}:<database>:{.control}:v             zset  revoked target -> until
    {prefix}:<database>:{.control}:s:<user key>  zset  a user's leases -> since
    {prefix}:<database>:{.control}               pub/sub channel

All keys share one slot of a cluster, since a script judges a lease by its owner's heartbeat; connecting is rare.
"""

from __future__ import annotations

from typing import Any, Final

from typing_extensions import override

from ...admission.contract import (
    ALIVE_SECONDS,
    CONTROL,
    Beat,
    ControlRequest,
    ListRevocations,
    Revoke,
    TakeLease,
    revoked_message,
)
from ...errors import ConfigurationError
from .calls import Call
from .scripts import Codec, Script, lua

_SCRIPTS: Final = {
    request: Script(lua(name))
    for request, name in ((TakeLease, "lease"), (Beat, "beat"), (Revoke, "revoke"), (ListRevocations, "revocations"))
}
_PURPOSES: Final = {
    TakeLease: "counting a user's streams",
    Beat: "giving a sign of life for the streams of users",
    ListRevocations: "listing revocations",
}
_ALIVE_MS: Final = b"%d" % round(ALIVE_SECONDS * 1000)
_OWNERS_MS: Final = b"%d" % round(60 * ALIVE_SECONDS * 1000)


class ControlCall(Call[Any]):
    """One request of ``admission/contract.py``; all are idempotent, and their callers repeat them."""

    def __init__(self, codec: Codec, request: ControlRequest) -> None:
        super().__init__(codec, CONTROL)
        self.request = request
        self.writes = not isinstance(request, ListRevocations)

    @property
    @override
    def script(self) -> Script:
        return _SCRIPTS[type(self.request)]

    @property
    @override
    def purpose(self) -> str:
        if isinstance(self.request, Revoke):
            return f"revoking {self.request.target!r}"
        return _PURPOSES[type(self.request)]

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


def check_eviction(policy: str | None) -> None:
    """Refuses eviction, by which Redis would drop leases, so that limits fail, and revocations, so that they end early.

    Raises:
        ConfigurationError: Redis evicts keys; a `policy` of None (unknown) passes.
    """
    if policy is not None and policy != "noeviction":
        raise ConfigurationError(
            f"limits per user and revocations need maxmemory-policy noeviction, but Redis has {policy!r}: it would drop "
            "them when memory runs short; set it to noeviction, or keep them in another Redis"
        )
