"""Whether a stream may open: one order for all of them, without I/O.

    room in the process → its place on a hub (a closed bridge counts as unavailable) → registered with the bridge
    → ready within `OPENING_SECONDS` → not revoked → a lease, where its user's streams are counted

`opening` and its parts are generators: they yield a call and its argument, and their runner (`carry_out` on a thread,
`acarry_out` on a loop) sends the result in, or throws the broker's error. Calls may wait; the generators do not.
A run may end early at any call: closing the stream releases everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable
from typing import Any, Final, Protocol, TypeVar

from ...admission.admissions import Refused
from ...admission.grants import Grant
from ...errors import BackendError, BackendUnavailable, BridgeClosed, SSEBridgeError
from .bridge_protocol import BridgeProtocol
from .ending import answer, refusal_error
from .registry import OpenStream

OPENING_SECONDS: Final = 5.0  # shorter than most proxies' limits; then the client is told to reconnect
UNAVAILABLE: Final = (BackendUnavailable, BridgeClosed)  # a reconnect may reach another process, so both mean 503

T = TypeVar("T")
Steps = Generator[tuple[Callable[[Any], Any], Any], Any, T]


class Member(Hashable, Protocol):
    """A stream's place on a hub: a reader, or a source member that follows no channel."""

    @property
    def closed(self) -> bool: ...

    def ready(self) -> bool:
        """Whether the member knows all that its stream needs; else the hub works on it and wakes the member."""

    def refusal(self) -> SSEBridgeError | None:
        """The lasting error for which the member will not become ready; None: none."""


# A hub, the stream's member on it, and a wait for its wake or a moment (`time.monotonic`), in the hub's colour.
Place = tuple[Any, Member, Callable[[float], Any]]


class Opening(OpenStream, Protocol):
    """A stream that is about to open."""

    def enter(self) -> Place | None:
        """Takes the stream's place on a hub; None: a stream without a user or channels, neither counted nor revoked."""

    def is_over(self) -> bool:
        """Whether the stream was closed while it opened, or needs no opening; asked when its place is ready."""


def no_room(bridge: BridgeProtocol) -> Refused | None:
    """Why no stream may begin in this process now; asked right before a stream is counted."""
    if bridge.streams.full:
        return "limit"
    return "unavailable" if bridge.closed else None


def check_admission(bridge: BridgeProtocol, grant: Grant | None, channels: tuple[str, ...] = ()) -> None:
    """Refuses a stream as far as that needs no round trip; `opening` judges the rest.

    Raises:
        NotAuthenticated: the credentials have ended already.
        NotAuthorized: the stream is revoked.
        TooManyStreams: the process serves `max_streams` already, and the setting is to reject.
    """
    if grant is not None:
        grant.check_time()
    if bridge.revoked(None if grant is None else grant.user, channels):
        raise refusal_error("revoked")
    if bridge.streams.full and (error := answer("limit", bridge.settings, has_last_frame=True)) is not None:
        raise error


def opening(stream: Opening, bridge: BridgeProtocol, *, registered: bool = False) -> Steps[Refused | None]:
    """Opens one stream; returns the reason why it may not open, None: it may, or is over.

    Args:
        registered: the stream is open, and takes another place on a hub: a WebSocket's channels change.

    Raises:
        BackendUnavailable, BridgeClosed: there is no place for a registered stream, whose answer names the cause in the log.
        ConfigurationError: the broker cannot keep leases.
    """
    if not registered and (refused := no_room(bridge)) is not None:
        return refused
    try:
        place = stream.enter()
    except UNAVAILABLE:
        if registered:
            raise
        return "unavailable"
    if not registered:
        bridge.streams.add(stream)  # before the first wait, so that `no_room` counts streams that are opening
    if place is None:
        return None
    hub, member, wait = place
    if not (yield from until_ready(member, wait)):
        return "unavailable"
    return None if stream.is_over() else (yield from hub.admission.admitting(member))


def until_ready(member: Member, wait: Callable[[float], Any]) -> Steps[bool]:
    """Waits until a member is ready; False: closed, refused, or not ready in time."""
    until = time.monotonic() + OPENING_SECONDS
    while not member.ready():
        if member.closed or time.monotonic() >= until or member.refusal() is not None:
            return False
        yield wait, until
    return not member.closed


def carry_out(steps: Steps[T]) -> T:
    """Runs the steps on this thread or greenlet."""
    try:
        call, argument = next(steps)
        while True:
            try:
                result = call(argument)
            except BackendError as error:
                call, argument = steps.throw(error)
            else:
                call, argument = steps.send(result)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome


async def acarry_out(steps: Steps[T]) -> T:
    """The async twin of `carry_out`; safe to cancel."""
    try:
        call, argument = next(steps)
        while True:
            try:
                result = await call(argument)
            except BackendError as error:
                call, argument = steps.throw(error)
            else:
                call, argument = steps.send(result)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
