"""Headless Firefox over WebDriver BiDi, which it speaks by itself: no geckodriver, which Debian has no package of.

It offers the few methods of selenium's driver that tests of both browsers use.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.process import Process
from tests.support.wait import wait_for

# What would ask the network, or a person, at the first start.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """A running Firefox with one tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._call("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        self._tab = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def get(self, url: str) -> None:
        """Load a page and wait for its load event."""
        self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def back(self) -> None:
        self._call("browsingContext.traverseHistory", context=self._tab, delta=-1)

    @property
    def title(self) -> str:
        return str(self.execute_script("return document.title"))

    def execute_script(self, script: str, *arguments: Any) -> Any:
        """Call a function with that body; arguments and result are JSON, a promise is waited for."""
        function = f"async (json) => JSON.stringify(await (function () {{ {script} }})(...JSON.parse(json)) ?? null)"
        answer = self._call(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[{"type": "string", "value": json.dumps(arguments)}],
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", f"the script failed: {answer['exceptionDetails']['text']}\n{script}"
        return json.loads(answer["result"]["value"])

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == number:  # others are events, and nobody subscribed to any
                assert answer["type"] == "success", f"{method} failed: {answer.get('message')}"
                return answer["result"]


@contextmanager
def firefox() -> Iterator[Firefox]:
    """A Firefox with a fresh profile."""
    binary = find_firefox()
    assert binary, "no Firefox: mark the test with needs_firefox"
    profile = Path(tempfile.mkdtemp(prefix="sse-bridge-firefox-"))
    (profile / "user.js").write_text(
        "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
    )
    command = [binary, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    try:
        # Where HOME belongs to another user, as in some containers, Firefox refuses to start.
        with Process([*command, "about:blank"], env={"HOME": str(profile)}) as process:

            def listening() -> re.Match[str] | None:
                assert process.alive, f"firefox ended with {process.exit_code}:\n{process.output}"
                return re.search(r"WebDriver BiDi listening on (ws://\S+)", process.output)

            address = wait_for(listening, 60, what="Firefox to listen")[1]
            with connect(f"{address}/session", max_size=None) as connection:
                yield Firefox(connection)
    finally:
        shutil.rmtree(profile, ignore_errors=True)
