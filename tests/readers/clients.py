"""Clients that others wrote, each over a bad network of its own, beside those of `tests/acceptance/readers.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import httpx_sse

import sse_bridge
from tests.acceptance.readers import TYPES, Browser, Node, ThreadedReader
from tests.support.firefox import Firefox
from tests.support.node import FOLDER, ensure_packages
from tests.support.process import Process

CLIENT = Path(sse_bridge.__file__).parent / "static" / "sse_bridge" / "client.js"


class InFirefox(Browser):
    """Firefox's EventSource."""

    browser: Firefox  # type: ignore[assignment]

    def ask(self) -> None:
        state, news = self.browser.execute_script(
            "return [source.readyState, seen.slice(arguments[0])]", len(self.seen)
        )
        for id, type, data in news:
            self.saw(id, type, json.loads(data))
        assert state != 2 or self.done, f"{self!r} was closed before the end"


class Undici(Node):
    """Node's own EventSource, which is undici's."""

    command = ("--no-warnings", "--experimental-eventsource", "follow_other.mjs", "undici")

    def start(self) -> None:
        ensure_packages()
        url = f"{self.proxy.url}/events?channel={self.channel}&after=earliest"
        self._process = Process(["node", *self.command, url, *TYPES], cwd=FOLDER)


class Ours(Undici):
    """client.js under Node."""

    command = ("follow_other.mjs", str(CLIENT))


class HttpxSse(ThreadedReader):
    """httpx-sse, which leaves reconnecting to its user; this one does it as its documentation says."""

    def run(self) -> None:
        last: dict[str, str] = {}
        with httpx.Client(timeout=60) as client:
            while not self.stopped.is_set():
                try:
                    with httpx_sse.connect_sse(client, "GET", self._url, headers=last) as source:
                        if source.response.status_code == 204:
                            return
                        for event in source.iter_sse():
                            last = {"Last-Event-ID": event.id}
                            self.saw(event.id, event.event, _json(event.data))
                            if self.stopped.is_set():
                                return
                except httpx.TransportError:
                    self.stopped.wait(0.02)

    @property
    def _url(self) -> str:
        return f"{self.proxy.url}/events?channel={self.channel}&after=earliest"


def _json(data: str) -> Any:
    return json.loads(data) if data else None
