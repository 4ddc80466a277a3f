"""The extension: gives each app its bridge, the browser client, the command line and the mounted routes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, has_app_context, send_from_directory
from typing_extensions import Unpack

import sse_bridge
from sse_bridge import Bridge, Position
from sse_bridge.errors import ConfigurationError
from sse_bridge.streams import PushMiddleware, ensure_drain_handler

from .commands import sse_commands
from .current import EXTENSION, get_bridge, position
from .responses import Authorize, StreamOptions
from .routes import ROUTE, stream_view

CLIENT_ENDPOINT: Final = "sse_bridge_static"  # ``url_for("sse_bridge_static", filename="client.js")``
CLIENT_FOLDER: Final = Path(sse_bridge.__file__).parent / "static" / "sse_bridge"  # Django and Starlette find the same


class SSEBridge:
    """One per project; any number of apps, each with a bridge of its own.

    Args:
        app: initialised at once; else call `init_app`, once per app.
        bridge: an existing bridge for all apps, instead of one per app made from its config.
        default: whether `sse_bridge.publish` uses the app's bridge (the app initialised last wins); pass False where
            several apps with bridges of their own share a process.
        settings: settings of `sse_bridge.Settings`; they win over the app's config.
    """

    def __init__(
        self, app: Flask | None = None, *, bridge: Bridge | None = None, default: bool = True, **settings: Any
    ) -> None:
        if bridge is not None and settings:
            raise ConfigurationError(f"a bridge has its settings already; got bridge= and also {sorted(settings)!r}")
        self._bridge = bridge
        self._default = default
        self._settings = settings
        self._mounts: list[tuple[str, str, Any]] = []
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Gives `app` a bridge, gives its templates ``sse_position()``, and serves the browser client.

        The config must be complete, since later changes are ignored: a mapping ``SSE_BRIDGE = {"URL": …}``, or keys
        ``SSE_BRIDGE_URL`` …, or both (the mapping wins).

        Raises:
            ConfigurationError: an unknown setting, a value out of range, or a second call for the same app.
        """
        if EXTENSION in app.extensions:
            raise ConfigurationError(f"the app {app.name!r} has a bridge already; call init_app once per app")
        bridge = self._bridge
        if bridge is None:
            bridge = Bridge.from_settings(_settings(app), **self._settings)
        app.extensions[EXTENSION] = bridge
        app.cli.add_command(sse_commands)
        _add_client(app)
        app.add_template_global(position, "sse_position")
        app.wsgi_app = PushMiddleware(app.wsgi_app)  # type: ignore[method-assign]  # Flask's way to add one
        self._apps.add(app)
        for path, endpoint, view in self._mounts:
            app.add_url_rule(path, endpoint, view, **ROUTE)
        if self._default:
            sse_bridge.configure(bridge)
        # Workers that import the app in their main thread have set their own handlers by now. With gunicorn's --preload
        # the app is imported before, so its post_worker_init must call this too.
        ensure_drain_handler()

    def mount(
        self,
        path: str,
        *,
        authorize: Authorize | None = None,
        endpoint: str = "sse_bridge_events",
        **options: Unpack[StreamOptions],
    ) -> None:
        """Adds a route on which the client chooses the channels, to all apps of this extension, earlier and later.

        Args:
            path: as for ``app.add_url_rule``.
            authorize: decides on access; see `event_blueprint`.
            endpoint: for ``url_for``; a second mount needs another name.
            options: as for `event_stream`.

        Raises:
            ConfigurationError: no authorize hook.
        """
        view = stream_view(authorize, **options)
        self._mounts.append((path, endpoint, view))
        for app in self._apps:
            app.add_url_rule(path, endpoint, view, **ROUTE)

    @property
    def bridge(self) -> Bridge:
        """The bridge of the current app; without an app context that of the only app."""
        if self._bridge is not None:
            return self._bridge
        if not has_app_context() and len(self._apps) == 1:
            bridge: Bridge = next(iter(self._apps)).extensions[EXTENSION]
            return bridge
        return get_bridge()

    def publish(self, channel: str, data: Any = None, **options: Any) -> Position | None:
        """`Bridge.publish` on `bridge`; for sync views, threads and greenlets."""
        return self.bridge.publish(channel, data, **options)

    async def apublish(self, channel: str, data: Any = None, **options: Any) -> Position | None:
        """`Bridge.apublish` on `bridge`; for async views."""
        return await self.bridge.apublish(channel, data, **options)


def _settings(app: Flask) -> dict[str, Any]:
    own = app.config.get("SSE_BRIDGE", {})
    if not isinstance(own, Mapping):
        raise ConfigurationError(f"app.config['SSE_BRIDGE'] must be a mapping such as {{'URL': …}}, got {own!r:.100}")
    return {**app.config.get_namespace("SSE_BRIDGE_"), **{str(name).lower(): value for name, value in own.items()}}


def _add_client(app: Flask) -> None:
    """Serves client.js below the app's own static files, where proxies and caches expect it.

    A server that serves static files from the app's folder by itself needs a copy there.
    """
    below = app.static_url_path if app.static_url_path is not None else "/static"
    app.add_url_rule(f"{below}/sse_bridge/<path:filename>", CLIENT_ENDPOINT, _client_file)


def _client_file(filename: str) -> Response:
    return send_from_directory(CLIENT_FOLDER, filename)
