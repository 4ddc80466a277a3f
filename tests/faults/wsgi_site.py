"""The WSGI site of the fault tests: /events/?channel=…, /counts; its bridge is configured by SSE_BRIDGE_*."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

from sse_bridge_flask import SSEBridge, event_stream
from tests.faults.counting import counts

app = Flask(__name__)
sse = SSEBridge(app)


@app.get("/events/")
def events() -> Response:
    return event_stream(request.args["channel"])


@app.get("/counts")
def count() -> Response:
    response = jsonify(counts(sse.bridge))
    response.headers["Connection"] = "close"
    return response
