"""No public call that runs on its caller's thread can be forgotten when calls are interrupted."""

from __future__ import annotations

import importlib
import sys
from types import CodeType

import pytest

from sse_bridge import Bridge
from tests.interrupts.calls import CALLS, EXPLAINED, TESTS, public_calls
from tests.interrupts.conftest import SECRET


def test_every_public_call_on_a_thread_is_interrupted_or_explained() -> None:
    interrupted = {f"Bridge.{call.method}" for call in CALLS.values()} | set(TESTS)
    assert interrupted.isdisjoint(EXPLAINED)
    assert public_calls() == interrupted | set(EXPLAINED), "add it to CALLS or TESTS, or explain it"


def test_every_test_that_is_named_exists() -> None:
    for name in TESTS.values():
        module, _, test = name.partition(".")
        assert hasattr(importlib.import_module(f"tests.interrupts.{module}"), test), name


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_listed_calls_its_method(name: str) -> None:
    called: set[CodeType] = set()
    with Bridge("memory://", token_secret=SECRET) as bridge:
        sys.setprofile(lambda frame, event, argument: called.add(frame.f_code))
        try:
            CALLS[name].run(bridge)
        finally:
            sys.setprofile(None)
    assert getattr(Bridge, CALLS[name].method).__code__ in called
