"""Whether a stream may open, decided without a broker: what is asked, when, and what each reply or error comes to."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import pytest

from sse_bridge.admission.admissions import Refused, target_of
from sse_bridge.admission.contract import Revoke, TakeLease, revoked_message
from sse_bridge.admission.drivers import ThreadAdmissionDriver
from sse_bridge.config import Settings
from sse_bridge.errors import BackendUnavailable, ConfigurationError, SSEBridgeError


class Stream:
    def end_by(self, when: float, why: str = "drain") -> None:
        raise AssertionError("nobody ends here")


class Lock(contextlib.AbstractContextManager[None]):
    """Knows whether it is held."""

    held = False

    def __enter__(self) -> None:
        assert not self.held
        self.held = True

    def __exit__(self, *error: object) -> None:
        self.held = False


@pytest.fixture
def stream() -> Stream:
    return Stream()


class Backend:
    can_control = True

    def __init__(self) -> None:
        self.asked: list[TakeLease] = []

    def control(self, request: TakeLease) -> None:
        self.asked.append(request)


class Driver(ThreadAdmissionDriver):
    """The admissions of one member, ada."""

    def __init__(self, stream: Stream, limit: int) -> None:
        self.lock, self.backend = Lock(), Backend()
        super().__init__(self.lock, self.backend, Settings(max_streams_per_user=limit, over_limit="reject"))
        self.state.join("ada", "ada", ("a",), stream)


def outcome(driver: Driver, answer: Any) -> tuple[list[TakeLease], Refused | None]:
    """What was asked, each time under no lock, and what came of it."""
    steps = driver.admitting("ada")
    try:
        ask, request = next(steps)
        while True:
            assert not driver.lock.held, "the broker may take seconds to answer"
            ask(request)
            ask, request = steps.throw(answer) if isinstance(answer, SSEBridgeError) else steps.send(answer)
    except StopIteration as over:
        return driver.backend.asked, over.value


def test_without_a_limit_nothing_is_asked(stream: Stream) -> None:
    assert outcome(Driver(stream, 0), None) == ([], None)


def test_a_revoked_stream_is_refused_before_anything_is_asked(stream: Stream) -> None:
    driver = Driver(stream, 1)
    driver.state.control_message(revoked_message(Revoke(target_of("ada", None), 1e9)), 0.0)
    assert outcome(driver, True) == ([], "revoked")


@pytest.mark.parametrize(
    ("answer", "refused", "kept"),
    [(True, None, True), (False, "limit", False), (BackendUnavailable("away"), "unavailable", True)],
)
def test_one_lease_is_asked_for_and_the_answer_decides(
    answer: Any, refused: Refused | None, kept: bool, stream: Stream
) -> None:
    driver = Driver(stream, 1)
    asked, said = outcome(driver, answer)
    assert [request.limit for request in asked] == [1]
    assert said == refused
    assert driver.state.leave("ada") is kept, "what may have been taken is given back"


def test_an_error_that_is_the_application_s_to_mend_goes_past(stream: Stream) -> None:
    with pytest.raises(ConfigurationError):
        outcome(Driver(stream, 1), ConfigurationError("no leases here"))


def test_a_caller_that_is_ended_early_lets_the_member_give_back_what_it_may_have_got(stream: Stream) -> None:
    driver = Driver(stream, 1)
    steps = driver.admitting("ada")
    next(steps)
    driver.lock.held = True  # the collector may come anywhere, and the generator's end enters no lock
    del steps
    gc.collect()
    assert driver.state.leave("ada")
