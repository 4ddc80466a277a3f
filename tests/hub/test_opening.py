"""Whether a stream may open, decided without a broker: what is asked, when, and what each reply or error comes to."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import pytest

from sse_bridge.admission.admissions import Admissions, Refused
from sse_bridge.admission.contract import Revoke, TakeLease, revoked_message, target_of
from sse_bridge.admission.opening import admitting
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


def new_admissions(stream: Stream, limit: int) -> Admissions:
    admissions = Admissions(supported=True, limit=limit, replace=False, lease_seconds=60.0)
    admissions.join("ada", "ada", ("a",), stream)
    return admissions


def outcome(admissions: Admissions, answer: Any) -> tuple[list[TakeLease], Refused | None]:
    """What was asked, each time under no lock, and what came of it."""
    lock, asked = Lock(), []
    steps = admitting(admissions, lock, asked.append, "ada")
    try:
        ask, request = next(steps)
        while True:
            assert not lock.held, "the broker may take seconds to answer"
            ask(request)
            ask, request = steps.throw(answer) if isinstance(answer, SSEBridgeError) else steps.send(answer)
    except StopIteration as over:
        return asked, over.value


def test_without_a_limit_nothing_is_asked(stream: Stream) -> None:
    assert outcome(new_admissions(stream, 0), None) == ([], None)


def test_a_revoked_stream_is_refused_before_anything_is_asked(stream: Stream) -> None:
    admissions = new_admissions(stream, 1)
    admissions.control_message(revoked_message(Revoke(target_of("ada", None), 1e9)), 0.0)
    assert outcome(admissions, True) == ([], "revoked")


@pytest.mark.parametrize(
    ("answer", "refused", "kept"),
    [(True, None, True), (False, "limit", False), (BackendUnavailable("away"), "unavailable", True)],
)
def test_one_lease_is_asked_for_and_the_answer_decides(
    answer: Any, refused: Refused | None, kept: bool, stream: Stream
) -> None:
    admissions = new_admissions(stream, 1)
    asked, said = outcome(admissions, answer)
    assert [request.limit for request in asked] == [1]
    assert said == refused
    assert admissions.leave("ada") is kept, "what may have been taken is given back"


def test_an_error_that_is_the_application_s_to_mend_goes_past(stream: Stream) -> None:
    with pytest.raises(ConfigurationError):
        outcome(new_admissions(stream, 1), ConfigurationError("no leases here"))


def test_a_caller_that_is_ended_early_lets_the_member_give_back_what_it_may_have_got(stream: Stream) -> None:
    admissions, lock = new_admissions(stream, 1), Lock()
    steps = admitting(admissions, lock, [].append, "ada")
    next(steps)
    lock.held = True  # the collector may come anywhere, and the generator's end enters no lock
    del steps
    gc.collect()
    assert admissions.leave("ada")
