"""The same Flask app on ASGI: `app` behind the middleware, `bare` behind asgiref's adapter alone."""

from __future__ import annotations

from asgiref.wsgi import WsgiToAsgi

from sse_bridge_asgi import flask_asgi
from tests.flask_app.app import app as flask_app
from tests.flask_app.app import sse

app = flask_asgi(flask_app, sse.bridge)
bare = WsgiToAsgi(flask_app)
