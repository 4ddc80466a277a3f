"""A run of the agent: from a question to its events, one after another.

It only yields; who runs it publishes the events, sets the pace and stops it between two of them. Types and fields::

    workflow_started    {message}
    step_started        {step, message}
    tool_executed       {tool, message, result}
    citation            {number, title, page, excerpt}
    token               {index, text}
    workflow_completed  {tokens, citations}
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from . import openai
from .documents import Passage
from .search import index, words
from .tools import Found, look_up

AgentEvent: TypeAlias = tuple[str, dict[str, Any]]

SOURCES: Final = 3  # more would make the answer a list
RELEVANT: Final = 0.35  # of the best score: what is below is about something else

NOTHING_FOUND: Final = (
    "I found nothing about that in this project's documentation, which is all that I have read. "
    "Ask me about publishing, resuming, gaps, slow readers, filters, heartbeats or deploying."
)


def run(question: str) -> Iterator[AgentEvent]:
    """The events of one run; see the module."""
    yield "workflow_started", {"message": question}

    yield "step_started", {"step": "search", "message": "Searching the documentation"}
    hits = index().search(question, limit=8)
    sources = _choose([(score, passage) for score, passage in hits if score >= RELEVANT * hits[0][0]])
    titles = [passage.title for passage in sources]
    message = f"{len(hits)} passages fit, the best {len(sources)} to be read" if hits else "nothing fits"
    yield "tool_executed", {"tool": "search_docs", "message": message, "result": titles}

    yield "step_started", {"step": "look_up", "message": "Looking up names in the library"}
    found = look_up(question)
    message = "one is in the question" if found else "none is in the question"
    yield "tool_executed", {"tool": "look_up", "message": message, "result": [found.signature] if found else []}

    for number, passage in enumerate(sources, 1):
        page = f"{passage.source}:{passage.line}"
        yield "citation", {"number": number, "title": passage.title, "page": page, "excerpt": passage.text[:400]}

    yield "step_started", {"step": "answer", "message": "Writing the answer"}
    text = openai.answer(question, sources) if openai.configured() else _tokens(_answer(question, sources, found))
    count = 0
    for token in text:
        yield "token", {"index": count, "text": token}
        count += 1
    yield "workflow_completed", {"tokens": count, "citations": len(sources)}


def _choose(hits: list[tuple[float, Passage]]) -> list[Passage]:
    """The best passages, one per section, so that three sources say three things."""
    chosen: dict[tuple[str, str], Passage] = {}
    for _, passage in hits:
        chosen.setdefault((passage.source, passage.title), passage)
    return list(chosen.values())[:SOURCES]


def _answer(question: str, sources: list[Passage], found: Found | None) -> str:
    """The sentences that fit the question best, each passage's in its own paragraph with its number."""
    if not sources and found is None:
        return NOTHING_FOUND
    parts = []
    if found is not None:
        parts += [f"```\n{found.signature}\n```", found.summary]
    for number, passage in enumerate(sources, 1):
        sentences = _best_sentences(question, passage, 3 if number == 1 else 2)
        parts.append(f"{sentences} [{number}]")
        if passage.code and number == 1:
            parts.append(f"```\n{passage.code[:900]}\n```")
    return "\n\n".join(parts)


def _best_sentences(question: str, passage: Passage, count: int) -> str:
    """The `count` best sentences of a passage in their own order."""
    sentences = [each for line in passage.text.split("\n") for each in re.split(r"(?<=[.!?])\s+(?=[A-Z`])", line)]
    wanted = set(words(question))

    def fit(sentence: str) -> float:
        own = words(sentence)
        return sum(index().rarity(word) for word in wanted & set(own)) / math.sqrt(8 + len(own))

    best = sorted(range(len(sentences)), key=lambda i: (-fit(sentences[i]), i))[:count]
    return " ".join(sentences[i] for i in sorted(best))


def _tokens(text: str) -> Iterator[str]:
    """Pieces of about a word each, as a language model makes them; joined they are the text."""
    yield from re.findall(r"\s*[^\s]{1,12}|\s+$", text)
