"""What hooks and sources raise that is no plain exception: nobody waits for ever, and nothing is taken for a cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from sse_bridge import Bridge, Where
from sse_bridge.backends.adapt import both_colours
from sse_bridge.backends.memory import MemoryBackend
from sse_bridge.config import Settings
from sse_bridge.streams import call_async, call_sync, stream_source
from tests.streams.source_cases import ANY, Failing, events, failing, open_bridge, read_async, read_sync
from tests.streams.strange_errors import ALL, OF_THE_PROCESS, STRANGE, async_raiser, raiser
from tests.support.gevent_run import gevent_run
from tests.support.wait import wait_for

bridge = pytest.fixture(open_bridge)
each = pytest.mark.parametrize("error", ALL.values(), ids=ALL)
strange = pytest.mark.parametrize("error", STRANGE.values(), ids=STRANGE)
of_the_process = pytest.mark.parametrize("error", OF_THE_PROCESS.values(), ids=OF_THE_PROCESS)
TOLD = [("stream.error", '{"message":"the source of this stream failed"}')]
SECONDS = 60.0


@each
async def test_a_sync_hook_on_a_thread_fails(error: Any) -> None:
    with pytest.raises(RuntimeError, match="raising to return or raise") as told:
        await asyncio.wait_for(call_async(raiser(error), 1), SECONDS)
    assert type(told.value.__cause__) is type(error())


@strange
async def test_an_async_hook_on_the_loop_fails(error: Any) -> None:
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(call_async(async_raiser(error), 1), SECONDS)
    with pytest.raises(RuntimeError):  # one that only says when it is called that it is async
        await asyncio.wait_for(call_async(partial(_later, error)), SECONDS)


@strange
@pytest.mark.parametrize("make", [raiser, async_raiser])
def test_a_hook_under_wsgi_fails(error: Any, make: Any) -> None:
    with pytest.raises(RuntimeError):
        call_sync(make(error), 1)


@of_the_process
def test_what_ends_a_process_is_not_swallowed_on_the_caller_s_own_thread(error: Any) -> None:
    with pytest.raises(type(error())):
        call_sync(raiser(error), 1)
    with pytest.raises(type(error())):
        asyncio.run(call_async(async_raiser(error), 1))


@of_the_process
async def test_a_view_s_worker_thread_brings_no_end_of_the_process_to_the_loop(error: Any) -> None:
    with pytest.raises(RuntimeError, match="raising to return or raise"):  # no signal handler runs on such a thread
        await asyncio.to_thread(call_sync, raiser(error), 1)


async def test_plain_exceptions_come_as_they_are() -> None:
    for make in (raiser, async_raiser):
        with pytest.raises(KeyError, match="plain"):
            await call_async(make(lambda: KeyError("plain")))
        with pytest.raises(KeyError, match="plain"):
            await asyncio.to_thread(call_sync, make(lambda: KeyError("plain")))


async def test_a_cancel_is_a_cancel() -> None:
    begun = asyncio.Event()

    async def hook() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(call_async(hook))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_hooks_under_gevent() -> None:
    output = gevent_run(
        """
import asyncio, gevent
from sse_bridge.streams import call_sync
def sync_hook(error):
    raise error
async def async_hook(error):
    raise error
told = []
for hook in (sync_hook, async_hook):
    for error in (StopIteration(), GeneratorExit(), BaseException()):
        try:
            call_sync(hook, error)
        except RuntimeError:
            told.append("failed")
        except BaseException as raised:
            told.append(type(raised).__name__)
def killed():
    try:
        call_sync(lambda: gevent.sleep(60))
    except gevent.GreenletExit:
        told.append("killed")
one = gevent.spawn(killed)
gevent.sleep(0.01)
one.kill()
print(told)
"""
    )
    expected = ["failed", "failed", "BaseException", "failed", "failed", "BaseException", "killed"]
    assert output.splitlines()[-1] == str(expected)  # before it stands what gevent's pool prints of each failure


def _later(error: Any) -> Any:
    return async_raiser(error)()


# sources


@failing
def test_a_source_fails_and_its_stream_ends(
    kind: str, read: Any, options: Any, bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    for error in STRANGE.values():
        make = raiser(error) if kind == "sync" else async_raiser(error)
        for source, items in [(getattr(Failing(n, error()), kind), n) for n in (0, 2)] + [(make, 0)]:
            told = events(b"".join(read(stream_source(bridge, source, ANY, **options))))[items + 1 :]
            assert told == [*TOLD, ("stream.end", '{"channel":null,"reason":"error"}')], error
            assert [record for record in caplog.records if record.levelno >= logging.WARNING], error
            caplog.clear()


@pytest.mark.parametrize(("read", "options"), [(read_sync, {"own_thread": True}), (read_async, {})])
@of_the_process
def test_a_sync_source_on_a_thread_of_ours_ends_no_process(
    read: Any, options: Any, error: Any, bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    told = events(b"".join(read(stream_source(bridge, Failing(1, error()).sync, ANY, **options))))
    assert told[2:3] == TOLD


@pytest.mark.parametrize(("kind", "read"), [("sync", read_sync), ("asynchronous", read_async)])
@of_the_process
def test_on_the_caller_s_own_thread_it_goes_on(
    kind: str, read: Any, error: Any, bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(type(error())):
        read(stream_source(bridge, getattr(Failing(1, error()), kind), ANY))


class Closing:
    """A source of one item whose end fails."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self._error = error
        self._left = 1

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise StopIteration
        return 1

    def close(self) -> None:
        raise self._error()


class AsyncClosing:
    """Its twin."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self._error = error
        self._left = 1

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise StopAsyncIteration
        return 1

    async def aclose(self) -> None:
        raise self._error()


@pytest.mark.parametrize(
    ("kind", "read", "options"),
    [
        (Closing, read_sync, {}),
        (Closing, read_sync, {"own_thread": True}),
        (Closing, read_async, {}),
        (AsyncClosing, read_sync, {}),
        (AsyncClosing, read_async, {}),
    ],
)
def test_a_source_whose_end_fails(
    kind: Any, read: Any, options: Any, bridge: Bridge, caplog: pytest.LogCaptureFixture
) -> None:
    for error in STRANGE.values():
        body = b"".join(read(stream_source(bridge, kind(error), ANY, **options)))
        assert [event for event, _ in events(body)] == ["stream.open", "message", "stream.end"], error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


@failing
def test_an_error_that_cannot_be_printed(kind: str, read: Any, options: Any, caplog: pytest.LogCaptureFixture) -> None:
    with Bridge(debug=True) as bridge:
        told = events(b"".join(read(stream_source(bridge, getattr(Failing(1, Unprintable()), kind), ANY, **options))))
    assert [event for event, _ in told] == ["stream.open", "message", "stream.error", "stream.end"]


# what else of an application's is called


@strange
def test_a_predicate_hides_what_it_cannot_judge(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    with Bridge() as bridge, bridge.subscribe("a", filter=Where(raiser(error))) as stream:
        stream.wait_ready(SECONDS)
        bridge.publish("a", 1)
        assert stream.next(0.2) is None
        wait_for(lambda: "predicate" in caplog.text)


@each
async def test_a_backend_with_one_colour_fails(error: Any) -> None:
    class Broken(MemoryBackend):
        aappend = aread = aupstream = aclose = property(lambda self: (_ for _ in ()).throw(AttributeError))  # type: ignore[assignment]

        def read(self, requests: Any) -> Any:
            raise error()

    adapted = both_colours(Broken(Settings()))
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(adapted.aread([]), SECONDS)
