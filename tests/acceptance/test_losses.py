"""The log loses events between two publishers' rounds: every reader is told of each loss once, and told right.

Readers and publishers stand still while it happens, so what each must see is known exactly. Their connections are cut
at random bytes all the time, gaps included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sse_bridge.backends.redis.keys import Keys
from tests.acceptance.log import Log
from tests.acceptance.stage import Audience, Stage
from tests.support.requires import needs_chromium, needs_node, needs_redis7

if TYPE_CHECKING:
    from collections.abc import Callable

    from selenium.webdriver import Chrome

pytestmark = [needs_chromium, needs_node, needs_redis7]

ROUND = 12  # events of each of eight publishers: more than the 80 that the windows of the processes hold at most


class Losing:
    """Ways to lose events while nobody is connected, or what was read already while everybody is; the story says which."""

    def __init__(self, on: Stage, channel: str) -> None:
        self.on = on
        self.channel = channel
        self.log = Log()

    def publish(self, each: int = ROUND) -> dict[str, Any]:
        return self.on.publish(self.channel, each)()

    def delete(self, *, meta: bool) -> None:
        name, log = Keys(self.on.bridge.settings.prefix, 0).of(self.channel)
        assert self.on.client.delete(log, *[name] * meta) == 1 + meta

    def trim(self) -> None:
        """More is published than the log keeps."""
        new = self.publish(3 * self.on.settings["replay_size"] // 16)
        kept = [str(event.id) for event in self.on.bridge.history(self.channel, limit=10_000)]
        self.log.lost("trimmed", set(new) - set(kept), {id: new[id] for id in kept})

    def delete_keys(self) -> None:
        """Somebody deletes the channel's keys, as an eviction does."""
        gone = self.publish()
        self.delete(meta=True)
        self.log.lost("epoch", gone, self.publish())

    def flush(self) -> None:
        gone = self.publish()
        self.on.client.flushall()
        self.log.lost("epoch", gone, self.publish())

    def restart(self) -> None:
        """Redis crashes and comes back with nothing."""
        gone = self.publish()
        self.on.redis.restart()
        self.log.lost("epoch", gone, self.publish())

    def flush_what_was_read(self) -> None:
        self.on.client.flushall()
        self.log.lost("epoch", (), self.publish())

    def restart_after_all_was_read(self) -> None:
        self.on.redis.restart()
        self.log.lost("epoch", (), self.publish())

    def expire(self) -> None:
        """The list expires, the meta lives on, and nothing is published before the readers are back."""
        gone = self.publish()
        self.delete(meta=False)
        self.log.lost("expired", gone, {})

    def expire_and_go_on(self) -> None:
        """The list expires, and what is published then begins a new one behind a hole."""
        gone = self.publish()
        self.delete(meta=False)
        self.log.lost("trimmed", gone, self.publish())


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_reader_is_told_of_every_loss_once(small_stage: Stage, browser: Chrome) -> None:
    losing = Losing(small_stage, "losses")
    cut_off: list[Callable[[], None]] = [
        losing.trim,
        losing.delete_keys,
        losing.expire,
        losing.flush,
        losing.expire_and_go_on,
        losing.restart,
        losing.trim,
    ]
    connected: list[Callable[[], None]] = [losing.flush_what_was_read, losing.restart_after_all_was_read]
    log = losing.log
    with Audience(small_stage, browser, losing.channel, high=8192) as audience:
        for lose in [*cut_off, *connected]:
            log.published(losing.publish())
            audience.catch_up(log)
            if lose in cut_off:
                audience.cut_off()
            lose()
            audience.let_back()
            audience.catch_up(log)
        log.published(losing.publish())
        small_stage.bridge.close_channel(losing.channel)
        audience.wait(lambda reader: reader.done, 60, "everybody to see the end")
        for reader in audience.readers:
            log.check(reader)
