"""How the demo is put together; what a project of yours needs is the middle line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_django.settings")
django_app: Any = ASGIStaticFilesHandler(get_asgi_application())

from sse_bridge_asgi import SSEBridgeMiddleware  # noqa: E402 - the bridge is configured once Django is set up

from .meter import Meter  # noqa: E402
from .orders import ORDERS  # noqa: E402
from .scissors import Scissors  # noqa: E402


async def authorize(scope: Mapping[str, Any], channels: tuple[str, ...]) -> bool:
    """On /live/ the client chooses the channels; everybody may follow the orders, and nothing else."""
    return set(channels) == {ORDERS}


# Streams of sync views are served by the middleware, so they hold no thread; and it speaks WebSocket at /live/.
bridged = SSEBridgeMiddleware(django_app, path="/live/", authorize=authorize)
application = Scissors(Meter(bridged))
