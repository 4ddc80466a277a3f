"""Hooks and sources that raise what is no plain exception: Django's 500 or the stream's error, and other streams go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.django_app.conftest import WAYS, Site, without_broker
from tests.streams.strange_errors import OF_THE_PROCESS, STRANGE
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

HOOKS = [
    "sync/sync",
    "sync/async",
    "async/sync",
    *(f"class/{colour}/{place}" for colour in ("sync", "async") for place in ("get_channels", "authorize")),
]
# All greenlets share the main thread, where a signal may have raised SystemExit, so gevent ends its worker.
on_threads = pytest.mark.parametrize(
    "site", [(*way, "memory") for way in WAYS if way[0] != "gunicorn-gevent"], ids="-".join, indirect=True
)


def left(site: Site) -> Any:
    return httpx.get(f"{site.url}/left/", timeout=60).json()


def none_more(now: dict[str, int], before: dict[str, int]) -> bool:
    return all(count <= before[name] for name, count in now.items())


@contextmanager
def another_stream(site: Site, channel: str) -> Iterator[None]:
    """A stream that is open meanwhile and gets its event afterwards, when nothing but it is held."""
    site.wait_until_released()
    with SSEClient(f"{site.url}/sync/{channel}/") as other:
        other.take(1)
        wait_for(lambda: site.asgi or site.held()["pushed"] == 1, what="the stream to leave its thread")
        before = left(site)
        yield
        site.publish(channel, "goes on")
        assert other.take(1)[0].data == '"goes on"'
        wait_for(lambda: site.held()["streams"] == site.held()["readers"] == 1, what=f"the slots: {site.held()}")
        # no more than before: at that look a request that had its answer may have been on its last steps
        wait_for(lambda: none_more(left(site), before), what=f"threads and tasks {before}, now {left(site)}")
    site.wait_until_released()


def status(site: Site, path: str) -> int:
    return httpx.get(f"{site.url}/{path}/", timeout=60).status_code


def told(site: Site, path: str) -> tuple[list[str], str]:
    """The frames of a source that fails, `stream.open` first, and how its body ended."""
    with SSEClient(f"{site.url}/fails/{path}") as client:
        assert client.status == 200
        return [frame.event for frame in client.rest()], client.ended


def failed(items: int) -> tuple[list[str], str]:
    return ["stream.open", *["message"] * items, "stream.error", "stream.end"], "complete"


@without_broker
def test_a_hook_that_fails_is_a_500(site: Site, channel: str) -> None:
    urls = [f"hook/{hook}/{error}" for hook in HOOKS for error in STRANGE]
    with another_stream(site, channel):
        assert {url: status(site, url) for url in urls} == dict.fromkeys(urls, 500)


@without_broker
def test_a_source_that_fails_ends_its_stream_with_the_error(site: Site, channel: str, view: str) -> None:
    with another_stream(site, channel):
        for error in STRANGE:
            for kind in ("async_iterator", "generator", "async_generator"):
                assert told(site, f"{view}/{kind}/{error}/") == failed(2), (kind, error)
            for kind in ("function", "async_function"):
                assert told(site, f"{view}/{kind}/{error}/") == failed(0), (kind, error)
            assert told(site, f"{view}/generator/{error}/?own_thread") == failed(2), error
            if error != "StopIteration":  # which is how an iterator says that it has ended
                assert told(site, f"{view}/iterator/{error}/") == failed(2), error


@on_threads
def test_hooks_on_a_worker_thread_end_no_process(site: Site, channel: str) -> None:
    hooks = ["sync/sync", "class/sync/get_channels", "class/sync/authorize"]
    if not site.asgi:  # under ASGI an async hook runs on the server's loop, whose thread signals interrupt
        hooks += ["sync/async", "class/async/get_channels", "class/async/authorize"]
    urls = [f"hook/{hook}/{error}" for hook in hooks for error in OF_THE_PROCESS]
    with another_stream(site, channel):
        assert {url: status(site, url) for url in urls} == dict.fromkeys(urls, 500)


@on_threads
def test_sources_on_a_worker_thread_end_no_process(site: Site, channel: str) -> None:
    kinds = {"iterator": 2, "generator": 2, "function": 0}
    if not site.asgi:
        kinds |= {"async_iterator": 2, "async_generator": 2, "async_function": 0}
    with another_stream(site, channel):
        for error in OF_THE_PROCESS:
            for kind, items in kinds.items():
                for query in ("", "?own_thread"):
                    assert told(site, f"sync/{kind}/{error}/{query}") == failed(items), (kind, error, query)
