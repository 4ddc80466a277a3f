"""What publishers were told and what readers saw, compared: the columns of the table come from here and nowhere else.

An id says epoch and offset. Within a life of the log a reader's next event is the next offset; whatever is not has to
have a gap before it, and a gap accounts for what it stands for and for nothing else.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from sse_bridge.errors import BackendError, PublishUncertain
from tests.acceptance.log import place
from tests.acceptance.publishers import TYPE
from tests.acceptance.readers import END, Reader
from tests.faults.registry import Tally

Key = tuple[str, int]  # publisher, and its number of the event


class Told(NamedTuple):
    """A gap as a reader met it: its reason, the place it stood at, and the place the gap led to."""

    reason: str
    before: tuple[str, int]
    after: tuple[str, int]

    def accounts_for(self, epoch: str, offset: int, lives: set[str]) -> bool:
        """Whether an event at this place, which the reader has not seen, lies inside."""
        inside = epoch == self.after[0] and offset <= self.after[1]
        if self.reason == "epoch":
            # of the old life all behind the reader, of the new one what was trimmed, and lives that came and went unseen
            return (epoch == self.before[0] and offset > self.before[1]) or inside or epoch not in lives
        if self.reason == "diverged":
            return epoch == self.before[0]  # which of two histories an offset belongs to cannot be told by it
        return inside and (epoch != self.before[0] or offset > self.before[1])


class Ledger:
    """Filled by any number of publishers' threads; judged at the end.

    Attributes:
        in_order: each publisher's events must come in its own order; not where dead letters are sent again.
    """

    def __init__(self) -> None:
        self.in_order = True
        self.published: dict[Key, str] = {}  # "" when it was spooled, and so has no id yet
        self.refused: dict[Key, BaseException] = {}
        self.uncertain: dict[Key, BaseException] = {}
        self._lock = threading.Lock()

    def told(self, key: Key, outcome: object) -> None:
        """What a publish returned or raised."""
        with self._lock:
            if isinstance(outcome, PublishUncertain):
                self.uncertain[key] = outcome
            elif isinstance(outcome, BaseException):
                self.refused[key] = outcome
            else:
                self.published[key] = "" if outcome is None else str(outcome)

    def judge(self, readers: Iterable[Reader], tally: Tally) -> None:
        """Adds what came of it to the tally."""
        tally.published += len(self.published)
        tally.refused += len(self.refused)
        tally.uncertain += len(self.uncertain)
        ids = Counter(id for id in self.published.values() if id)
        strange = [error for error in self.refused.values() if not isinstance(error, BackendError)]
        tally.wrong += [f"a publish must be refused by a BackendError, not by {error!r}" for error in strange[:3]]
        tally.wrong += [f"two publishes were told the id {id}" for id, count in ids.items() if count > 1]
        for reader in readers:
            self._judge(reader, tally)

    def _judge(self, reader: Reader, tally: Tally) -> None:
        seen: Counter[Key] = Counter()
        latest: dict[str, int] = {}
        told: list[Told] = []
        lives: set[str] = set()
        at: tuple[str, int] | None = None
        for event in reader.seen:
            here = place(event.id)
            if event.type == "stream.gap":
                told.append(Told(event.data["reason"], at or ("", 0), here))
                tally.gaps += 1
                at = here
                continue
            if at is None:
                at = (here[0], 0)  # everybody reads from the earliest
            key = self._key(event.data) if event.type == TYPE else (END, 0)
            seen[key] += 1
            lives.add(here[0])
            if seen[key] > 1:
                tally.doubled += 1
            elif here[0] == at[0] and here[1] <= at[1]:
                tally.reordered += 1
            elif here != (at[0], at[1] + 1):
                tally.unannounced += 1
            elif self.in_order and key[1] < latest.get(key[0], -1):
                tally.reordered += 1
            latest[key[0]] = max(key[1], latest.get(key[0], -1))
            at = here
            if key in self.refused:
                tally.wrong.append(f"{reader.name} saw {key}, of which its publisher was told {self.refused[key]!r}")
            elif event.type == TYPE and self.published.get(key) not in (event.id, "", None):
                tally.wrong.append(
                    f"{reader.name} saw {key} as {event.id}, its publisher was told {self.published[key]}"
                )
        if not seen[(END, 0)]:
            tally.wrong.append(f"{reader.name} did not see the end")
        for key, id in self.published.items():
            if not seen[key] and not (id and any(gap.accounts_for(*place(id), lives) for gap in told)):
                tally.lost += 1

    @staticmethod
    def _key(data: Any) -> Key:
        return data["by"], data["n"]
