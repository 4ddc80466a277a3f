"""Stepping a send from outside its task, and listening while being woken: contexts, tasks, errors, cancellation."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from sse_bridge.streams.writers.stepping import Disconnected, Listening, Stepper
from tests.support.wait import await_for

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


async def test_a_send_that_does_not_suspend_is_done_in_one_step() -> None:
    seen: list[Any] = []
    request: list[asyncio.Task[Any]] = []

    async def send(message: Any) -> None:
        seen.append((message["n"], asyncio.current_task(), who.get()))
        who.set("changed by the send")

    async def serve() -> Stepper:
        who.set("request")
        request.append(asyncio.current_task())
        return Stepper(send)

    stepper = await asyncio.create_task(serve())
    mine = asyncio.current_task()
    assert stepper.step({"n": 1})
    assert stepper.step({"n": 2})
    assert asyncio.current_task() is mine
    assert who.get() == "nobody"
    assert seen == [(1, request[0], "request"), (2, request[0], "changed by the send")]


async def test_a_suspended_send_is_finished_by_the_requests_task() -> None:
    gate = asyncio.get_running_loop().create_future()
    again = asyncio.get_running_loop().create_future()
    ran_in: list[Any] = []
    steppers: list[Stepper] = []
    stepped = asyncio.Event()

    async def send(message: Any) -> None:
        await gate
        ran_in.append(asyncio.current_task())
        async with asyncio.timeout(5) if hasattr(asyncio, "timeout") else asyncio.Lock():
            await again
        ran_in.append(who.get())

    async def serve() -> str:
        who.set("request")
        steppers.append(Stepper(send))
        await stepped.wait()
        assert await steppers[0].finish()
        assert not steppers[0].busy
        return "finished"

    task = asyncio.create_task(serve())
    while not steppers:
        await asyncio.sleep(0)
    assert steppers[0].step({}) is False
    stepped.set()
    await asyncio.sleep(0)
    gate.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    again.set_result(None)
    assert await asyncio.wait_for(task, 60) == "finished"
    assert ran_in == [task, "request"]


async def test_errors_belong_to_the_requests_task() -> None:
    async def send(message: Any) -> None:
        raise OSError("gone")

    async def serve() -> None:
        stepper = Stepper(send)
        asyncio.get_running_loop().call_soon(stepper.step, {})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await stepper.finish()

    with pytest.raises(OSError, match="gone"):
        await asyncio.create_task(serve())


async def test_a_cancel_reaches_the_send_that_is_waited_in() -> None:
    events: list[str] = []
    entered = asyncio.Event()

    async def send(message: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            events.append("send cleaned up")

    async def serve() -> None:
        stepper = Stepper(send)
        stepper.step({})
        entered.set()
        await stepper.finish()

    task = asyncio.create_task(serve())
    await entered.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["send cleaned up"]


async def test_listening_is_woken_drops_messages_and_hears_the_client_leave() -> None:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    listening = Listening(queue.get)
    loop = asyncio.get_running_loop()
    loop.call_soon(listening.wake)
    await listening.woken()
    listening.wake()
    listening.wake()
    await listening.woken()
    queue.put_nowait({"type": "http.request"})
    queue.put_nowait({"type": "http.request"})
    waiting = asyncio.create_task(listening.woken())
    await await_for(queue.empty, what="both messages to be taken")
    assert not waiting.done()
    listening.wake()
    await waiting
    loop.call_soon(queue.put_nowait, {"type": "http.disconnect"})
    with pytest.raises(Disconnected):
        await listening.woken()
    listening.close()


async def test_a_closed_listening_leaves_its_receive_clean() -> None:
    events: list[str] = []

    async def receive() -> dict[str, Any]:
        try:
            await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()
        finally:
            events.append("closed")
        return {}

    listening = Listening(receive)
    asyncio.get_running_loop().call_later(0, lambda: asyncio.get_running_loop().call_soon(listening.wake))
    await listening.woken()
    listening.close()
    listening.close()
    assert events == ["closed"]


async def test_a_cancelled_wait_can_be_taken_up_again() -> None:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    listening = Listening(queue.get)

    task = asyncio.create_task(listening.woken())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    queue.put_nowait({"type": "http.disconnect"})
    with pytest.raises(Disconnected):
        await listening.woken()


async def test_a_wait_for_a_send_can_be_interrupted_and_the_send_abandoned() -> None:
    events: list[str] = []
    steppers: list[Stepper] = []
    gates = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def send(message: Any) -> None:
        try:
            await gates[message["n"]]
        except asyncio.CancelledError:
            events.append("given up")
            raise

    async def serve() -> None:
        stepper = Stepper(send)
        steppers.append(stepper)
        assert not stepper.step({"n": 0})
        assert not await stepper.finish()
        events.append("interrupted")
        asyncio.get_running_loop().call_soon(gates[0].set_result, None)
        assert await stepper.finish()
        assert not stepper.step({"n": 1})
        assert not await stepper.finish()
        stepper.abandon()
        assert not stepper.busy

    task = asyncio.create_task(serve())
    while "interrupted" not in events:
        await asyncio.sleep(0)
        if steppers:
            steppers[0].interrupt()
    while not task.done():
        await asyncio.sleep(0)
        steppers[0].interrupt()
    await task
    assert events == ["interrupted", "given up"]


async def test_listening_tells_of_a_message_while_nobody_waits() -> None:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    listening = Listening(queue.get)
    listening.poll()
    heard: list[str] = []
    listening.on_message = lambda: heard.append("now")
    queue.put_nowait({"type": "http.disconnect"})
    while not heard:
        await asyncio.sleep(0)
    with pytest.raises(Disconnected):
        listening.poll()
    listening.close()


class BareAwaitable:
    """What granian's `send` returns: an iterator and a future in one, with neither `send` nor `throw`."""

    _asyncio_future_blocking = True

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __await__(self) -> BareAwaitable:
        return self

    def __next__(self) -> BareAwaitable:
        if self.answer.done():
            raise StopIteration(self.answer.result())
        return self

    def done(self) -> bool:
        return self.answer.done()

    def add_done_callback(self, callback: Any) -> None:
        self.answer.add_done_callback(callback)

    def remove_done_callback(self, callback: Any) -> None:
        self.answer.remove_done_callback(callback)


async def test_an_awaitable_that_is_no_generator_is_finished() -> None:
    sent: list[BareAwaitable] = []

    def send(message: Any) -> BareAwaitable:
        sent.append(BareAwaitable())
        return sent[-1]

    stepper = Stepper(send)
    assert stepper.step({}) is False
    asyncio.get_running_loop().call_soon(sent[0].answer.set_result, None)
    assert await stepper.finish()
    assert not stepper.busy


async def test_an_awaitable_that_is_no_generator_is_abandoned() -> None:
    stepper = Stepper(lambda message: BareAwaitable())
    assert stepper.step({}) is False
    stepper.abandon()
    assert not stepper.busy


async def test_a_cancel_while_an_awaitable_that_is_no_generator_is_finished() -> None:
    async def serve() -> None:
        stepper = Stepper(lambda message: BareAwaitable())
        stepper.step({})
        await stepper.finish()

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_listening_to_an_awaitable_that_is_no_generator() -> None:
    asked: list[BareAwaitable] = []

    def receive() -> BareAwaitable:
        asked.append(BareAwaitable())
        return asked[-1]

    listening = Listening(receive)  # type: ignore[arg-type]
    listening.poll()
    asked[0].answer.set_result({"type": "http.request"})  # type: ignore[arg-type]
    await asyncio.sleep(0)  # its callback
    listening.poll()
    listening.close()  # what is pending is dropped: a stream ends here, and no error may come of it
    assert len(asked) == 2
