"""Filters: Boolean algebra on entries, equality by value, and predicates that raise."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge.errors import InvalidInput
from sse_bridge.events import VISIBILITY_OF_CODE, Entry, Event, Visibility
from sse_bridge.filters import PUBLIC, ByType, ByVisibility, Filter, Where, for_browsers

TYPES = ["message", "order", "order.paid", "order.sent", "orders", "user.left"]
PATTERNS = [*TYPES, "order.*", "order*", "*", "x*"]


def entry(visibility: str = "u", type: str = "message", data: bytes = b"1") -> Entry:
    return Entry(b"EPOCHxxx", 1, b"0", b"CHECKxxx", 1_790_000_000_000, visibility, "J", type, data)


def is_even(event: Event) -> bool:
    return event.data % 2 == 0


def is_on_a(event: Event) -> bool:
    return event.channel == "a"


def raises(event: Event) -> bool:
    raise KeyError("amount")


channels = st.sampled_from(["a", "b"])
entries = st.builds(entry, st.sampled_from("umli"), st.sampled_from(TYPES), st.sampled_from([b"1", b"2"]))
visibility_filters = st.lists(st.sampled_from(Visibility), max_size=3).map(lambda several: ByVisibility(*several))
header_filters = st.lists(st.sampled_from(PATTERNS), max_size=3).map(lambda several: ByType(*several))
sound_leaves = st.one_of(visibility_filters, header_filters, st.sampled_from([Where(is_even), Where(is_on_a)]))


def trees(leaves: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda a, b: a & b, inner, inner),
            st.builds(lambda a, b: a | b, inner, inner),
            inner.map(lambda a: ~a),
        ),
        max_leaves=8,
    )


filters = trees(sound_leaves)
some_broken = trees(sound_leaves | st.just(Where(raises)))


# -- algebra


@given(filters, filters, channels, entries)
def test_the_operators_are_those_of_booleans(a: Filter, b: Filter, channel: str, entry: Entry) -> None:
    in_a, in_b = a.matches(channel, entry), b.matches(channel, entry)
    assert (a & b).matches(channel, entry) is (in_a and in_b)
    assert (a | b).matches(channel, entry) is (in_a or in_b)
    assert (~a).matches(channel, entry) is (not in_a)


@given(some_broken, some_broken, some_broken, channels, entries)
def test_the_laws_hold_even_where_a_predicate_raises(
    a: Filter, b: Filter, c: Filter, channel: str, entry: Entry
) -> None:
    for left, right in [
        (~(a & b), ~a | ~b),
        (~(a | b), ~a & ~b),
        (a & (b | c), (a & b) | (a & c)),
        (a | (b & c), (a | b) & (a | c)),
        (a & (a | b), a),
        (a & b, b & a),
    ]:
        assert left.decide(channel, entry) is right.decide(channel, entry)


@given(some_broken, some_broken, some_broken)
def test_equality_is_by_value(a: Filter, b: Filter, c: Filter) -> None:
    for left, right in [
        (a & b, b & a),
        (a | b, b | a),
        ((a & b) & c, a & (b & c)),
        ((a | b) | c, c | (b | a)),
        (a & a, a),
        (a | a, a),
        (~~a, a),
    ]:
        assert left == right
        assert hash(left) == hash(right)


@given(filters, filters, channels, entries)
def test_equal_filters_decide_alike(a: Filter, b: Filter, channel: str, entry: Entry) -> None:
    if a == b:
        assert a.matches(channel, entry) is b.matches(channel, entry)


def test_different_filters_differ() -> None:
    several = [
        ByVisibility(), ByVisibility("user_facing"), ByType(), ByType("a"), ByType("a*"), Where(is_even), Where(raises),
        ~ByType("a"), ByType("a") & PUBLIC, ByType("a") | PUBLIC, ~(ByType("a") & PUBLIC),
    ]  # fmt: skip
    for a, b in itertools.combinations(several, 2):
        assert a != b
    assert PUBLIC != 7


# -- parts


def test_by_visibility() -> None:
    assert [code for code in "umli" if PUBLIC.matches("c", entry(code))] == ["u", "l"]
    assert ByVisibility("internal_only") == ByVisibility(Visibility.INTERNAL_ONLY)
    assert not ByVisibility().matches("c", entry())


@pytest.mark.parametrize(
    ("patterns", "matching"),
    [
        ([], []),
        (["order"], ["order"]),
        (["order.*"], ["order.paid", "order.sent"]),
        (["order*"], ["order", "order.paid", "order.sent", "orders"]),
        (["*"], TYPES),
        (["user.*", "message"], ["message", "user.left"]),
    ],
)
def test_by_type(patterns: list[str], matching: list[str]) -> None:
    assert [type for type in TYPES if ByType(*patterns).matches("c", entry(type=type))] == matching


@pytest.mark.parametrize("pattern", ["", "**", "a*b", "*.paid", "a b", "ä", ".x", "a\n", 7, ["order"], None])
def test_a_pattern_that_cannot_match_is_an_error(pattern: object) -> None:
    with pytest.raises(InvalidInput):
        ByType(pattern)  # type: ignore[arg-type]


@pytest.mark.parametrize("visibility", ["public", "", 7, ["user_facing"], None])
def test_an_unknown_visibility_is_an_error(visibility: object) -> None:
    with pytest.raises(InvalidInput, match="user_facing"):
        ByVisibility(visibility)  # type: ignore[arg-type]


def test_a_predicate_sees_the_event() -> None:
    seen = []
    Where(lambda event: seen.append(event) or True).matches("orders:42", entry("m", "order.paid", b'{"a":1}'))
    [event] = seen
    assert (event.channel, event.type, event.data, event.visibility) == (
        "orders:42", "order.paid", {"a": 1}, Visibility.MODEL_ONLY,
    )  # fmt: skip
    assert event.published_at_ms == 1_790_000_000_000
    assert event.position is None
    assert event.id is None


def test_only_a_predicate_that_looks_decodes_the_data() -> None:
    broken = entry(data=b"{no json")
    for each in (PUBLIC, ByType("*"), Where(is_on_a), PUBLIC & ByType("message") & Where(is_on_a)):
        assert each.matches("a", broken)
    assert not Where(is_even).matches("a", broken)


class Rule:
    """Callable, compares by value, and has no hash."""

    def __init__(self, least: int) -> None:
        self.least = least

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and self.least == other.least

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, event: Event) -> bool:
        return self.least <= event.data

    def at_least(self, event: Event) -> bool:
        return self.least <= event.data


def test_predicates_are_equal_by_identity() -> None:
    rule, twin = Rule(2), Rule(2)
    assert Where(is_even) == Where(is_even)
    assert Where(rule) == Where(rule) != Where(twin)
    assert Where(rule.at_least) == Where(rule.at_least) != Where(twin.at_least)
    assert len({Where(rule), Where(rule), Where(twin), Where(rule.at_least), Where(rule.at_least)}) == 3
    assert Where(rule.at_least).matches("c", entry(data=b"2"))


async def coroutine(event: Event) -> bool:
    return False


class AsyncRule:
    async def __call__(self, event: Event) -> bool:
        return False


@pytest.mark.parametrize("predicate", [None, 7, "type", coroutine, AsyncRule()])
def test_what_cannot_be_a_predicate(predicate: object) -> None:
    with pytest.raises(InvalidInput):
        Where(predicate)  # type: ignore[arg-type]


def test_only_filters_combine() -> None:
    for attempt in (lambda: PUBLIC & 7, lambda: PUBLIC | is_even, lambda: "order.*" & PUBLIC):
        with pytest.raises(TypeError):
            attempt()


def test_a_filter_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="&"):
        PUBLIC and ByType("a")  # type: ignore[unused-ignore]


def test_repr_shows_how_to_write_it() -> None:
    tree = ByVisibility("user_facing") & ~(ByType("b", "a.*") | ByType("c"))
    assert repr(tree) == "(ByVisibility('user_facing') & ~(ByType('b', 'a.*') | ByType('c')))"
    assert eval(repr(tree)) == tree


# -- what a gap counts by


@given(trees(visibility_filters), channels, entries)
def test_a_filter_by_visibility_alone_knows_what_it_hides(tree: Filter, channel: str, entry: Entry) -> None:
    hidden = tree.hidden_visibilities()
    assert hidden is not None
    assert tree.matches(channel, entry) is (VISIBILITY_OF_CODE[entry.visibility] not in hidden)


@given(trees(visibility_filters), header_filters | st.just(Where(is_even)))
def test_any_other_filter_says_that_it_does_not(tree: Filter, other: Filter) -> None:
    for each in (other, ~other, tree & other, other | tree, ~(tree & ~other)):
        assert each.hidden_visibilities() is None


# -- predicates that raise


class NoTruth:
    def __bool__(self) -> bool:
        raise ValueError("ambiguous")


@pytest.mark.parametrize(
    "predicate",
    [
        raises,
        lambda event: event.data["amount"],
        lambda event: NoTruth(),
        lambda event: partial(coroutine, event)(),
        partial(raises),
    ],
)
def test_an_entry_that_a_predicate_cannot_judge_is_hidden_both_ways(predicate: Callable[[Event], bool]) -> None:
    assert not Where(predicate).matches("c", entry())
    assert not (~Where(predicate)).matches("c", entry())
    assert not (~~(Where(predicate) & PUBLIC)).matches("c", entry())


def test_a_broken_predicate_only_matters_where_it_decides() -> None:
    assert (PUBLIC | Where(raises)).matches("c", entry())
    assert (Where(raises) | PUBLIC).matches("c", entry())
    assert (~(Where(raises) & ByType("other"))).matches("c", entry())


def test_parts_are_asked_from_left_to_right_and_no_further_than_needed() -> None:
    asked = []
    guarded = ByType("order.*") & Where(lambda event: asked.append(event.type) or True)
    guarded.matches("c", entry(type="message"))
    guarded.matches("c", entry(type="order.paid"))
    assert asked == ["order.paid"]


def test_it_is_logged_once_per_predicate_and_class_of_exception(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([KeyError("a"), KeyError("b"), TypeError("c"), KeyError("d")])

    def fails(event: Event) -> bool:
        raise next(errors)

    with caplog.at_level(logging.ERROR, "sse_bridge.filters"):
        for _ in range(4):
            Where(fails).matches("orders:42", entry())
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [KeyError, TypeError]
    assert "orders:42" in caplog.text


def test_the_end_of_the_world_passes_through() -> None:
    def interrupted(event: Event) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Where(interrupted).matches("c", entry())


# -- browsers


@given(some_broken, channels, entries)
def test_for_browsers_shows_no_more_and_the_same_of_public_entries(tree: Filter, channel: str, entry: Entry) -> None:
    shown = for_browsers(tree).matches(channel, entry)
    if PUBLIC.matches(channel, entry):
        assert shown is tree.matches(channel, entry)
    elif shown:
        assert tree.matches(channel, entry)


@given(trees(header_filters | st.sampled_from([Where(is_even), Where(is_on_a)])), channels, entries)
def test_who_does_not_speak_of_visibility_gets_public_entries_only(tree: Filter, channel: str, entry: Entry) -> None:
    if for_browsers(tree).matches(channel, entry):
        assert PUBLIC.matches(channel, entry)


@given(trees(header_filters), trees(header_filters), st.sampled_from(["m", "i"]), st.sampled_from(TYPES))
def test_each_branch_must_ask_for_itself(a: Filter, b: Filter, code: str, type: str) -> None:
    hidden = entry(code, type)
    internal = ByVisibility("model_only", "internal_only")
    assert for_browsers(a & internal).matches("c", hidden) is a.matches("c", hidden)
    assert not for_browsers(a | PUBLIC).matches("c", hidden)
    assert not for_browsers(~(~a & ~PUBLIC)).matches("c", hidden)  # the same, written otherwise
    assert for_browsers((a & internal) | b).matches("c", hidden) is a.matches("c", hidden)


def test_for_browsers_is_public_by_default() -> None:
    assert for_browsers(None) is PUBLIC
    assert for_browsers(PUBLIC) is PUBLIC
    assert for_browsers(~ByVisibility("internal_only")) == ~ByVisibility("internal_only")
