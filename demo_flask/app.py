"""The Flask app: a page, one event stream over two channels, and a generator as a stream."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, render_template, request

import demo_django
from demo_django import agent
from sse_bridge_flask import SSEBridge, event_stream

from .sources import JOBS, TICKER, tick, work

TOKEN_SECONDS = 0.04


def create_app() -> Flask:
    """An app with a bridge from ``SSE_BRIDGE_URL``; on the memory backend it makes its own prices."""
    app = Flask(__name__)
    sse = SSEBridge(app, retry_min_ms=1500, retry_max_ms=2500)
    shared = Path(demo_django.__file__).parent / "static" / "demo"
    app.register_blueprint(Blueprint("shared", __name__, static_folder=shared, static_url_path="/shared"))
    app.add_url_rule("/", view_func=page)
    app.add_url_rule("/events", view_func=events)
    app.add_url_rule("/ask", view_func=ask, methods=["POST"])

    @app.post("/jobs")
    def start_job() -> tuple[str, int]:
        request.get_json()  # a form of another site cannot send JSON, so it cannot start jobs
        threading.Thread(target=work, args=(sse.bridge, secrets.token_hex(3)), daemon=True).start()
        return "", 204

    if os.environ.get("DEMO_TICKER") == "inside":
        threading.Thread(target=tick, args=(sse.bridge,), daemon=True).start()
    return app


def page() -> str:
    return render_template("live.html", backend=os.environ.get("SSE_BRIDGE_URL", "memory://"), pid=os.getpid())


def events() -> Response:
    """The ticker and the jobs on one connection; a new reader gets the last of each, so its page is never empty."""
    return event_stream([TICKER, JOBS], last=60)


def ask() -> Response:
    """A generator as a response: simple, and it ends with its request. `demo_django` shows a run that goes on."""
    question = str(request.get_json().get("question", ""))[:500]
    return event_stream(_answer(question))


def _answer(question: str) -> Iterator[dict[str, Any]]:
    for type, data in agent.run(question):
        yield {"event": type, "data": data}
        if type == "token":
            time.sleep(TOKEN_SECONDS)
