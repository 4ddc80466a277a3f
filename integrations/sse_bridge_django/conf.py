"""The setting ``SSE_BRIDGE``: a mapping of `sse_bridge.Settings`, names in any case, which makes the default bridge.

``manage.py check`` (see `checks`) and every use of the bridge report an invalid value; there is no fallback to another
bridge, since events published to the wrong place look like lost ones.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from django.conf import settings

from sse_bridge import Bridge, configure
from sse_bridge.errors import ConfigurationError

SETTING = "SSE_BRIDGE"

logger = logging.getLogger("sse_bridge.django")


def django_mapping() -> Mapping[str, Any]:
    """The setting's value, empty without the setting; raises `ConfigurationError` if it is no mapping."""
    value = getattr(settings, SETTING, None)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the setting {SETTING} must be a dict such as {{'URL': 'redis://localhost:6379/0'}}, got {value!r:.100}"
        )
    return value


def configure_default() -> None:
    """Makes the default bridge from the setting, if there is one. Never raises.

    A bridge opens no connection before its first use in a process, so this is safe before a fork and in the autoreloader.
    """
    if not hasattr(settings, SETTING):
        return
    try:
        configure(Bridge.from_settings(django_mapping()))
    except ConfigurationError as error:
        logger.error("invalid setting %s, every use of the bridge will raise: %s", SETTING, error)
        configure(cast(Bridge, Misconfigured(error)))


class Misconfigured:
    """A stand-in for the bridge whose every attribute raises the error in the setting.

    Raising at once would keep ``manage.py check`` from reporting the error with an id.
    """

    def __init__(self, error: ConfigurationError) -> None:
        self._message = str(error)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # copy, pickle and inspect probe for optional special methods
            raise AttributeError(name)
        raise ConfigurationError(self._message)
