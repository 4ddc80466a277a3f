"""Flask-SSE under gunicorn's gevent worker: one Redis connection per reader."""

import os

from flask import Flask
from flask_sse import sse

app = Flask(__name__)
# redis-py's pools hold 100 connections unless they are told otherwise
app.config["REDIS_URL"] = os.environ["BENCH_REDIS"] + "?max_connections=20000"
app.register_blueprint(sse, url_prefix="/events")
