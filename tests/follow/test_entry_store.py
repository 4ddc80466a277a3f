"""An entry store is a list that forgets at the front, whatever it keeps as records; and what was an object comes back
as it was."""

from __future__ import annotations

import gc

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_bridge.events import VISIBILITY_OF_CODE, Entry
from sse_bridge.follow.window import CHUNK, KEPT, RECORD_BYTES, EntryStore, object_size
from sse_bridge.records.codec import decode_announcement, record_of

from .test_continuity import EPOCH, chain

TOKENS = st.text("ABCxyz019", min_size=1, max_size=16).map(str.encode)
KEYS = ("epoch", "offset", "prev", "check", "time_ms", "visibility", "kind", "type", "data", "stored")

# what one entry adds to those before it: check, time, visibility, kind, type, data, stored
LOOKS = st.tuples(
    TOKENS,
    st.integers(0, 10**14 - 1),
    st.sampled_from(sorted(VISIBILITY_OF_CODE)),
    st.sampled_from("JT"),
    st.sampled_from(["message", "order.paid", "stream.end", "a:b@c-d_e"]),
    st.binary(max_size=40),
    st.sampled_from([True, True, True, False]),
)


def fields(entry: Entry) -> tuple[object, ...]:
    return tuple([getattr(entry, key) for key in KEYS])


def continued(head: tuple[int, bytes], looks: list[tuple]) -> tuple[list[Entry], tuple[int, bytes]]:
    """Entries that follow `head`, an offset and a check, as a feed proves them; and the head behind them."""
    offset, prev = head
    entries = []
    for check, time_ms, visibility, kind, type, data, stored in looks:
        offset += stored
        entries.append(Entry(EPOCH, offset, prev, check, time_ms, visibility, kind, type, data, stored))
        prev = check if stored else prev
    return entries, (offset, prev)


@example(10**16 - 100, b"a" * 16, [(b"b" * 16, 10**14 - 1, "u", "J", "message", b"", True)])  # the longest head
@given(st.integers(0, 10**16 - 100), TOKENS, st.lists(LOOKS, min_size=1, max_size=70))
def test_what_was_an_object_comes_back_as_it_was(offset: int, check: bytes, looks: list[tuple]) -> None:
    entries, _ = continued((offset, check), looks)
    store = EntryStore(EPOCH, 7)
    for entry in entries:
        store.append(entry)
    back = list(store.since(7))
    assert list(map(fields, back)) == list(map(fields, entries))
    assert all(type(entry.stored) is bool for entry in back)
    dropped = [store.drop() for _ in range(len(entries)) if len(store)]
    stored = [entry for entry in entries if entry.stored]
    assert b" ".join([checks for checks, _ in dropped if checks]).split() == [entry.check for entry in stored]
    assert "".join([visibilities for _, visibilities in dropped]) == "".join([entry.visibility for entry in stored])


def reference(entries: list[Entry], after: int, upto: int) -> list[str]:
    return [e.visibility for e in entries if e.stored and after < e.offset <= upto]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_it_is_a_list_that_forgets_at_the_front(data: st.DataObject) -> None:
    store, first, model = EntryStore(EPOCH, 1000), 1000, list[Entry]()
    bottom, head = (300, b"base"), (300, b"base")  # before the first, and the newest stored
    shrunk = False
    for step in data.draw(st.lists(st.sampled_from(["push", "push", "push", "drop", "below"]), max_size=14)):
        if step == "push":
            looks = data.draw(st.lists(LOOKS, min_size=1, max_size=5)) * data.draw(st.integers(1, 12))
            entries, head = continued(head, looks)
            for entry in entries:
                store.append(entry)
            model += entries
        elif step == "drop" and len(store) > 1 and store.tail:
            checks, visibilities = store.drop()
            gone = model[: store.first_serial - first]
            assert gone
            assert (checks.split(b" ") if visibilities else []) == [e.check for e in gone if e.stored]
            assert visibilities == "".join([e.visibility for e in gone if e.stored])
            del model[: len(gone)]
            first += len(gone)
            shrunk = True
        elif step == "below" and not shrunk and bottom[0] > 50:  # a page of the log: stored entries
            count = data.draw(st.integers(1, 50))
            looks = [(*look[:-1], True) for look in data.draw(st.lists(LOOKS, min_size=1, max_size=3)) * count][:count]
            before = data.draw(TOKENS)
            looks[-1] = (bottom[1], *looks[-1][1:])
            entries, _ = continued((bottom[0] - len(looks), before), looks)
            store.put_below(entries[0].offset, [record_of(entry) for entry in entries])
            model[:0] = entries
            first -= len(entries)
            bottom = (bottom[0] - len(entries), before)

        assert (store.first_serial, len(store)) == (first, len(model))
        assert len(store.tail) <= KEPT
        assert len(store._records) < CHUNK
        records = [len(record_of(e)) + RECORD_BYTES for e in model[: len(model) - len(store.tail)]]
        assert store.size == sum(records) + sum(map(object_size, store.tail))
        assert list(map(fields, store.since(first))) == list(map(fields, model))
    if model:
        at = data.draw(st.integers(0, len(model)))
        assert list(map(fields, store.since(first + at))) == list(map(fields, model[at:]))
        low, high = model[0].offset - 1, model[-1].offset
        after = data.draw(st.integers(low, high))
        upto = data.draw(st.integers(after, high))
        assert store.visibilities(after, upto) == reference(model, after, upto)
        if after < high:
            serial, entry = store.first_after(after)
            index = next(i for i, e in enumerate(model) if e.offset > after)
            assert (serial, fields(entry)) == (first + index, fields(model[index]))


def test_the_newest_entry_stays_the_object_that_it_came_as() -> None:
    store = EntryStore(EPOCH, 0)
    entries = chain(1, 500)
    for count, entry in enumerate(entries, 1):
        store.append(entry)
        kept = min(count, KEPT)
        assert store.tail[-kept:] == entries[count - kept : count]  # the very object, with what was rendered of it


def test_the_collector_does_not_see_older_entries() -> None:
    """Once it has looked at a chunk, it does not look again."""
    store = EntryStore(EPOCH, 0)
    store.put_below(1, [record_of(entry) for entry in chain(1, 500)])
    for entry in chain(501, 501 + CHUNK * 20):
        store.append(entry)
    gc.collect()
    assert len(store._chunks) >= 500 // CHUNK + 20
    assert not [kept for kept in [*store._chunks, *store._records] if gc.is_tracked(kept)]


def test_events_that_flow_bring_no_collections_on() -> None:
    """The youngest are collected when 700 more objects were made than freed; of 10,000 events 312 are left: the chunks."""
    store, payloads = EntryStore(EPOCH, 0), [record_of(entry) for entry in chain(1, 10_000)]
    gc.collect()
    before = gc.get_stats()[0]["collections"]
    for payload in payloads:
        store.append(decode_announcement(payload).entries[0])
    assert gc.get_stats()[0]["collections"] - before <= 1
    assert len(store) == 10_000


def test_a_record_takes_less_than_an_entry() -> None:
    store = EntryStore(EPOCH, 0)
    entries = [Entry(EPOCH, n, b"p", b"c", 0, "u", "J", "t", b"1" * 200) for n in range(1, 1001)]
    for entry in entries:
        store.append(entry)
    assert store.size * 2 < sum(map(object_size, entries))
