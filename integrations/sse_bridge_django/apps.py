"""The app: gives the process its default bridge, its checks and its drain."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed

from sse_bridge.streams import ensure_drain_handler

from . import checks
from .conf import SETTING, configure_default, logger
from .servers import program_name, seen_server


class SSEBridgeConfig(AppConfig):
    """``INSTALLED_APPS = ["sse_bridge_django"]``."""

    name = "sse_bridge_django"
    label = "sse_bridge"
    verbose_name = "sse_bridge"

    def ready(self) -> None:
        configure_default()
        setting_changed.connect(_setting_changed, dispatch_uid="sse_bridge_django")
        checks.register()
        if program_name(sys.argv) in ("manage.py", "django-admin", "django"):
            return  # a management command keeps its signals, so that Ctrl-C ends runserver at once
        ensure_drain_handler()  # signal handlers need the main thread, which serves no stream in gunicorn's gthread worker
        if seen_server(sys.argv, os.environ).program is not None:
            # servers run no system checks, so the log tells the people who deploy
            for message in checks.check_server(None):
                logger.warning("%s (%s) %s", message.msg, message.id, message.hint)


def _setting_changed(*, setting: str, **others: Any) -> None:
    """Remakes the default bridge when a test overrides the setting."""
    if setting == SETTING:
        configure_default()
