"""Asks the log whether every channel has ended, as a client's id says, before a WSGI server gets the status 204.

Under ASGI `streams.asgi.pushed` asks, since a pushed stream sends its status only when it opens.
"""

from __future__ import annotations

import asyncio

from ..http.response import StreamResponse
from ..lifecycle.opening import UNAVAILABLE, carry_out, until_ready
from .response import ChannelBodies


def confirm_end(response: StreamResponse) -> StreamResponse:
    """The 204 that a client's id asks for, if the logs confirm it, or the stream if a log goes on.

    Waits at most `OPENING_SECONDS` for the broker; without an answer the stream tells the client to reconnect.
    A thread that runs an event loop must not wait, so the id decides there. Any other response is returned unchanged.
    """
    stream = response.otherwise
    if stream is None or asyncio._get_running_loop() is not None:
        return response
    assert isinstance(stream.bodies, ChannelBodies)
    return response if _ended(stream.bodies) else stream


def _ended(bodies: ChannelBodies) -> bool:
    script = bodies.script
    try:
        reader = script.bridge.thread_hub().enter(script.subscribe_request, owner=bodies)
    except UNAVAILABLE:
        return False
    try:
        if carry_out(until_ready(reader, reader.wait)):
            return reader.follower.finished
        script.away = True
        return False
    finally:
        reader.close()
