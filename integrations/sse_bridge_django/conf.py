"""The setting ``SSE_BRIDGE``: a mapping of `sse_bridge.Settings`, names in any case, which makes the default bridge.

A value that cannot work is told by ``manage.py check`` (see `checks`) and by every use of the bridge, never by falling
back to another one: events that go to the wrong place look like events that were lost.
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
    """The setting's value; empty where there is none.

    Raises:
        ConfigurationError: it is no mapping.
    """
    value = getattr(settings, SETTING, None)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"the setting {SETTING} must be a dict such as {{'URL': 'redis://localhost:6379/0'}}, got {value!r:.100}"
        )
    return value


def configure_default() -> None:
    """Makes the default bridge from the setting; leaves it alone where there is no setting. Never raises.

    A bridge opens nothing before its first use in a process, so this is safe before a fork and in the autoreloader.
    """
    if not hasattr(settings, SETTING):
        return
    try:
        configure(Bridge.from_settings(django_mapping()))
    except ConfigurationError as error:
        logger.error("the setting %s cannot work, nothing will be published or streamed: %s", SETTING, error)
        configure(cast(Bridge, Misconfigured(error)))


class Misconfigured:
    """Stands where the bridge would: whatever is asked of it raises what is wrong with the setting.

    Raising at once instead would keep ``manage.py check`` from saying it with an id.
    """

    def __init__(self, error: ConfigurationError) -> None:
        self._message = str(error)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # copy, pickle, inspect and others ask for what nobody has
            raise AttributeError(name)
        raise ConfigurationError(self._message)
