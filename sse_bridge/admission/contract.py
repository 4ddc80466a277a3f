"""The optional part of a backend's contract: leases and revocations, agreed upon by all processes.

A backend with this part sets ``can_control = True`` and implements ``control`` (or its twin ``acontrol``): one request,
one reply, each atomic for all processes. The backend also delivers the messages below to every upstream that subscribed
to `CONTROL`, through `Sink.control_message`. The rules:

1. A lease belongs to an *owner* (a hub of a process). An owner without a sign of life (`TakeLease`, `Beat`) for
   `ALIVE_SECONDS` loses its leases, so that a process that is killed gives its slots back.
2. `TakeLease` counts, replaces and takes in one step, and is idempotent.
3. `Revoke` stores and announces in one step; `ListRevocations` returns everything that is in force.

Users are arbitrary text, so only their hash travels, in requests and in the names of targets. A channel cannot begin
with a dot, so `CONTROL` meets none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

CONTROL: Final = ".control"
ALIVE_SECONDS: Final = 10.0  # without a sign of life for so long an owner is dead
BEAT_SECONDS: Final = 3.0  # so two lost beats change nothing


@dataclass(frozen=True)
class TakeLease:
    """Asks whether one more stream of this user may begin; the reply is a bool.

    Attributes:
        user: `user_key` of the user (see admissions).
        owner: the hub that asks; no dot in it.
        lease: ``<owner>.<anything>``, unique.
        limit: the most leases of the user; 0: take it in any case (an owner that was taken for dead restores its own).
        replace: over the limit the oldest give way, each announced by `replaced_message`.
        seconds: the lease's lifetime at most, longer than any stream's.
    """

    user: str
    owner: str
    lease: str
    limit: int
    replace: bool
    seconds: float


@dataclass(frozen=True)
class Beat:
    """A sign of life that gives back `released`, pairs of user key and lease; the reply: the owner was known alive."""

    owner: str
    released: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Revoke:
    """Refuses the target for `seconds` from now on; 0: no more. The reply is True."""

    target: str
    seconds: float


@dataclass(frozen=True)
class ListRevocations:
    """Asks for the refused targets; the reply maps each to the seconds that are left."""


ControlRequest = TakeLease | Beat | Revoke | ListRevocations


class ControlBackend(Protocol):
    """See the module; one colour is enough."""

    can_control: bool

    def control(self, request: ControlRequest) -> Any: ...

    async def acontrol(self, request: ControlRequest) -> Any: ...


def replaced_message(lease: str) -> bytes:
    """Announces that a newer stream replaced the one with this lease."""
    return f"replaced {lease}".encode()


def revoked_message(request: Revoke) -> bytes:
    """Announces that the target is refused for so many milliseconds; 0: no more."""
    return f"revoked {round(request.seconds * 1000)} {request.target}".encode()
