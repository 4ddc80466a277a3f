"""One channel in one process: what it keeps aside during a read, and a log that is not the one it remembers."""

from __future__ import annotations

from tests.follow.model import SETTINGS, T0
from tests.follow.test_restarts import NAME, Scene
from tests.follow.test_waiting import announce_some, read, resolve


def test_what_finds_no_room_aside_is_read_at_once() -> None:
    """More was announced during a read than is kept aside: nobody waits for the next event to learn of the rest."""
    scene = Scene()
    scene.state.check_some(T0)
    page = read(scene)
    for _ in range(2 * SETTINGS.window_bytes // 400):
        announce_some(scene, [scene.log.append()])
    resolve(scene, page)
    scene.settle(scene.reader)
    scene.reader.check_settled()


def test_a_reader_that_knows_of_a_failover_before_this_process_is_served() -> None:
    """It stands at the log's head, and the window at a head that was thrown away: reading on changes neither."""
    for lost, again in ((5, 2), (5, 5), (5, 8)):
        scene = Scene()
        scene.broker.fail_over(NAME, lost)
        for _ in range(again):
            entry = scene.log.append()
        reader = scene.enter(after=scene.id_of(entry))
        scene.settle(reader)  # reads come to an end
        assert reader.opened
        assert reader.gaps[NAME] == 0
        scene.publish(1)
        scene.settle(reader, scene.reader)
        assert [offset for _, offset, _ in reader.seen[NAME]] == [scene.log.top]
        scene.reader.check_settled()


def test_pages_of_foreign_records_end() -> None:
    """A newer version writes to the log during an upgrade: its records are one gap, and no read without end."""
    scene = Scene()
    scene.lost_link()
    for _ in range(20):
        scene.broker.poison(NAME, scene.log.append().offset)
    late, earliest = scene.enter(after=scene.ids[20]), scene.enter(start="earliest")
    scene.link()
    scene.settle(scene.reader, late, earliest)
    scene.publish(1)
    scene.settle(scene.reader, late, earliest)
    for reader in (scene.reader, late, earliest):
        reader.check_settled()
        assert reader.gaps[NAME] == 1
        assert reader.seen[NAME][-1][1] == 41


def test_a_log_of_foreign_records_has_a_beginning() -> None:
    scene = Scene()
    for offset in range(1, 19):
        scene.broker.poison(NAME, offset)
    readers = [scene.enter(start="earliest"), scene.enter(last=15)]
    scene.settle(*readers)
    scene.publish(1)
    scene.settle(*readers)
    for reader in readers:
        assert reader.opened
        assert reader.gaps[NAME] == 1
        assert [offset for _, offset, _ in reader.seen[NAME]] == [21]
