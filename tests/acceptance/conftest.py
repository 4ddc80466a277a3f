"""The stage, which takes seconds to set up and so is shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.stage import Stage, stage
from tests.support.requires import require

# Clients come back at once, streams without a client end soon, and processes remember little of what the log forgot.
SETTINGS = {
    "retry_min_ms": 100,
    "retry_max_ms": 200,
    "heartbeat_seconds": 1,
    "linger_seconds": 0,
    "drain_seconds": 0,
    "window_bytes": 8_192,
}


@pytest.fixture(scope="package")
def small_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """With a log of 2,000 entries."""
    require("redis7")
    with stage(tmp_path_factory.mktemp("stage"), replay_size=2000, **SETTINGS) as running:
        yield running
