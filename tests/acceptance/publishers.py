"""Eight publishers of four kinds, each with one connection of its own to the log.

The test gives orders as files in a folder, one for all, and every publisher answers with a file of what it published: so
the same protocol serves a Celery child, a thread of a Django process, a coroutine and a greenlet, and nothing of it goes
through the Redis that the test may kill.

    order-1.json           {"channel": "rows", "count": 200}
    celery-1.done-1.json   {"who": [process, thread], "ids": […]} ids in the order in which it numbered its events
    order-2.json           {"count": 0}: the end
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.wait import await_for, wait_for

FOLDER = "ACCEPTANCE_FOLDER"
NAMES = tuple(f"{kind}-{number}" for kind in ("celery", "django", "asyncio", "gevent") for number in (1, 2))
AT_ONCE = 4  # coroutines or greenlets that publish at the same time
PATIENCE_SECONDS = 600.0
TYPE = "row"

Publish = Callable[..., Any]
APublish = Callable[..., Awaitable[Any]]


class Orders:
    """The folder, seen from both sides."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def give(self, number: int, channel: str, count: int) -> None:
        self._write(f"order-{number}.json", {"channel": channel, "count": count})

    def look(self, number: int) -> dict[str, Any] | None:
        return self._read(f"order-{number}.json")

    def report(self, name: str, number: int, ids: list[str]) -> None:
        who = [os.getpid(), threading.get_ident()]
        self._write(f"{name}.done-{number}.json", {"who": who, "ids": ids})

    def reported(self, name: str, number: int) -> dict[str, Any] | None:
        return self._read(f"{name}.done-{number}.json")

    def _write(self, name: str, value: Any) -> None:
        part = self.folder / f"{name}.part"
        part.write_text(json.dumps(value))
        part.rename(self.folder / name)  # whoever sees the file sees all of it

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return None


def row(name: str, number: int) -> dict[str, Any]:
    """An event's data; the text is there to be cut inside a character."""
    return {"by": name, "n": number, "text": "straße → 東京 " * (number % 3)}


def work(name: str, publish: Publish, at_once: int = 1) -> None:
    """A publisher's life on a thread or greenlet."""
    orders = Orders(os.environ[FOLDER])
    for number in count(1):
        order = wait_for(lambda number=number: orders.look(number), PATIENCE_SECONDS)
        if not order["count"]:
            return
        ids = [""] * order["count"]

        def some(first: int, channel: str = order["channel"], ids: list[str] = ids) -> None:
            for n in range(first, len(ids), at_once):
                try:
                    ids[n] = str(publish(channel, row(name, n), type=TYPE))
                except Exception as error:
                    ids[n] = repr(error)  # the test expects an id here and shows this instead

        threads = [threading.Thread(target=some, args=(first,)) for first in range(1, at_once)]
        for thread in threads:
            thread.start()
        some(0)
        for thread in threads:
            thread.join()
        orders.report(name, number, ids)


async def awork(name: str, apublish: APublish, at_once: int = AT_ONCE) -> None:
    """The twin of `work` for coroutines."""
    orders = Orders(os.environ[FOLDER])
    for number in count(1):
        order = await await_for(lambda number=number: orders.look(number), PATIENCE_SECONDS)
        if not order["count"]:
            return
        ids = [""] * order["count"]

        async def some(first: int, channel: str = order["channel"], ids: list[str] = ids) -> None:
            for n in range(first, len(ids), at_once):
                try:
                    ids[n] = str(await apublish(channel, row(name, n), type=TYPE))
                except Exception as error:
                    ids[n] = repr(error)

        await asyncio.gather(*map(some, range(at_once)))
        orders.report(name, number, ids)
