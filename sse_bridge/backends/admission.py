"""The optional part of a backend's contract: who may hold a stream, agreed upon by all processes.

A backend that has it sets ``can_control = True`` and implements ``control`` (or its twin ``acontrol``): one request, one
reply, each atomic for all processes. It also delivers the messages below to every upstream that subscribed to
`CONTROL`, through `Sink.told`. What must hold:

1. A lease belongs to an *owner* (a hub of a process). An owner that has not been heard of for `ALIVE_SECONDS` has no
   leases any more; `TakeLease` and `Beat` are signs of life. So a process that is killed gives its slots back.
2. `TakeLease` counts, replaces and takes in one step, and doing it twice is doing it once.
3. `Revoke` stores and announces in one step; `ListRevocations` returns everything that is in force.

Users are arbitrary text, so only their hash travels. A channel cannot begin with a dot, so `CONTROL` meets none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

CONTROL: Final = ".control"
ALIVE_SECONDS: Final = 10.0  # without a sign of life for so long an owner is dead
BEAT_SECONDS: Final = 3.0  # so two lost beats change nothing


@dataclass(frozen=True)
class TakeLease:
    """May one more stream of this user begin? The reply is a bool.

    Attributes:
        user: `user_key` of the user.
        owner: the hub that asks; no dot in it.
        lease: ``<owner>.<anything>``, unique.
        limit: how many the user may have; 0: take it in any case (an owner that was taken for dead comes back).
        replace: over the limit the oldest give way, each announced by `replaced_message`.
        seconds: after so long a lease is of no interest any more: no stream lasts longer.
    """

    user: str
    owner: str
    lease: str
    limit: int
    replace: bool
    seconds: float


@dataclass(frozen=True)
class Beat:
    """The owner lives, and gives back what was `released`: (user key, lease). The reply says whether it was known alive."""

    owner: str
    released: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Revoke:
    """The target is refused for so many seconds from now on; 0: no more. The reply is True."""

    target: str
    seconds: float


@dataclass(frozen=True)
class ListRevocations:
    """The reply maps each target that is refused now to the seconds that are left."""


ControlRequest = TakeLease | Beat | Revoke | ListRevocations


class ControlBackend(Protocol):
    """See the module; one colour is enough."""

    can_control: bool

    def control(self, request: ControlRequest) -> Any: ...

    async def acontrol(self, request: ControlRequest) -> Any: ...


def user_key(user: str) -> str:
    """What stands for a user in keys and messages: 128 bits of BLAKE2b, as hexadecimal digits."""
    return hashlib.blake2b(user.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def target_of(user: str | None, channel: str | None) -> str:
    """The name of what is revoked. Injective: the hash has a fixed length, and no hash contains a colon."""
    if user is None:
        return f"c:{channel}"
    return f"u:{user_key(user)}" if channel is None else f"b:{user_key(user)}:{channel}"


def targets_of(key: str | None, channels: Iterable[str]) -> list[str]:
    """Every target that covers a stream of these channels, held by the user with this key."""
    names = list(channels)
    targets = [f"c:{name}" for name in names]
    if key is not None:
        targets.append(f"u:{key}")
        targets += [f"b:{key}:{name}" for name in names]
    return targets


def replaced_message(lease: str) -> bytes:
    """A newer stream took the place of this one."""
    return f"replaced {lease}".encode()


def revoked_message(request: Revoke) -> bytes:
    """The target is refused for so many milliseconds; 0: no more."""
    return f"revoked {round(request.seconds * 1000)} {request.target}".encode()
