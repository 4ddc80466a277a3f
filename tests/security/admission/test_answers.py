"""The table of docs/security.md ("What a stream that may not open is answered"), driven cell by cell over every way to stream."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from sse_bridge import Bridge, configure
from tests.security.admission import ways
from tests.security.admission.broker import Broker
from tests.security.admission.clients import Client, over_wsgi
from tests.security.admission.reading import Tokens
from tests.security.admission.ways import KNOWN, SAID, WAYS, Way
from tests.support.process import ROOT
from tests.support.wait import await_for

PAGE = "https://page.example"
POLICIES = ("replace_oldest", "reject", "retry")
# the table's rows, by the names that the cells have here
CONDITIONS = {
    "full": "the process is full (`max_streams`)",
    "over": "its user has too many (`max_streams_per_user`)",
    "revoked": "it is known to be revoked",
    "revoked unheard": "it is revoked, and the broker must be asked",
    "closed": "the bridge is closed",
    "away": "the broker is away",
    "away from the start": "the broker is away",
    "away when counted": "the broker is away",
    "never ready": "the broker does not answer for 5 s",
}

# Cells that fail today: (way, condition, over_limit) by expressions, and the defect.
DEFECTS: list[tuple[str, str, str, str]] = []


def read_table() -> dict[tuple[str, str, str], str]:
    """By row, over_limit and column: what the docs promise."""
    text = (ROOT / "docs/security.md").read_text("utf-8")
    [lines] = re.findall(r"^\| a new stream, when .*\n((?:\|.*\n)+)", text, re.MULTILINE)
    [head] = re.findall(r"^\| a new stream, when .*$", text, re.MULTILINE)
    columns = [cell.strip() for cell in head.strip("|").split("|")][2:]
    table: dict[tuple[str, str, str], str] = {}
    row = ""
    for line in lines.splitlines()[1:]:
        name, policies, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        row = name or row
        for policy in POLICIES if policies == "any" else re.findall(r"\w+", policies):
            for column, cell in zip(columns, cells, strict=True):
                table[row, policy, column] = cell.replace("`", "")
    return table


TABLE = read_table()


def promised(way: Way, condition: str, over_limit: str) -> str:
    told = TABLE[CONDITIONS[condition], over_limit, way.column]
    if way.nobodys and condition not in ("full", "closed"):
        return "opens"
    if way.tells or told == "opens" or told.isdigit():
        return told
    # the head of a WSGI app's answer leaves with its first piece: what is known in the view is said by the status
    if way.column == KNOWN or condition in ("full", "closed"):
        return {"limit": "429", "unavailable": "503"}[told]
    return "cut"


def marks(name: str, condition: str, over_limit: str) -> list[Any]:
    cell = (name, condition, over_limit)
    found = [defect for *where, defect in DEFECTS if all(map(re.fullmatch, where, cell))]
    return [pytest.mark.xfail(strict=True, reason="; ".join(found))] if found else []


CELLS = [
    pytest.param(*cell, marks=marks(*cell), id="-".join(cell)) for cell in itertools.product(WAYS, CONDITIONS, POLICIES)
]


def test_the_table_is_whole() -> None:
    rows = {row for row, _, _ in TABLE}
    columns = {column for _, _, column in TABLE}
    assert rows == set(CONDITIONS.values())
    assert columns == {way.column for way in WAYS.values()}
    assert len(TABLE) == len(rows) * len(columns) * len(POLICIES)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes moments, and Django has our views."""
    for module in ("loop", "threads"):
        monkeypatch.setattr(f"sse_bridge.hub.{module}.TICK_SECONDS", 0.02)
    monkeypatch.setattr(ways.settings, "ROOT_URLCONF", ways.__name__, raising=False)
    monkeypatch.setattr(ways, "tokens", Tokens())


@asynccontextmanager
async def serving(broker: Broker, **settings: Any) -> AsyncIterator[Bridge]:
    """The default bridge, which has given everything back at the end."""
    async with Bridge(
        backend=broker, linger_seconds=0.0, heartbeat_seconds=60, cors_origins=PAGE, **settings
    ) as bridge:
        configure(bridge)
        try:
            yield bridge
            await await_for(lambda: held(bridge, broker) == "", what="everything given back")
        finally:
            configure(None)
            broker.mood = "there"
            broker.release()


def held(bridge: Bridge, broker: Broker) -> str:
    """What is held still; empty: nothing."""
    counts = {
        "streams": len(bridge.streams),
        "leases": broker.leases(),
        "sources": ways.tokens.begun - ways.tokens.ended,
    }
    for hub in bridge.hubs():
        admissions = hub.admission.state
        counts[f"readers of {hub}"] = hub.readers()
        counts[f"members of {hub}"] = len(admissions.members) + len(admissions.waiting) + len(admissions._leases)
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


async def prepare(condition: str, way: Way, bridge: Bridge, broker: Broker, stack: AsyncExitStack) -> Client | None:
    """Makes the condition true; whoever holds a stream for it."""
    holder = {"full": "bob", "over": "ada", "revoked": "bob"}.get(condition)
    occupant = None
    if holder is not None:
        occupant = await stack.enter_async_context(way.stream(holder))
        assert await occupant.answered() == "opens"
    if condition.startswith("revoked"):
        await bridge.arevoke(user="ada")
    if condition == "revoked" and not way.nobodys:
        await await_for(lambda: bridge.revoked("ada", ("a",)))
    elif condition == "closed":
        await bridge.aclose()
    elif condition == "away":
        broker.mood = "away"
    elif condition == "away from the start":
        broker.mood = "no link"
    elif condition == "away when counted":
        broker.mood = "counts nothing"
    elif condition == "never ready":
        broker.mood = "silent"
    return occupant


def check_form(way: Way, client: Client) -> None:
    """What every answer of its kind has."""
    answer = client.answer
    if way.column not in (KNOWN, SAID):
        return
    kind = client.headers["content-type"]
    assert client.headers["access-control-allow-origin"] == PAGE
    assert "Origin" in client.headers["vary"]
    if answer.isdigit():  # an EventSource stops
        assert kind == "application/problem+json"
        assert client.headers.get("retry-after") == ("5" if answer == "429" else None)
        assert client.headers["cache-control"] == "no-store"
    elif way.tells:  # it comes back
        assert kind == "text/event-stream"
        assert client.headers["cache-control"] == "no-cache, no-transform"
        if answer != "opens":
            [frame] = client.frames
            assert frame.retry is not None
            assert 2000 <= frame.retry <= 5000
            assert not frame.id


async def check_occupant(way: Way, bridge: Bridge, occupant: Client, replaced: bool) -> None:
    """Nobody's stream ends for a stranger's; a replaced one says so, and its EventSource stops at its next request."""
    if not replaced:
        if not way.source:
            await bridge.apublish("a", "still there")
        await occupant.until("message")
        return
    over_websocket = way.column not in (KNOWN, SAID)
    if not way.tells:
        assert await occupant.ending() == "cut"
        return
    assert await occupant.ending() == ("replaced 4409" if over_websocket else "replaced")
    if not over_websocket:
        async with way.stream("ada", **{"Last-Event-ID": occupant.frames[-1].id or ""}) as again:
            assert await again.answered() == "204"


@pytest.mark.parametrize(("name", "condition", "over_limit"), CELLS)
async def test_a_cell(
    name: str, condition: str, over_limit: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, broker = WAYS[name], Broker()
    if condition in ("away", "never ready"):  # no other cell may depend on how fast this machine is
        monkeypatch.setattr("sse_bridge.streams.lifecycle.opening.OPENING_SECONDS", 0.1)
    settings: dict[str, Any] = {"over_limit": over_limit}
    if condition == "full":
        settings["max_streams"] = 1
    elif condition in ("over", "away when counted"):
        settings["max_streams_per_user"] = 1
    with caplog.at_level(logging.WARNING):
        async with serving(broker, **settings) as bridge, AsyncExitStack() as stack:
            occupant = await prepare(condition, way, bridge, broker, stack)
            client = await stack.enter_async_context(way.stream("ada", Origin=PAGE))
            assert await client.answered() == promised(way, condition, over_limit)
            check_form(way, client)
            if occupant is not None:
                await check_occupant(way, bridge, occupant, replaced=client.answer == "opens" and not way.nobodys)
    opened = [each for each in (client, occupant) if each is not None and each.answer == "opens"]
    assert ways.tokens.begun <= len(opened), "a source began that may not"
    # A hub's tick asks for its link again; whether one comes before the end is chance.
    wrong = [
        each
        for each in caplog.records
        if (each.exc_info or each.levelno >= logging.ERROR) and "no link today" not in str(each.exc_info)
    ]
    assert [each.getMessage() for each in wrong if client.answer != "503"] == []


# threads that come in the same instant may exceed the limit by a few
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=marks(name, "full", "retry"))
        for name, way in WAYS.items()
        if way.connect is not over_wsgi
    ],
)
async def test_those_who_come_at_once_find_the_same_room(name: str) -> None:
    way, broker = WAYS[name], Broker()
    async with serving(broker, over_limit="retry", max_streams=1) as bridge, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(way.stream(user)) for user in ("ada", "bob", "eve", "joe")]
        answers = await asyncio.gather(*[client.answered() for client in clients])
        assert len(bridge.streams) == 1
        assert answers.count("opens") == 1
