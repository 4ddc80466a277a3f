"""gunicorn's configuration for --preload: nothing of the app runs in the worker's main thread but this."""

from __future__ import annotations

from sse_bridge.streams import ensure_drain_handler


def post_worker_init(worker: object) -> None:
    ensure_drain_handler()
