"""sse_bridge for Flask: event streams as responses, publishing from views, a command line.

    app = Flask(__name__)
    sse = SSEBridge(app)

    @app.get("/events")
    def events():
        return event_stream("orders:42")

    @app.post("/pay")
    def pay():
        sse.publish("orders:42", {"status": "paid"}, type="order.paid")
        return "", 204

extension   gives an app its bridge, from its config, and serves client.js
current     the bridge of an app, from its config
responses   a stream as the return value of a view
routes      routes where the client chooses the channels
tokens      signed stream tokens as the authorize hook
commands    flask sse publish, flask sse tail
"""

try:
    import flask as _flask  # noqa: F401
except ImportError as error:
    raise ImportError("sse_bridge_flask needs Flask 3.0 or later: pip install 'sse-bridge[flask]'") from error

from .current import apublish, get_bridge, publish
from .extension import SSEBridge
from .responses import aevent_stream, event_stream
from .routes import event_blueprint
from .tokens import by_token

__all__ = [
    "SSEBridge",
    "aevent_stream",
    "apublish",
    "by_token",
    "event_blueprint",
    "event_stream",
    "get_bridge",
    "publish",
]
