"""Whether a stream may open, decided without a hub: the order of the steps, and what each outcome comes to.

Through real hubs and servers: tests/security/admission/test_answers.py.
"""

from __future__ import annotations

import contextlib
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.admission import drivers as admission
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable, BridgeClosed, SSEBridgeError
from sse_bridge.streams.lifecycle import opening as module
from sse_bridge.streams.lifecycle.opening import acarry_out, carry_out, opening

CAUSES = (
    "full",
    "closed bridge",
    "closed hub",
    "away",
    "refused channel",
    "left",
    "ended",
    "revoked",
    "over the limit",
    "uncounted",
)


class Streams(list[Any]):
    full = False
    add = list.append


class Bridge:
    closed = False

    def __init__(self) -> None:
        self.streams = Streams()


class Backend:
    can_control = True

    def __init__(self) -> None:
        self.answers: list[bool | SSEBridgeError] = [True]

    def control(self, request: Any) -> bool:
        answer = self.answers.pop()
        if isinstance(answer, SSEBridgeError):
            raise answer
        return answer


class Hub:
    def __init__(self) -> None:
        self.backend = Backend()
        settings = Settings(max_streams_per_user=1, over_limit="reject")
        self.admission = admission.ThreadAdmissionDriver(contextlib.nullcontext(), self.backend, settings)


class Stream:
    """A stream and its member, ready after so many waits; notes what was done to it, in order."""

    loop = None
    closed = False

    def __init__(self, bridge: Bridge, cause: str | None, waits: int) -> None:
        self.bridge, self.cause, self.waits, self.hub = bridge, cause, waits, Hub()
        self.done: list[str] = []

    def enter(self) -> Any:
        self.done.append("enter")
        if self.cause == "closed hub":
            raise BridgeClosed("closed meanwhile")
        self.hub.admission.state.join(self, "ada", ("a",), self)
        if self.cause == "revoked":
            self.hub.admission.state.control_message(b"revoked 60000 c:a", 0.0)
        if self.cause in ("over the limit", "uncounted"):
            self.hub.backend.answers = [False if self.cause == "over the limit" else BackendUnavailable("away")]
        return self.hub, self, self.wait

    def wait(self, until: float) -> None:
        self.done.append("wait")
        self.waits -= 1

    def ready(self) -> bool:
        self.closed = self.cause == "left" and not self.waits
        return self.waits <= 0 and self.cause not in ("away", "left", "refused channel")

    def refusal(self) -> SSEBridgeError | None:
        return BackendUnavailable("no permission") if self.cause == "refused channel" and not self.waits else None

    def is_over(self) -> bool:
        return self.cause == "ended"

    def end_by(self, when: float, why: str = "drain") -> None:
        raise AssertionError("nobody ends here")


def expected(cause: str | None) -> str | None:
    if cause in (None, "ended"):
        return None
    return {"full": "limit", "over the limit": "limit", "revoked": "revoked"}.get(cause, "unavailable")


@given(cause=st.none() | st.sampled_from(CAUSES), waits=st.integers(0, 3))
def test_the_first_step_that_refuses_decides_and_nothing_is_done_behind_it(cause: str | None, waits: int) -> None:
    bridge = Bridge()
    bridge.streams.full, bridge.closed = cause == "full", cause == "closed bridge"
    stream = Stream(bridge, cause, waits)
    clock = iter(range(100))
    with pytest.MonkeyPatch.context() as patch:
        for asks in (module, admission):  # their own name of `time`: other threads of this process need the real one
            patch.setattr(asks, "time", types.SimpleNamespace(monotonic=lambda: float(next(clock))))
        assert carry_out(opening(stream, bridge)) == expected(cause)  # type: ignore[arg-type]
    if cause in ("full", "closed bridge"):
        assert stream.done == []
    assert bridge.streams == ([stream] if cause not in ("full", "closed bridge", "closed hub") else [])
    member = stream.hub.admission.state.members.get(stream)
    assert (member is not None and member.lease is not None) is (cause in (None, "uncounted")), (
        "what may be held is given back"
    )
    if cause == "away":
        assert 0 < stream.done.count("wait") <= module.OPENING_SECONDS + 1


@pytest.mark.parametrize("cause", [None, "over the limit", "uncounted"])
async def test_on_a_loop_the_same_steps_are_awaited(cause: str | None) -> None:
    bridge = Bridge()
    stream = Stream(bridge, cause, 2)
    assert await acarry_out(awaitable(opening(stream, bridge))) == expected(cause)  # type: ignore[arg-type]
    assert stream.done == ["enter", "wait", "wait"]


def awaitable(steps: Any) -> Any:
    """The same steps with calls that are awaited."""

    def in_colour(call: Any) -> Any:
        async def acall(argument: Any) -> Any:
            return call(argument)

        return acall

    result, error = None, None
    while True:
        try:
            call, argument = steps.throw(error) if error is not None else steps.send(result)
        except StopIteration as stop:
            return stop.value
        result, error = None, None
        try:
            result = yield in_colour(call), argument
        except SSEBridgeError as thrown:
            error = thrown
