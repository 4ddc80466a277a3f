"""Which passages fit a question: Okapi BM25 (Robertson and Zaragoza, 2009), by hand, over a few hundred passages."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Final

from .documents import Passage, passages

K1: Final = 1.2  # how soon a repeated word stops counting; the usual value
B: Final = 0.75  # how much long passages are held back; the usual value
TITLE_WEIGHT: Final = 4  # a word of the heading counts like so many in the text
GUIDE_WEIGHT: Final = 2.5  # the guides were written for readers, a module's own words for its next editor

STOP_WORDS: Final = frozenset(
    """a about after all an and any are as at be been but by can could did do does each for from get give had has have
    how i if in into is it its let like me my need no not of on one only or our out over say should show so some tell
    than that the their them then there these they this those to too under up use used using was way we were what when
    where which while who why will with work would you your""".split()  # noqa: SIM905 - one word per line would hide the rest of the file
)


class Index:
    """Word counts of the passages.

    Args:
        passages: what can be found.
    """

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._counts = [Counter([*words(each.text), *words(each.title) * TITLE_WEIGHT]) for each in passages]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean = sum(self._lengths) / max(1, len(self._lengths))
        self._spread = Counter(word for counts in self._counts for word in counts)

    def rarity(self, word: str) -> float:
        """How much a word tells (inverse document frequency); never negative."""
        spread = self._spread[word]
        return math.log(1 + (len(self._passages) - spread + 0.5) / (spread + 0.5))

    def search(self, question: str, limit: int = 5) -> list[tuple[float, Passage]]:
        """The best passages, best first, with their scores; none that shares no word with the question."""
        wanted = set(words(question))
        scored = []
        for passage, counts, length in zip(self._passages, self._counts, self._lengths, strict=True):
            norm = K1 * (1 - B + B * length / self._mean)
            score = sum(self.rarity(w) * counts[w] * (K1 + 1) / (counts[w] + norm) for w in wanted if w in counts)
            if score > 0:
                score *= GUIDE_WEIGHT if passage.source.endswith(".md") else 1
                scored.append((score, passage))
        return sorted(scored, key=lambda pair: -pair[0])[:limit]


def words(text: str) -> list[str]:
    """The words that count, in their stem; ``publish_on_commit`` counts whole and in its parts."""
    found: list[str] = []
    for word in re.findall(r"[a-z0-9_]+", text.lower()):
        parts = [part for part in word.split("_") if part]
        found.extend(stem(part) for part in parts if part not in STOP_WORDS)
        if len(parts) > 1:
            found.append(word)
    return found


def stem(word: str) -> str:
    """Cuts the commonest endings, so that "publishing" finds "publishes"; crude, and enough here."""
    for ending in ("ings", "ing", "ers", "er", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 4 else word


@cache
def index() -> Index:
    """The index of the documentation, built at the first question."""
    return Index(passages())
