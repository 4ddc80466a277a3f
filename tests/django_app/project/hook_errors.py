"""Views whose hooks and sources raise what is no plain exception; the URL names the place and the error."""

import asyncio
import threading

from django.http import HttpRequest, JsonResponse

from sse_bridge_django import EventStreamView, event_stream
from tests.streams.strange_errors import ALL, async_raiser, raiser


class Failing(EventStreamView):
    """Hooks of the class-based view; `place` is the hook that fails."""

    def get_channels(self):
        return self._fail_at("get_channels") or "a"

    def authorize(self, request, channels):
        return self._fail_at("authorize") or True

    def _fail_at(self, place):
        return self.kwargs["place"] == place and raiser(ALL[self.kwargs["error"]])()


class AsyncFailing(Failing):
    async def get_channels(self):
        return await self._afail_at("get_channels") or "a"

    async def authorize(self, request, channels):
        return await self._afail_at("authorize") or True

    async def _afail_at(self, place):
        return self.kwargs["place"] == place and await async_raiser(ALL[self.kwargs["error"]])()


def hook(request: HttpRequest, colour: str, error: str):
    return event_stream(request, "a", authorize=(raiser if colour == "sync" else async_raiser)(ALL[error]))


async def ahook(request: HttpRequest, colour: str, error: str):
    """An async view may pass a sync hook only."""
    return hook(request, colour, error)


class Numbers:
    """An iterator, which lacks a generator's treatment of errors: two items, then the error."""

    def __init__(self, error) -> None:
        self._left = 2
        self._error = error

    def __iter__(self):
        return self

    def __next__(self):
        self._left -= 1
        if self._left < 0:
            raise self._error()
        return self._left


class AsyncNumbers:
    def __init__(self, error) -> None:
        self._numbers = Numbers(error)

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        return next(self._numbers)


def generator(error):
    yield from (1, 0)
    raise error()


async def async_generator(error):
    for number in (1, 0):
        yield number
    raise error()


SOURCES = {
    "iterator": Numbers,
    "async_iterator": AsyncNumbers,
    "generator": generator,
    "async_generator": async_generator,
    "function": raiser,
    "async_function": async_raiser,
}


def source(request: HttpRequest, kind: str, error: str):
    return event_stream(request, SOURCES[kind](ALL[error]), own_thread="own_thread" in request.GET)


async def asource(request: HttpRequest, kind: str, error: str):
    return source(request, kind, error)


async def left(request: HttpRequest):
    """What failures may leave behind: threads of sources, and tasks on the loop that runs this view."""
    sources = [thread for thread in threading.enumerate() if thread.name.startswith("sse_bridge-source")]
    return JsonResponse({"sources": len(sources), "tasks": len(asyncio.all_tasks())})
