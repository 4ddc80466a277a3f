"""Eight publishers, ten readers whose connections are cut at random bytes: everybody sees everything, in order, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import SETTINGS
from tests.acceptance.log import Log
from tests.acceptance.stage import Audience, Stage, stage
from tests.support.requires import needs_chromium, needs_node, needs_redis7

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

pytestmark = [needs_chromium, needs_node, needs_redis7]


def run(on: Stage, browser: Chrome, channel: str, each: int, high: int, seconds: float) -> None:
    log = Log()
    with Audience(on, browser, channel, high) as audience:
        log.published(on.publish(channel, each)(seconds))
        on.bridge.close_channel(channel)
        audience.wait(lambda reader: reader.done, seconds, "everybody to see the end")
        for reader in audience.readers:
            log.check(reader)
            assert reader.proxy.cuts > 2, f"{reader!r} had too good a network to prove anything"


def test_all_see_the_same_events_in_order_once(small_stage: Stage, browser: Chrome) -> None:
    run(small_stage, browser, "short", each=200, high=16_384, seconds=60)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sixteen_thousand_events(tmp_path: Path, browser: Chrome) -> None:
    with stage(tmp_path, replay_size=20_000, **{**SETTINGS, "window_bytes": 1_048_576}) as on:
        run(on, browser, "full", each=2000, high=65_536, seconds=150)
