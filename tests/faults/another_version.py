"""A process of another version of the library, which lays out its keys and records in another way, as a deploy would start it.

    python -m tests.faults.another_version URL PREFIX LAYOUT

Prints what it was told, a line of JSON per attempt: null where it worked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from sse_bridge import Bridge
from sse_bridge.backends.redis import keys, retention


class OtherKeys(keys.Keys):
    """Keys of another form, which nobody who reads ours would find."""

    def __init__(self, prefix: str, database: int) -> None:
        super().__init__(prefix, database)
        self._start = f"{prefix}:other:{database}:{{".encode()


def attempt(what: Callable[[], Any]) -> None:
    error: str | None = None
    try:
        what()
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    print(json.dumps(error), flush=True)


def main(url: str, prefix: str, layout: str) -> None:
    with (
        patch.object(retention, "LAYOUT_VERSION", layout.encode()),
        patch("sse_bridge.backends.redis.backend.Keys", OtherKeys),
        Bridge(url, prefix=prefix, replay_size=7, retention_change="update") as bridge,
    ):
        attempt(lambda: bridge.publish("faults", "of another version"))
        attempt(lambda: bridge.history("faults"))

        async def publish() -> None:
            try:
                await bridge.apublish("faults", "of another version")
            finally:
                await bridge.aclose()

        attempt(lambda: asyncio.run(publish()))


if __name__ == "__main__":
    main(*sys.argv[1:])
