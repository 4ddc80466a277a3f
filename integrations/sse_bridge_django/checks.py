"""System checks of the setting and the server, run by ``manage.py check``.

    sse_bridge.E001  an unknown name in SSE_BRIDGE, with the nearest known one
    sse_bridge.E002  a value that cannot work: a bad URL, a number out of range, an extra that is not installed
    sse_bridge.W001  the memory backend with several workers
    sse_bridge.W002  the memory backend in production (with --deploy)
    sse_bridge.W003  gunicorn's sync worker
    sse_bridge.I001  GZipMiddleware: harmless to `event_stream`, harmful to other streams (with --deploy)

W001 and W003 depend on command lines and environment variables alone (see `servers`). Servers run no checks, so under a
recognised server the app logs these two at start.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from sse_bridge import Bridge, Settings
from sse_bridge.errors import ConfigurationError

from .conf import SETTING, django_mapping
from .servers import seen_server

Apps = Sequence[AppConfig] | None

TAG = "sse_bridge"
MEMORY_HINT = f"Use Redis: {SETTING} = {{'URL': 'redis://…'}}; with the memory backend a reader sees only what its own process publishes."


def register() -> None:
    """Registers the checks; called once, when the app is ready."""
    for check in (check_setting, check_server):
        checks.register(check, TAG)
    for check in (check_memory, check_middleware):
        checks.register(check, TAG, deploy=True)


def check_setting(app_configs: Apps, **options: Any) -> list[CheckMessage]:
    """E001 and E002."""
    try:
        mapping = django_mapping()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="sse_bridge.E002")]
    found: list[CheckMessage] = []
    known = {}
    for name, value in mapping.items():
        if str(name).lower() in Settings.model_fields:
            known[name] = value
            continue
        try:
            Settings.load({name: value})
        except ConfigurationError as error:
            found.append(checks.Error(str(error), hint=f"See the setting {SETTING}.", id="sse_bridge.E001"))
    try:
        Bridge.from_settings(known)
    except ConfigurationError as error:
        found.append(checks.Error(str(error), hint=f"See the setting {SETTING}.", id="sse_bridge.E002"))
    return found


def check_server(app_configs: Apps, **options: Any) -> list[CheckMessage]:
    """W001 and W003."""
    server = seen_server(sys.argv, os.environ)
    found: list[CheckMessage] = []
    if server.workers is not None and server.workers > 1 and _uses_memory():
        found.append(
            checks.Warning(
                f"The memory backend lives in one process, but the server runs {server.workers} workers.",
                hint=MEMORY_HINT,
                id="sse_bridge.W001",
            )
        )
    if server.worker_class == "sync":
        found.append(
            checks.Warning(
                "A sync worker of gunicorn serves one stream and nothing else, and is killed after --timeout.",
                hint="Use --worker-class gthread --threads N, gevent, or an ASGI server.",
                id="sse_bridge.W003",
            )
        )
    return found


def check_memory(app_configs: Apps, **options: Any) -> list[CheckMessage]:
    """W002; with --deploy only, since the number of processes is rarely known here."""
    if not _uses_memory():
        return []
    text = "The memory backend lives in one process and ends with it: other workers, Celery and commands are not seen."
    return [checks.Warning(text, hint=MEMORY_HINT, id="sse_bridge.W002")]


def check_middleware(app_configs: Apps, **options: Any) -> list[CheckMessage]:
    """I001; with --deploy only, since every command would print it otherwise."""
    if "django.middleware.gzip.GZipMiddleware" not in settings.MIDDLEWARE:
        return []
    return [
        checks.Info(
            "GZipMiddleware holds back the small pieces of a stream until a block is full.",
            hint="event_stream() opts out of it; set 'Content-Encoding: identity' on a StreamingHttpResponse of your own.",
            id="sse_bridge.I001",
        )
    ]


def _uses_memory() -> bool:
    try:
        return Settings.load(django_mapping()).url.startswith("memory:")
    except ConfigurationError:
        return False  # E001 or E002 reports the error
