"""A Flask view: `app` for gunicorn, `asgi` behind the middleware that takes its stream over."""

from flask import Flask, Response, request

from sse_bridge_asgi import flask_asgi
from sse_bridge_flask import SSEBridge, event_stream

app = Flask(__name__)
sse = SSEBridge(app)


@app.get("/")
def events() -> Response:
    return event_stream(request.args.getlist("channel"))


asgi = flask_asgi(app, sse.bridge)
