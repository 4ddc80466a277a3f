"""A probe counts for other responses only where all that decides is plain, and the same."""

from __future__ import annotations

import asyncio
import types
import weakref
from typing import Any

import pytest

from sse_bridge.streams.writers import transport
from sse_bridge.streams.writers.transport import TransportWriter, chunk
from tests.streams.test_transport_writer import Transport


class Cycle:
    """A response whose framing is a flag, and a text of its scope, as uvicorn's over httptools."""

    def __init__(self, **given: Any) -> None:
        self.scope: dict[str, Any] = {"method": "GET", "path": "/"}
        self.flow, self.transport = types.SimpleNamespace(write_paused=False, drain=asyncio.Event().wait), Transport()
        self.disconnected, self.response_complete, self.chunked = False, False, True
        self.sent = 0
        vars(self).update(given)

    def framed(self) -> bool:
        return self.chunked and self.scope["method"] != "HEAD"

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError
        body = message["body"]
        self.transport.write(chunk(body) if self.chunked and self.scope["method"] != "HEAD" else body)


class Subclass(Cycle):
    @property
    def chunked(self) -> bool:
        return bool(vars(self)["path"] == "/")

    @chunked.setter
    def chunked(self, value: bool) -> None:
        vars(self)["chunked"] = value


class Asking(Cycle):
    """What decides is behind a method."""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected and not self.response_complete:
            self.transport.write(chunk(message["body"]) if self.framed() else message["body"])


class Connected(Cycle):
    """What decides is in an object."""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected and not self.response_complete:
            self.transport.write(chunk(message["body"]) if self.connection.chunked else message["body"])  # type: ignore[attr-defined]


class Counted(Cycle):
    """What decides is a number."""

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected and not self.response_complete:
            self.transport.write(chunk(message["body"]) if self.sent < 5 else message["body"])


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The responses that are probed, with this module in the place of the server's."""
    probed: list[Any] = []
    probe = transport._probe

    def seen(function: Any, cycle: Any, *args: Any, **state: Any) -> Any:
        probed.append(cycle)
        return probe(function, cycle, *args, **state)

    monkeypatch.setattr(transport, "_probe", seen)
    monkeypatch.setattr(transport, "_HTTPTOOLS", __name__)
    monkeypatch.setattr(transport, "_verified", weakref.WeakKeyDictionary())
    return probed


def test_a_response_with_the_flags_of_a_probed_one_is_not_probed(probes: list[Any]) -> None:
    assert TransportWriter.of(Cycle().send) is not None
    probes.clear()
    assert TransportWriter.of(Cycle(sent=7, scope={"method": "GET", "path": "/other"}).send) is not None
    assert probes == []


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (Cycle(), Cycle(chunked=False)),
        (Cycle(), Cycle(scope={"method": "HEAD", "path": "/"})),
        (Cycle(), Cycle(flow=types.SimpleNamespace(write_paused=True))),
        (Cycle(), Cycle(disconnected=True)),
        (Cycle(), Cycle(response_complete=True)),
        (Cycle(), Subclass(path="/other")),
        (Subclass(path="/"), Subclass(path="/other")),
        (Asking(), Asking(chunked=False)),
        (
            Connected(connection=types.SimpleNamespace(chunked=True)),
            Connected(connection=types.SimpleNamespace(chunked=False)),
        ),
        (Counted(), Counted(sent=7)),
    ],
)
def test_what_differs_where_it_decides_is_seen(probes: list[Any], first: Cycle, other: Cycle) -> None:
    for _ in range(2):
        assert TransportWriter.of(first.send) is not None
        assert TransportWriter.of(other.send) is None
    assert not first.transport.written, "a probe reached the client"
    assert not other.transport.written


@pytest.mark.parametrize("kind", [Subclass, Asking, Connected, Counted])
def test_what_is_not_seen_to_be_flags_alone_is_probed_each_time(probes: list[Any], kind: Any) -> None:
    cycles = [kind(path="/", connection=types.SimpleNamespace(chunked=True)) for _ in range(3)]
    for cycle in cycles:
        assert TransportWriter.of(cycle.send) is not None
    assert set(probes) == set(cycles)


def test_a_patched_function_is_probed(probes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert TransportWriter.of(Cycle().send) is not None
    original = Cycle.send

    async def send(self: Any, message: Any) -> None:
        await original(self, {**message, "body": message["body"] + b"!"})

    monkeypatch.setattr(Cycle, "send", send)
    assert TransportWriter.of(Cycle().send) is None


def test_other_servers_are_probed_each_time(probes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_HTTPTOOLS", "another.module")
    cycles = [Cycle() for _ in range(3)]
    for cycle in cycles:
        assert TransportWriter.of(cycle.send) is not None
    assert set(probes) == set(cycles)
