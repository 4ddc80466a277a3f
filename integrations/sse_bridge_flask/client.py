"""The browser client as a static file: ``url_for("sse_bridge_static", filename="client.js")``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Flask, Response, send_from_directory

import sse_bridge

ENDPOINT: Final = "sse_bridge_static"
FOLDER: Final = Path(sse_bridge.__file__).parent / "static" / "sse_bridge"  # Django and Starlette find the same files


def add_client(app: Flask) -> None:
    """Serves the client below the app's own static files, where proxies and caches expect it.

    A server that serves static files from the app's folder by itself needs a copy there.
    """
    below = app.static_url_path if app.static_url_path is not None else "/static"
    app.add_url_rule(f"{below}/sse_bridge/<path:filename>", ENDPOINT, _file)


def _file(filename: str) -> Response:
    return send_from_directory(FOLDER, filename)
