"""A Flask app that streams."""

from __future__ import annotations

from flask import Flask, Response, request

from sse_bridge_flask import SSEBridge, event_stream

app = Flask(__name__)
SSEBridge(app)


@app.get("/events")
def events() -> Response:
    return event_stream(request.args.getlist("channel"))
