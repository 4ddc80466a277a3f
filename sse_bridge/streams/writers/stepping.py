"""Writing to an ASGI server without waking the request's task.

A task that is woken costs 11–15 µs per write; most `send` calls never suspend, so stepping them once from outside is
enough (0.2–0.5 µs). These rules hold for wrappers with ContextVars, timeouts and every server tested (uvicorn,
hypercorn, daphne, granian, gunicorn's ASGI worker):

- each step runs in the stream's own copy of the context, with the request's task entered as the current one;
- a send that suspends (flow control) is finished by the request's own task;
- never a second step while one is pending, and errors belong to the request's task.

`Listening` lets that task wait for ``receive`` and for a wake from outside at the same time, without a second task.
Both drive an awaitable by hand: its future is watched by a callback instead of by the task, so that a wait can end
early and be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextvars import Context, copy_context
from typing import Any

try:
    from asyncio.tasks import _enter_task, _leave_task
except ImportError:  # private names: without them every send is left to the request's own task
    _enter_task = _leave_task = None  # type: ignore[assignment]

Message = MutableMapping[str, Any]


class Disconnected(Exception):
    """The client left, or takes nothing any more."""


class _Waiting:
    """The base of both: one task waits for `_waiter`, and several sides may end that."""

    __slots__ = ("_waiter",)

    _waiter: asyncio.Future[None] | None

    def _release(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Stepper(_Waiting):
    """Steps one stream's sends. On the loop's thread only; made in the request's task.

    Attributes:
        send: the server's, or a middleware's around it.
        error: of a stepped send; `finish` raises it in the request's task.
    """

    __slots__ = ("_context", "_future", "_interrupted", "_iterator", "_loop", "_task", "error", "send")

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self.send = send
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._context: Context = copy_context()
        self._iterator: Generator[Any, Any, None] | None = None
        self._future: Any = None
        self._waiter = None
        self._interrupted = False
        self.error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a send is pending or has failed, so that `finish` must come first."""
        return self._iterator is not None or self.error is not None

    def step(self, message: Message) -> bool:
        """Sends `message` from anywhere on the loop; False: the request's task must call `finish`.

        Must not be called while `busy`.
        """
        loop, task = self._loop, self._task
        current = asyncio.current_task(loop)
        if current is not task:
            if _enter_task is None:
                self._iterator, self._future = _not_begun(self.send, message), None
                return False
            if current is not None:
                _leave_task(loop, current)
            _enter_task(loop, task)
        try:
            self._iterator, self._future = self._context.run(_first_step, self.send, message)
        except StopIteration:
            return True
        except BaseException as error:  # noqa: BLE001  # for the request's task, not the hub
            self.error = error
        finally:
            if current is not task:
                _leave_task(loop, task)
                if current is not None:
                    _enter_task(loop, current)
        return False

    def interrupt(self) -> None:
        """Lets `finish` return early, for the request's task to handle something else."""
        self._interrupted = True
        self._release()

    async def finish(self) -> bool:
        """Completes the pending send in the request's own task; False if interrupted before.

        Raises the send's errors. A cancel reaches the pending send.
        """
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        while self._iterator is not None:
            if self._interrupted:
                self._interrupted = False
                return False
            step: Callable[..., Any] = self._iterator.send
            argument: Any = None
            try:
                if _is_future(self._future):
                    self._waiter = self._loop.create_future()
                    self._future._asyncio_future_blocking = False  # as a task does that awaits the future
                    self._future.add_done_callback(self._release)
                    await self._waiter
                else:
                    await asyncio.sleep(0)  # a bare yield
            except BaseException as error:  # noqa: BLE001  # the send decides how to handle a cancel
                step, argument = self._iterator.throw, error
            finally:
                self._waiter = None
            if step == self._iterator.send and _is_future(self._future) and not self._future.done():
                continue  # interrupted
            try:
                self._future = self._context.run(step, argument)
            except StopIteration:
                self._iterator = None
            except BaseException:
                self._iterator = None
                raise
        return True

    def abandon(self) -> None:
        """Gives up a pending send to a client that is gone. In the request's own task."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            try:
                self._context.run(iterator.throw, asyncio.CancelledError())
            except (StopIteration, asyncio.CancelledError, OSError):
                return
            iterator.close()


class Listening(_Waiting):
    """Waits for a wake and for the client to leave at once, in one task. Closed with the stream.

    The request's body, which a stream has no use for, is dropped.

    Attributes:
        on_message: called when ``receive`` has a message outside of `woken`; None: not called.
    """

    __slots__ = ("_future", "_iterator", "_woken", "on_message", "receive")

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self.receive = receive
        self._iterator: Generator[Any, Any, Message] | None = None
        self._future: Any = None
        self._waiter = None
        self._woken = False
        self.on_message: Callable[[], None] | None = None

    def wake(self) -> None:
        """Ends the current or the next wait; on the loop's thread."""
        self._woken = True
        self._release()

    async def woken(self) -> None:
        """Waits for a wake; raises `Disconnected` when the client has left."""
        while not self._woken:
            self.poll()
            if self._future is None:
                await asyncio.sleep(0)  # a bare yield
            elif not self._woken:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        self._woken = False

    def poll(self) -> None:
        """Takes the messages that are there; in the request's own task. Raises `Disconnected`."""
        while self._future is None or self._future.done():
            self._future = None
            try:
                if self._iterator is None:
                    self._iterator = _closable(self.receive().__await__())
                waited_for = next(self._iterator)
            except StopIteration as stop:
                self._iterator = None
                if stop.value["type"] == "http.disconnect":
                    raise Disconnected from None
                continue
            if not _is_future(waited_for):
                return
            waited_for._asyncio_future_blocking = False
            waited_for.add_done_callback(self._ready)
            self._future = waited_for

    def close(self) -> None:
        """Abandons a ``receive`` under way."""
        self.on_message = None
        if self._future is not None:
            self._future.remove_done_callback(self._ready)
            self._future = None
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def _ready(self, _: object) -> None:
        if self.on_message is not None:
            self.on_message()
        self._release()


def _is_future(waited_for: Any) -> bool:
    return getattr(waited_for, "_asyncio_future_blocking", None) is not None


def _closable(iterator: Any) -> Any:
    """The iterator with `throw` and `close`, which an awaitable need not have: granian's has neither."""
    return iterator if hasattr(iterator, "throw") else _as_generator(iterator)


def _as_generator(iterator: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            waited_for = next(iterator)
        except StopIteration as stop:
            return stop.value
        yield waited_for


def _not_begun(call: Callable[..., Awaitable[Any]], message: Message) -> Generator[Any, Any, Any]:
    return (yield from call(message).__await__())


def _first_step(call: Callable[..., Awaitable[Any]], message: Message) -> tuple[Any, Any]:
    """The iterator of the call and the future that it waits for; raises StopIteration if the call is done at once."""
    iterator = call(message).__await__()
    waited_for = next(iterator)
    return _closable(iterator), waited_for
