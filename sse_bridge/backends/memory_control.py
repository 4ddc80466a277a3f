"""Leases and revocations of one process, for the memory backend: decisions only, under the backend's lock.

The same rules as the scripts of the Redis backend; an owner dies here, too, if its event loop is dropped.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..admission.contract import (
    ALIVE_SECONDS,
    Beat,
    ControlRequest,
    Revoke,
    TakeLease,
    replaced_message,
    revoked_message,
)


class ControlTable:
    """See the module; `now` is in seconds, monotonic."""

    def __init__(self) -> None:
        self._owners: dict[str, float] = {}  # alive until
        self._leases: defaultdict[str, dict[str, None]] = defaultdict(dict)  # of a user, the oldest first
        self._revocations: dict[str, float] = {}  # until

    def carry_out(self, request: ControlRequest, now: float) -> tuple[Any, list[bytes]]:
        """The reply, and the messages for every upstream."""
        if isinstance(request, TakeLease):
            return self._take(request, now)
        if isinstance(request, Beat):
            return self._beat(request, now), []
        self._revocations = {target: until for target, until in self._revocations.items() if until > now}
        if isinstance(request, Revoke):
            if request.seconds > 0:
                self._revocations[request.target] = now + request.seconds
            else:
                self._revocations.pop(request.target, None)
            return True, [revoked_message(request)]
        return {target: until - now for target, until in self._revocations.items()}, []

    def _take(self, request: TakeLease, now: float) -> tuple[bool, list[bytes]]:
        self._owners[request.owner] = now + ALIVE_SECONDS
        leases = self._leases[request.user]
        for lease in [lease for lease in leases if self._owners.get(lease.partition(".")[0], 0.0) < now]:
            del leases[lease]
        messages: list[bytes] = []
        if request.lease not in leases:
            surplus = len(leases) - request.limit + 1
            if request.limit > 0 and surplus > 0:
                if not request.replace:
                    return False, messages
                for oldest in list(leases)[:surplus]:
                    del leases[oldest]
                    messages.append(replaced_message(oldest))
            leases[request.lease] = None
        return True, messages

    def _beat(self, request: Beat, now: float) -> bool:
        known = self._owners.get(request.owner, 0.0) >= now
        self._owners = {owner: until for owner, until in self._owners.items() if until >= now}
        self._owners[request.owner] = now + ALIVE_SECONDS
        for user, lease in request.released:
            leases = self._leases.get(user)
            if leases is not None:
                leases.pop(lease, None)
                if not leases:
                    del self._leases[user]
        return known
