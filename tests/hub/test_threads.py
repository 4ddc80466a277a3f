"""The hub on threads and on greenlets: the same scenarios, on both backends."""

from __future__ import annotations

import pytest

from sse_bridge.hub import threads
from tests.hub.scenarios import SCENARIOS, disregard_threads
from tests.support.gevent_run import gevent_run

FORKING = {"a_forked_child_has_a_hub_of_its_own"}  # never in the process that runs the tests


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("redis_url")


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in FORKING])
def test_threads(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "TICK_SECONDS", 0.05)
    disregard_threads()  # a hub outlives its last reader for a moment, and a default bridge every test
    SCENARIOS[name](url)


@pytest.mark.parametrize("name", sorted(FORKING))
def test_threads_and_fork(name: str, url: str) -> None:
    program = "import sys; from tests.hub.scenarios import run; run(*sys.argv[1:])"
    assert gevent_run(program, name, url, patch=False).endswith("done\n")


def test_greenlets(url: str) -> None:
    """All of them in one patched process, since starting one costs more than most scenarios."""
    program = """
        import sys
        from tests.hub.scenarios import SCENARIOS, run
        for name in SCENARIOS:
            print(name, flush=True)
            run(name, sys.argv[1])
    """
    output = gevent_run(program, url)
    assert output.count("done\n") == len(SCENARIOS), output
