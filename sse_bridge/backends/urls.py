"""From a URL to a backend; the redis package is imported only when one of its schemes is used."""

from __future__ import annotations

import select

from ..config import Settings
from ..errors import ConfigurationError
from .base import Backend
from .memory import MemoryBackend

_REDIS_SERVERS = ("redis", "rediss", "valkey", "valkeys", "unix")  # backends/redis/urls.py parses the part behind a +


def make_backend(settings: Settings) -> Backend:
    """The backend for ``settings.url``; raises `ConfigurationError` for an unknown scheme or a missing package."""
    scheme = settings.url.strip().partition("://")[0].lower()
    if scheme == "memory":
        return MemoryBackend(settings)
    if scheme.partition("+")[0] in _REDIS_SERVERS:
        if not hasattr(select, "poll"):
            raise ConfigurationError(
                f"{scheme}:// needs select.poll, which this platform (Windows) or a monkey patch (eventlet's) has taken "
                "away; memory:// works here"
            )
        try:
            from .redis import RedisBackend
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "redis":
                raise
            raise ConfigurationError(f"{scheme}:// needs the redis package: pip install 'sse-bridge[redis]'") from error
        return RedisBackend(settings)
    raise ConfigurationError(
        f"url must begin with memory://, redis://, rediss://, redis+sentinel://, redis+cluster://, valkey:// or unix://, "
        f"got {scheme!r:.40}"
    )
