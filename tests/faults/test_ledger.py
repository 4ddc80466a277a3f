"""The judge judged: what a row of the table calls lost, doubled, reordered or unannounced, and what it excuses.

The story of most: two histories. The log held 1 to 3, then 4 and 5 were acknowledged and thrown away by a failover, and
the new primary's history goes 4', 5', 6', 7 (the end).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from sse_bridge.errors import BackendUnavailable, PublishUncertain
from tests.acceptance.publishers import TYPE
from tests.acceptance.readers import END, Seen
from tests.faults.ledger import Ledger
from tests.faults.registry import Tally
from tests.faults.surviving import Surviving


class Witness(NamedTuple):
    seen: list[Seen]
    name: str = "reader"


def id_of(offset: int, check: str = "", epoch: str = "e1") -> str:
    return f"key-{epoch}-{offset}-{check or f'c{offset}'}"


def row(offset: int, n: int = -1, *, check: str = "", epoch: str = "e1", by: str = "p") -> Seen:
    return Seen(id_of(offset, check, epoch), TYPE, {"by": by, "n": offset if n < 0 else n})


def gap(reason: str, offset: int, check: str = "", epoch: str = "e1") -> Seen:
    return Seen(id_of(offset, check, epoch), "stream.gap", {"reason": reason})


def end(offset: int, epoch: str = "e1") -> Seen:
    return Seen(id_of(offset, "end", epoch) + "-e", END, {"reason": "completed"})


COMMON = [row(1), row(2), row(3)]
THROWN = [row(4, 4, check="old"), row(5, 5, check="old")]
NEW = [row(4, 6, check="new"), row(5, 7, check="new"), row(6, 8, check="new")]
LOG = [*COMMON, *NEW, end(7)]


def judged(seen: list[Seen], log: list[Seen] = LOG, acknowledged: list[Seen] | None = None) -> Tally:
    """What is said of one reader when these were acknowledged, by default all that is or was in the log."""
    ledger, tally = Ledger(), Tally()
    for event in acknowledged if acknowledged is not None else [*COMMON, *THROWN, *NEW]:
        if event.type == TYPE:
            ledger.told((event.data["by"], event.data["n"]), event.id)
    ledger.judge([Witness(seen)], Surviving(log), tally)
    return tally


def figures(tally: Tally) -> tuple[int, int, int, int]:
    return tally.lost, tally.doubled, tally.reordered, tally.unannounced


def test_everything_once() -> None:
    tally = judged([*COMMON, end(4)], [*COMMON, end(4)], COMMON)
    assert tally.kept, tally
    assert (tally.published, tally.gaps) == (3, 0)


@pytest.mark.parametrize("hole", [1, 2, 3])
def test_an_event_that_is_not_seen_is_lost_and_unannounced(hole: int) -> None:
    seen = [event for event in [*COMMON, end(4)] if event.id != id_of(hole)]
    assert figures(judged(seen, [*COMMON, end(4)], COMMON)) == (1, 0, 0, 1)


def test_an_event_that_the_log_holds_must_be_seen_though_nobody_was_told_of_it() -> None:
    seen = [*COMMON[:2], end(4)]
    ledger, tally = Ledger(), Tally()
    for n in (1, 2):
        ledger.told(("p", n), id_of(n))
    ledger.told(("p", 3), PublishUncertain("who knows"))
    ledger.judge([Witness(seen)], Surviving([*COMMON, end(4)]), tally)
    assert tally.lost == 1


def test_a_diverged_gap_excuses_what_was_thrown_away_and_what_stands_where_the_reader_was() -> None:
    # the reader had seen 4 and 5 of the old history: it goes on behind 5', and 4' and 5' are what the gap stands for
    tally = judged([*COMMON, *THROWN, gap("diverged", 5, "new"), NEW[2], end(7)])
    assert tally.kept, tally
    assert tally.gaps == 1


def test_a_reader_that_had_not_seen_all_that_was_thrown_away() -> None:
    tally = judged([*COMMON, THROWN[0], gap("diverged", 4, "new"), *NEW[1:], end(7)])
    assert tally.kept, tally


def test_the_new_primary_had_not_caught_up() -> None:
    tally = judged([*COMMON, *THROWN, gap("diverged", 3), *NEW, end(7)])
    assert tally.kept, tally


def test_a_diverged_gap_that_skips_one_too_much() -> None:
    # it leads to 6' though the reader stood at 5
    assert figures(judged([*COMMON, *THROWN, gap("diverged", 6, "new"), end(7)])) == (1, 0, 0, 0)


def test_a_diverged_gap_excuses_nothing_of_what_both_histories_hold() -> None:
    # a reader that stood at 2, was never in the other history, and is led past 3
    tally = judged([*COMMON[:2], gap("diverged", 3), *NEW, end(7)], acknowledged=[*COMMON, *NEW])
    assert figures(tally) == (1, 0, 0, 0)


def test_a_hole_before_the_gap_is_not_the_gaps() -> None:
    assert figures(judged([*COMMON[:2], *THROWN, gap("diverged", 5, "new"), NEW[2], end(7)])) == (1, 0, 0, 1)


def test_a_thrown_away_event_that_the_reader_passed_is_lost() -> None:
    # it stood in the old history at 5, so it must have seen 4 there; and it never proved that 4' is not its own history's
    seen = [*COMMON, THROWN[1], gap("diverged", 5, "new"), NEW[2], end(7)]
    assert figures(judged(seen)) == (2, 0, 0, 1)


def test_from_one_history_into_the_other_in_silence() -> None:
    # what offsets alone make of it: 4' and 5' are taken for 4 and 5, and 6' for the next one
    assert figures(judged([*COMMON, *THROWN, NEW[2], end(7)])) == (2, 0, 0, 1)


def test_what_was_thrown_away_unseen_is_lost_if_no_gap_came() -> None:
    assert figures(judged([*COMMON, *NEW, end(7)])) == (2, 0, 0, 0)


def test_another_failovers_gap_does_not_excuse_it() -> None:
    # a second failover threw 8 away; the reader was told of the first alone, and saw nothing of the second history
    log = [*COMMON, *NEW, row(7, 9), row(8, 11, check="third"), end(9)]
    seen = [*COMMON, *THROWN, gap("diverged", 5, "new"), *log[5:]]
    acknowledged = [*COMMON, *THROWN, *log[3:], row(8, 10, check="second")]
    assert figures(judged(seen, log, acknowledged)) == (1, 0, 0, 0)


def test_a_gap_leads_to_a_place_that_the_log_has() -> None:
    tally = judged([*COMMON, *THROWN, gap("diverged", 5, "elsewhere"), NEW[2], end(7)])
    assert "led by a gap" in tally.wrong[0]


def test_a_copy_that_was_thrown_away_with_its_answer_is_no_double() -> None:
    # 5 was announced and its answer lost; the retry found nothing and stored it as 4'
    log = [*COMMON, row(4, 5, check="new"), end(5)]
    acknowledged = [*COMMON, THROWN[0], log[3]]
    assert judged([*COMMON, *THROWN, gap("diverged", 3), *log[3:]], log, acknowledged).kept
    again = judged([*COMMON, *THROWN, *log[3:]], log, acknowledged)
    assert again.doubled == 1


OTHER = [row(1, 4, epoch="e2"), row(2, 5, epoch="e2"), end(3, "e2")]


def test_an_epoch_gap_excuses_the_rest_of_the_life_that_was_lost() -> None:
    tally = judged([*COMMON[:2], gap("epoch", 0, "0", "e2"), *OTHER], OTHER, [*COMMON, *OTHER])
    assert tally.kept, tally


def test_an_epoch_gap_excuses_nothing_of_the_new_life() -> None:
    seen = [*COMMON, gap("epoch", 1, "c1", "e2"), *OTHER[1:]]
    assert figures(judged(seen, OTHER, [*COMMON, *OTHER])) == (1, 0, 0, 0)


def test_an_epoch_gap_excuses_no_hole_before_it() -> None:
    seen = [COMMON[0], COMMON[2], gap("epoch", 0, "0", "e2"), *OTHER]
    assert figures(judged(seen, OTHER, [*COMMON, *OTHER])) == (1, 0, 0, 1)


def test_another_life_needs_a_gap() -> None:
    assert figures(judged([*COMMON, *OTHER], OTHER, [*COMMON, *OTHER])) == (0, 0, 0, 1)


@pytest.mark.parametrize(("last", "lost"), [("e3", 0), ("e2", 1)])
def test_lives_that_came_and_went_meanwhile(last: str, lost: int) -> None:
    # e1, then one event in a life that nobody saw, then the last one; or the other way round
    unseen = "e2" if last == "e3" else "e3"
    log = [row(1, 5, epoch=last), end(2, last)]
    order = [row(1, 4, epoch=unseen), log[0]] if last == "e3" else [log[0], row(1, 4, epoch=unseen)]
    assert judged([*COMMON, gap("epoch", 0, "0", last), *log], log, [*COMMON, *order]).lost == lost


def test_a_trimmed_gap_excuses_what_lies_between_its_ends_and_is_gone() -> None:
    log = [row(4), end(5)]
    everything = [*COMMON, row(4)]
    assert judged([COMMON[0], gap("trimmed", 3), *log], log, everything).kept
    assert judged([COMMON[0], gap("trimmed", 3), *log], [*COMMON, *log], everything).lost == 2  # they are there
    assert judged([gap("trimmed", 3), *log], log, everything).kept


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([row(1), row(2), row(2), row(3), end(4)], (0, 1, 0, 0)),
        ([row(1), row(3), row(2), end(4)], (0, 0, 1, 2)),
    ],
)
def test_doubled_and_reordered(seen: list[Seen], expected: tuple[int, ...]) -> None:
    assert figures(judged(seen, [*COMMON, end(4)], COMMON)) == expected


def test_each_publisher_has_an_order_of_its_own() -> None:
    log = [row(1, 2), row(2, 1), end(3)]
    assert figures(judged(log, log, log)) == (0, 0, 1, 0)
    other = [row(1, 2), row(2, 1, by="q"), end(3)]
    assert judged(other, other, other).kept


@pytest.mark.parametrize(
    ("seen", "tell", "word"),
    [
        ([*COMMON], lambda ledger: None, "did not see the end"),
        ([*COMMON, end(4)], lambda ledger: ledger.told(("p", 2), BackendUnavailable("away")), "was told"),
        ([*COMMON, end(4)], lambda ledger: ledger.published.pop(("p", 2)), "nobody published"),
        ([*COMMON, end(4)], lambda ledger: ledger.told(("p", 2), id_of(2, "other")), "was told"),
        ([*COMMON, end(4)], lambda ledger: ledger.told(("p", 9), ValueError("?")), "BackendError"),
        ([*COMMON, end(4)], lambda ledger: ledger.told(("q", 1), id_of(2)), "two publishes"),
    ],
)
def test_what_else_is_wrong(seen: list[Seen], tell: Callable[[Ledger], object], word: str) -> None:
    ledger, tally = Ledger(), Tally()
    for event in COMMON:
        ledger.told((event.data["by"], event.data["n"]), event.id)
    tell(ledger)
    ledger.judge([Witness(seen)], Surviving([*COMMON, end(4)]), tally)
    assert any(word in trouble for trouble in tally.wrong), tally


def test_an_event_that_waits_in_a_spool_has_no_id_and_must_be_seen_all_the_same() -> None:
    ledger, tally = Ledger(), Tally()
    ledger.told(("p", 1), None)
    ledger.told(("p", 2), None)
    log = [row(1), end(2)]
    ledger.judge([Witness([gap("epoch", 0, "0"), *log])], Surviving(log), tally)
    assert figures(tally) == (1, 0, 0, 0)


def test_a_tally_says_what_it_counted() -> None:
    one, other = Tally(faults=3), Tally()
    other.lost += 0
    other.published += 1200
    names = ("published", "faults", "lost", "gaps")
    assert [one.figure(name) for name in names] == ["–", "3", "–", "–"]
    assert [(one + other).figure(name) for name in names] == ["1,200", "3", "0", "–"]
    assert (one + other).kept


def test_a_gap_to_a_log_without_entries_leads_to_the_first_entry_of_the_next_life() -> None:
    nothing = Seen("key-0-0-0", "stream.gap", {"reason": "epoch"})
    new = [row(1, 4, epoch="e2"), row(2, 5, epoch="e2")]
    log = [*new, end(3, "e2")]
    tally = judged([*COMMON, nothing, *new, end(3, "e2")], log, [*COMMON, row(4), *new])
    assert tally.kept, tally
    assert figures(judged([*COMMON, nothing, new[1], end(3, "e2")], log, [*COMMON, *new])) == (1, 0, 0, 1)
    assert figures(judged([*COMMON, nothing, nothing, *new, end(3, "e2")], log, [*COMMON, *new])) == (0, 0, 0, 0)
    unseen = [row(1, 9, epoch="e3", by="q")]  # a life that is not between the two
    late = judged([*COMMON, nothing, *new, end(3, "e2")], log, [*COMMON, *new, *unseen])
    assert late.lost == 1
