"""`python -m demo_flask`: gunicorn with gevent workers, Redis, and a ticker beside them; Ctrl-C stops all.

Without a redis-server it falls back to the memory backend and one worker, and says so.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

from demo_django.services import (
    child,
    free_port,
    redis_program,
    redis_server,
    wait_for_any,
    wait_until_listening,
    welcome,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_flask", description="The demo of sse_bridge on Flask.")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets your phone in (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8001, help="another free one is taken if it is in use (%(default)s)"
    )
    parser.add_argument("--memory", action="store_true", help="do without Redis")
    options = parser.parse_args()
    port = free_port(options.host, options.port)
    program = None if options.memory else redis_program()
    workers = 2 if program else 1
    gunicorn = [sys.executable, "-m", "gunicorn", "demo_flask.app:create_app()", "--worker-class=gevent",
                f"--workers={workers}", f"--bind={options.host}:{port}", "--graceful-timeout=3", "--log-level=warning"]  # fmt: skip
    with ExitStack() as stack:
        if program:
            os.environ["SSE_BRIDGE_URL"] = url = stack.enter_context(redis_server(program))
            lines = [
                f"Redis at {url}, two gevent workers, and a ticker in a process of its own. Ctrl-C stops them all."
            ]
            processes = [stack.enter_context(child([sys.executable, "-m", "demo_flask.ticker"]))]
        else:
            os.environ.update(SSE_BRIDGE_URL="memory://", DEMO_TICKER="inside")
            why = "as you asked" if options.memory else "since no redis-server was found"
            lines = [f"Memory backend and one gevent worker, {why}. Ctrl-C stops it."]
            processes = []
        web = stack.enter_context(child(gunicorn))
        wait_until_listening(options.host, port, web)
        welcome(options.host, port, lines)
        wait_for_any([*processes, web])


if __name__ == "__main__":
    main()
