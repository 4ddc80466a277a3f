"""`SSEBridgeMiddleware`: around any ASGI app, Django's and Flask's included.

The middleware serves channels that the client names at `path`, over SSE and WebSocket; elsewhere it passes requests
through and takes over the streams that views offer. Lifespan events pass through.
"""

from __future__ import annotations

from typing import Any

from sse_bridge import Bridge
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import ensure_drain_handler

from .app import EventStreamApp
from .handoff import serve_with_handoff
from .types import ASGIApp, Authorize, Receive, Scope, Send


class SSEBridgeMiddleware:
    """Adds streams to an ASGI app; see the module.

    Args:
        app: the app inside.
        bridge: the channels' bridge; None: the default one.
        path: the path of channels, with or without a slash at the end; None: only the hand-off.
        authorize: decides on access at `path`; required unless `path` is None or `channels` is given.
        options: as for `EventStreamApp`.

    Raises:
        ConfigurationError: a `path` without `authorize`.
    """

    def __init__(
        self,
        app: ASGIApp,
        bridge: Bridge | None = None,
        path: str | None = "/events/",
        authorize: Authorize | None = None,
        **options: Any,
    ) -> None:
        if path is not None and not path.startswith("/"):
            raise ConfigurationError(f"path must begin with a slash or be None, got {path!r:.100}")
        if path is None and (authorize is not None or options):
            raise ConfigurationError("path=None serves the hand-off only; authorize= and other options need a path")
        self._app = app
        self._path = None if path is None else path.rstrip("/")
        self._streams = None if path is None else EventStreamApp(bridge, authorize=authorize, **options)
        ensure_drain_handler()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            if self._streams is not None and _path(scope).rstrip("/") == self._path:
                await self._streams(scope, receive, send)
                return
            if scope["type"] == "http":
                await serve_with_handoff(self._app, scope, receive, send)
                return
        elif scope["type"] == "lifespan":
            ensure_drain_handler()  # after the server has installed its own handlers
        await self._app(scope, receive, send)


def _path(scope: Scope) -> str:
    """The path below the app's root; servers disagree on whether ``path`` contains ``root_path``."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path
