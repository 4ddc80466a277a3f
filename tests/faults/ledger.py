"""What publishers were told, what readers saw and what the log holds, compared: the table's columns come from here.

An id says epoch, offset and check. The rules, for each reader:

- Within a life of the log its next event is the next offset, else a gap stands before it. A gap that led to a log without
  entries led to the first life that comes, whose first entry follows. An entry that the log holds
  follows an entry that it holds: who stands in a history that was thrown away is not led into this one without a gap.
- Whatever the log holds has been seen. Only a gap `diverged` excuses some of it: from where the histories part, which is
  right before the first entry that the reader saw of the other one, to where the gap leads, and that is never further than
  where the reader stood.
- An acknowledged event that the log does not hold may be missing if a gap accounts for it: `diverged` for what the reader
  had not seen of the history that it stood in; `epoch` for the rest of the life that it stood in, and for lives that came
  and went meanwhile; `trimmed`, `slow`, `expired` for what lies between the gap's two ends.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sse_bridge.errors import BackendError, PublishUncertain
from tests.acceptance.log import NOTHING, place
from tests.acceptance.readers import END, Seen
from tests.faults.registry import Tally
from tests.faults.surviving import Key, Surviving, key_of

Place = tuple[str, int]  # epoch, offset


class Witness(Protocol):
    """A reader, as far as it is judged: everything that it saw, from the earliest to the end."""

    name: str
    seen: list[Seen]


class Told(NamedTuple):
    """A gap as a reader met it: its reason, where the reader stood, where it led to, and how much was common by then.

    `common` is the offset at which the history that the reader stood in parted from the log's; -1 in another life.
    """

    reason: str
    before: Place
    after: Place
    common: int

    @property
    def loses(self) -> bool:
        """The log, or a part of it, was thrown away."""
        return self.reason in ("epoch", "diverged")


class Ledger:
    """Filled by any number of publishers' threads; judged at the end.

    Attributes:
        in_order: each publisher's events must come in its own order; not where dead letters are sent again.
        lives: the log's epochs in the order in which publishers came to know them.
    """

    def __init__(self) -> None:
        self.in_order = True
        self.published: dict[Key, str] = {}  # "" when it was spooled, and so has no id yet
        self.refused: dict[Key, BaseException] = {}
        self.uncertain: dict[Key, BaseException] = {}
        self.lives: list[str] = []
        self._lock = threading.Lock()

    def told(self, key: Key, outcome: object) -> None:
        """What a publish returned or raised."""
        with self._lock:
            if isinstance(outcome, PublishUncertain):
                self.uncertain[key] = outcome
            elif isinstance(outcome, BaseException):
                self.refused[key] = outcome
            else:
                id = self.published[key] = "" if outcome is None else str(outcome)
                if id and (epoch := place(id)[0]) not in self.lives:
                    self.lives.append(epoch)

    def judge(self, readers: Iterable[Witness], log: Surviving, tally: Tally) -> None:
        """Adds what came of it to the tally."""
        tally.published += len(self.published)
        tally.refused += len(self.refused)
        tally.uncertain += len(self.uncertain)
        ids = Counter(id for id in self.published.values() if id)
        strange = [error for error in self.refused.values() if not isinstance(error, BackendError)]
        tally.wrong += [f"a publish must be refused by a BackendError, not by {error!r}" for error in strange[:3]]
        tally.wrong += [f"two publishes were told the id {id}" for id, count in ids.items() if count > 1]
        twice = [key for key, count in Counter(log.keys.values()).items() if count > 1]
        tally.wrong += [f"the log holds {key} twice" for key in twice]
        for reader in readers:
            _Judgement(self, log, reader, tally).pass_()

    def between(self, epoch: str, before: str, after: str) -> bool:
        """Whether a life came and went while a reader went from one to another."""
        known = {life: number for number, life in enumerate(self.lives)}
        return known.get(before, -1) < known[epoch] < known.get(after, len(known))


class _Judgement:
    """One reader's."""

    def __init__(self, ledger: Ledger, log: Surviving, reader: Witness, tally: Tally) -> None:
        self.ledger = ledger
        self.log = log
        self.reader = reader
        self.tally = tally
        self.told: list[Told] = []
        self.ids: set[str] = set()
        self.sightings: dict[Key, list[tuple[str, int]]] = {}  # id, and how many gaps were told before
        self.lives: set[str] = set()

    def pass_(self) -> None:
        self._walk()
        self._sightings()
        if (END, 0) not in self.sightings:
            self._wrong("did not see the end")
        self.tally.gaps += len(self.told)
        self.tally.lost += len(self._missing_of_the_log() | self._missing_of_the_rest())

    def _wrong(self, what: str) -> None:
        self.tally.wrong.append(f"{self.reader.name} {what}")

    def _walk(self) -> None:
        """Event by event: does each follow the one before?"""
        latest: dict[str, int] = {}
        doubled = reordered = unannounced = 0
        at: Place | None = None
        held, common = True, 0  # whether the reader stands in the log's own history, and to where it was in it
        for event in self.reader.seen:
            here = place(event.id)
            if event.type == "stream.gap":
                reason = event.data["reason"]
                start = ("", 0) if reason == "epoch" else (here[0], 0)  # of one that had not seen anything yet
                self.told.append(Told(reason, at or start, here, common))
                self._check_place(event.id)
                at, held = here, True
                common = here[1] if here[0] == self.log.epoch else -1
                continue
            if at is None:
                at = (here[0], 0)  # everybody reads from the earliest
                common = 0 if here[0] == self.log.epoch else -1
            elif at == NOTHING:
                at = (here[0], 0)
                common = 0 if here[0] == self.log.epoch else -1
                self.told[-1] = self.told[-1]._replace(after=at)
            key = key_of(event.type, event.data)
            was_held, held = held, here[0] != self.log.epoch or here[1] < self.log.first or self.log.holds(event.id)
            if event.id in self.ids:
                doubled += 1
            elif here[0] == at[0] and here[1] <= at[1]:
                reordered += 1
            elif here != (at[0], at[1] + 1) or (held and not was_held):
                unannounced += 1
            elif self.ledger.in_order and key[1] < latest.get(key[0], -1):
                reordered += 1
            if here[0] == self.log.epoch and (held or was_held):
                common = here[1] - (not held)
            latest[key[0]] = max(key[1], latest.get(key[0], -1))
            at = here
            self.ids.add(event.id)
            self.lives.add(here[0])
            self.sightings.setdefault(key, []).append((event.id, len(self.told)))
        self.tally.doubled += doubled
        self.tally.reordered += reordered
        self.tally.unannounced += unannounced

    def _check_place(self, id: str) -> None:
        """A gap leads to a place that the log has."""
        epoch, offset = place(id)
        if epoch == self.log.epoch and self.log.first <= offset and not self.log.holds(id):
            self._wrong(f"was led by a gap to {id}, where the log has {self.log.ids.get(offset)}")

    def _sightings(self) -> None:
        """Is each event what its publisher was told, and there once?

        A copy in a history that was thrown away is none, if a gap came behind it: its answer was lost with it, and the
        publisher's retry found nothing.
        """
        for key, sightings in self.sightings.items():
            told = self.ledger.published.get(key)
            if key in self.ledger.refused:
                self._wrong(f"saw {key}, of which its publisher was told {self.ledger.refused[key]!r}")
            elif key[0] != END and told is None and key not in self.ledger.uncertain:
                self._wrong(f"saw {key}, which nobody published")
            gone = [
                id
                for id, gaps in sightings
                if not self.log.holds(id) and any(gap.loses for gap in self.told[gaps:]) and id != told
            ]
            left = {id for id, _ in sightings if id not in gone}
            self.tally.doubled += max(0, len(left) - 1)
            if told and left - {told}:
                self._wrong(f"saw {key} as {sorted(left)}, its publisher was told {told}")

    def _missing_of_the_log(self) -> set[Key]:
        diverged = [gap for gap in self.told if gap.reason == "diverged" and gap.before[0] == self.log.epoch]
        return {
            self.log.keys[offset]
            for offset, id in self.log.ids.items()
            if id not in self.ids
            and not any(gap.common < offset <= min(gap.before[1], gap.after[1]) for gap in diverged)
        }

    def _missing_of_the_rest(self) -> set[Key]:
        """Acknowledged events that the log does not hold."""
        return {
            key
            for key, id in self.ledger.published.items()
            if key not in self.sightings
            and not (id and (self.log.holds(id) or any(self._accounts_for(gap, key, place(id)) for gap in self.told)))
        }

    def _accounts_for(self, gap: Told, key: Key, where: Place) -> bool:
        epoch, offset = where
        if gap.reason == "epoch":
            left = epoch == gap.before[0] and offset > gap.before[1]
            entered = epoch == gap.after[0] == self.log.epoch and offset <= gap.after[1]  # trimmed: the log has it not
            unseen = epoch not in self.lives and self.ledger.between(epoch, gap.before[0], gap.after[0])
            return left or entered or unseen
        if epoch != gap.before[0]:
            return False
        if gap.reason == "diverged":
            before, behind = self.log.neighbours(key)
            return epoch == self.log.epoch and offset > gap.before[1] and before <= gap.common < behind
        return gap.reason in ("trimmed", "slow", "expired") and gap.before[1] < offset <= gap.after[1]
