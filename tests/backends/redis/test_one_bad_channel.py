"""What is wrong with one channel is an error of that channel: its neighbours in the same round trip have theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

from sse_bridge.admission.contract import Beat, ControlRequest, TakeLease
from sse_bridge.backends.redis.calls import AppendCall, ReadCall
from sse_bridge.backends.redis.exchange import Exchange
from sse_bridge.backends.redis.keys import Keys
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.errors import BackendError, PublishUncertain, SSEBridgeError
from sse_bridge.records.continuity import Page, ReadRequest
from tests.backends.sides import Recorder, Side, append_each, batch
from tests.support.redis_server import RedisServer
from tests.support.wait import await_for

NAMES = [f"well{number}" for number in range(40)]


async def outcomes(side: Side, *names: str) -> dict[str, Page | SSEBridgeError]:
    return dict(zip(names, await side.outcomes(*[ReadRequest(name) for name in names]), strict=True))


async def test_a_key_of_another_type(side: Side, admin: redis.Redis, prefix: str) -> None:
    admin.hset(f"{prefix}:0:{{bad}}", "a", "b")
    admin.set(f"{prefix}:0:{{worse}}", "what another program stores")
    told = await append_each(side, [batch(name, b"1") for name in (*NAMES, "bad", "worse")])
    assert [appended.last for appended in told[:-2]] == [1] * len(NAMES)
    assert all(isinstance(error, BackendError) and not error.permanent for error in told[-2:])
    found = await outcomes(side, "bad", *NAMES, "worse")
    assert all(isinstance(found[name], Page) and found[name].top == 1 for name in NAMES)  # type: ignore[union-attr]
    for name in ("bad", "worse"):
        assert isinstance(found[name], BackendError)
        assert f"{name!r}" in str(found[name])


def test_an_answer_that_means_nothing_is_the_error_of_its_call() -> None:
    codec = Codec(Keys("p", 0), 100, 60, False)
    calls = [ReadCall(codec, ReadRequest("odd")), ReadCall(codec, ReadRequest("well"))]
    exchange = Exchange(calls, ("127.0.0.1", 1), 0.0)
    exchange.replied([b"an answer", b"of another version"])
    exchange.replied([b"epoch123", 0, b"0", 0, 1, 1, 0, []])
    assert not exchange.waiting
    assert isinstance(calls[0].error, BackendError)
    assert "'odd'" in str(calls[0].error)
    assert calls[1].outcome().epoch == b"epoch123"


def test_an_append_whose_answer_means_nothing_is_uncertain() -> None:
    call = AppendCall(Codec(Keys("p", 0), 100, 60, False), batch("odd", b"1"))
    call.replied([b"an answer"], ("127.0.0.1", 1))
    assert isinstance(call.error, PublishUncertain)


async def test_an_acl_that_forbids_one(
    make_side: Callable[..., Side], private_redis: Callable[..., RedisServer], prefix: str
) -> None:
    allowed = " ".join(f"{kind}{prefix}:{name}" for kind in "~&" for name in ("retention", "0:{well*", "0:{.*"))
    server = private_redis(config=[f"user default on nopass +@all {allowed}"])
    side = make_side(server.url)
    told = await append_each(side, [batch(name, b"1") for name in (*NAMES, "bad")])
    assert [appended.last for appended in told[:-1]] == [1] * len(NAMES)
    assert isinstance(told[-1], BackendError)
    assert told[-1].permanent
    found = await outcomes(side, *NAMES[:20], "bad", *NAMES[20:])
    assert [name for name, outcome in found.items() if not isinstance(outcome, Page)] == ["bad"]
    sink = Recorder()
    side.upstream(sink).subscribe(["bad", *NAMES])
    await await_for(lambda: all(sink.confirmations(name) == 1 for name in NAMES))
    await await_for(lambda: sink.losses("bad"))
    refused = next(what for kind, what in sink.told if kind == "refused")
    assert "NOPERM" in str(refused)
    server.command("ACL", "SETUSER", "default", "allkeys", "allchannels")
    await await_for(lambda: sink.confirmations("bad") == 1)
    assert all(sink.confirmations(name) == 1 for name in NAMES)


async def test_the_leases_of_one_user(side: Side, admin: redis.Redis, prefix: str) -> None:
    async def control(request: ControlRequest) -> Any:
        if side.colour == "asyncio":
            return await side.backend.acontrol(request)
        return await asyncio.to_thread(side.backend.control, request)

    assert await control(TakeLease("ada", "owner", "owner.1", 1, False, 60))
    admin.set(f"{prefix}:0:{{.control}}:s:bob", "what another program stores")
    with pytest.raises(BackendError, match="WRONGTYPE"):
        await control(TakeLease("bob", "owner", "owner.2", 1, False, 60))
    assert await control(Beat("owner", (("bob", "owner.2"), ("ada", "owner.1"))))
    assert await control(TakeLease("ada", "owner", "owner.3", 1, False, 60)), "the first one was given back"
