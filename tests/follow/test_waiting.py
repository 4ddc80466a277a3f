"""Readers that wait for a page of the log while the window, the log and other readers go on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sse_bridge.events import Entry
from sse_bridge.records.codec import Announcement
from sse_bridge.records.continuity import Page
from tests.follow.model import SETTINGS, T0
from tests.follow.test_restarts import NAME, Scene


def read(scene: Scene) -> Page:
    """Begins the read that is due and takes the page as the log is now; `HubState.resolved` brings it later."""
    ((_, request),) = scene.state.reads(T0)
    return scene.log.read(request)


def resolve(scene: Scene, page: Page) -> None:
    scene.state.resolved(scene.state.feeds[NAME], page)
    scene.state.changed()
    scene.state.cache.clear()


def announce_some(scene: Scene, entries: list[Entry]) -> None:
    scene.state.announced(NAME, Announcement(scene.log.epoch, entries[-1].offset, entries))
    scene.state.changed()
    scene.state.cache.clear()


def test_a_page_that_comes_when_the_window_has_caught_up_is_not_read_again() -> None:
    scene = Scene()
    # It comes from another process and stands behind the head that this one knows.
    entries = [scene.log.append() for _ in range(6)]
    ahead = scene.enter(after=scene.id_of(entries[1]))
    assert not ahead.pull(10_000)
    page = read(scene)
    announce_some(scene, entries[:4])
    assert ahead.pull(10_000), "the window has come up to it"
    resolve(scene, page)
    ahead.pull(10_000)
    announce_some(scene, entries[4:])
    scene.settle(ahead)
    assert [offset for _, offset, _ in ahead.seen[NAME]] == [23, 24, 25, 26]


def test_a_page_older_than_the_reader_proves_nothing_about_it() -> None:
    scene = Scene()
    scene.enter(after=scene.ids[2]).pull(10_000)
    page = read(scene)
    # While that page is under way somebody comes who has seen, elsewhere, what was published since.
    entry = scene.log.append()
    late = scene.enter(after=scene.id_of(entry))
    assert not late.pull(10_000)
    resolve(scene, page)
    scene.publish(1)
    scene.settle(late)
    assert late.gaps[NAME] == 0
    assert [offset for _, offset, _ in late.seen[NAME]] == [22]


def test_the_last_events_behind_an_invalid_id_come_without_a_hole() -> None:
    scene = Scene()
    page_reader = scene.enter(after=scene.ids[2])
    page_reader.pull(10_000)
    reader = scene.enter(after="no id of ours", last=3)
    assert not reader.follower.ready
    page = read(scene)
    scene.publish(5)
    resolve(scene, page)
    scene.settle(reader)  # it checks that each entry follows the one before, or the gap
    assert reader.gaps[NAME] == 1
    assert [offset for _, offset, _ in reader.seen[NAME]][-1] == 25


ACTIONS = ("publish", "publish", "hear", "arrive", "begin", "finish", "pull", "pull", "evict")


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7)), max_size=80))
@settings(max_examples=600)
def test_where_nothing_is_lost_nobody_is_told_so(actions: list[tuple[str, int]]) -> None:
    """Announcements and pages are late in every order; readers come from elsewhere, ahead of this process or behind it."""
    scene = Scene()
    unheard: list[Entry] = []
    pages: list[Page] = []
    readers = [scene.reader]
    for action, number in actions:
        if action == "publish" and scene.log.top < SETTINGS.replay_size:
            unheard += [scene.log.append() for _ in range(min(number + 1, SETTINGS.replay_size - scene.log.top))]
        elif action == "hear" and unheard:
            announce_some(scene, unheard[: number + 1])
            del unheard[: number + 1]
        elif action == "arrive":
            readers.append(scene.enter(after=scene.id_of(scene.log.chain[scene.log.top - number])))
            readers[-1].pull(500)
        elif action == "begin":
            pages += [scene.log.read(request) for _, request in scene.state.reads(T0)]
        elif action == "finish" and pages:
            resolve(scene, pages.pop())
        elif action == "evict":
            scene.state.feeds[NAME].give_way(2 ** (2 * number))
        elif action == "pull":
            readers[number % len(readers)].pull(500)
    for page in pages:
        resolve(scene, page)
    scene.settle(*readers)
    for _ in range(2):  # what is not announced by now never will be; a channel that was busy is read a tick later
        scene.state.check_some(T0)
        scene.settle(*readers)
    for reader in readers:
        assert reader.gaps[NAME] == 0
        reader.check_settled()
