"""Under gevent an exception comes where a greenlet waits."""

from __future__ import annotations

import pytest

from tests.support.gevent_run import gevent_run


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_a_timeout_at_any_switch_leaves_nothing_behind(backend: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if backend == "memory" else request.getfixturevalue("redis_url")
    output = gevent_run("import sys; from tests.interrupts.greenlets import main; main(sys.argv[1])", url)
    assert int(output) >= (1 if backend == "memory" else 12), output
