"""A log that keeps nothing, or less than comes at once: what was announced is delivered, whichever comes first, page or message."""

from __future__ import annotations

import pytest

from sse_bridge.events import Entry
from tests.follow.model import T0, announce
from tests.follow.test_restarts import NAME, Scene
from tests.follow.test_waiting import announce_some, read, resolve


def appended(scene: Scene, count: int) -> list[Entry]:
    """So many entries, of which the log keeps none."""
    entries = [scene.log.append() for _ in range(count)]
    scene.broker.trim(NAME, 100)
    return entries


def offsets(scene: Scene) -> list[int]:
    scene.settle(scene.reader)
    return [offset for _, offset, _ in scene.reader.seen[NAME][20:]]


@pytest.mark.parametrize("together", [True, False])
def test_what_is_announced_during_a_read_is_delivered(together: bool) -> None:
    scene = Scene()
    scene.state.check_some(T0)
    entries = appended(scene, 3)
    page = read(scene)
    for part in [entries] if together else [[entry] for entry in entries]:
        announce_some(scene, part)
    newer = appended(scene, 2)
    announce_some(scene, newer)
    resolve(scene, page)
    assert offsets(scene) == [21, 22, 23, 24, 25]
    assert scene.reader.gaps[NAME] == 0


def test_what_is_announced_behind_a_page_that_lacks_it_is_delivered() -> None:
    """The answer to a read and the live link are two connections: either may be the faster one."""
    scene = Scene()
    scene.state.check_some(T0)
    entries = appended(scene, 3)
    page = read(scene)
    resolve(scene, page)
    page = read(scene)
    announce_some(scene, entries)
    resolve(scene, page)
    assert offsets(scene) == [21, 22, 23]
    assert scene.reader.gaps[NAME] == 0


def test_the_window_has_what_a_page_for_somebody_behind_it_lacks() -> None:
    """It comes from another process, ahead of this one, which hears of the rest while it reads for it."""
    scene = Scene()
    entries = appended(scene, 3)
    ahead = scene.enter(after=scene.id_of(entries[1]))
    assert not ahead.pull(10_000)
    page = read(scene)
    announce_some(scene, entries)
    resolve(scene, page)
    scene.settle(ahead, scene.reader)
    assert ahead.gaps[NAME] == 0
    assert [offset for _, offset, _ in ahead.seen[NAME]] == [23]


def test_an_ephemeral_event_keeps_its_place() -> None:
    scene = Scene()
    scene.state.check_some(T0)
    (first,) = appended(scene, 1)
    between = scene.log.ephemeral()
    (second,) = appended(scene, 1)
    page = read(scene)
    for entry in (first, between, second):
        announce_some(scene, [entry])
    resolve(scene, page)
    batch = scene.state.pull(scene.reader.follower, 10_000)
    assert batch is not None
    checks = [delivery.entry and delivery.entry.check for delivery in batch.deliveries]
    assert checks == [first.check, between.check, second.check]


def test_the_first_entry_of_a_channel_too() -> None:
    scene = Scene()
    scene.broker.flush(NAME)
    scene.log = scene.broker.log(NAME)
    scene.state.check_some(T0)
    scene.settle(scene.reader)
    assert scene.reader.gaps[NAME] == 1
    scene.state.check_some(T0 + 1000)
    entries = appended(scene, 1)
    page = read(scene)
    announce(scene.state, NAME, scene.log, entries)
    resolve(scene, page)
    assert offsets(scene) == [1]
    assert scene.reader.gaps[NAME] == 1


def test_what_was_never_announced_is_told_as_a_gap() -> None:
    """No later than at the second look; at the first one where the link was lost."""
    for broken, looks in ((False, 2), (True, 1)):
        scene = Scene()
        if broken:
            scene.lost_link()
            scene.link()
        scene.state.check_some(T0)
        appended(scene, 3)
        for _ in range(looks):
            assert scene.reader.gaps[NAME] == 0
            resolve(scene, read(scene))
            scene.reader.pull(10_000)
        assert offsets(scene) == []
        assert scene.reader.gaps[NAME] == 1
