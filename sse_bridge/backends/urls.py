"""From a URL to a backend; the redis package is imported only when one of its schemes is used."""

from __future__ import annotations

from ..config import Settings
from ..errors import ConfigurationError
from .base import Backend
from .memory import MemoryBackend

_REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def make_backend(settings: Settings) -> Backend:
    """The backend for ``settings.url``; raises `ConfigurationError` for an unknown scheme or a missing package."""
    scheme = settings.url.partition("://")[0].lower()
    if scheme == "memory":
        return MemoryBackend(settings)
    if scheme in _REDIS_SCHEMES:
        try:
            from .redis import RedisBackend
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "redis":
                raise
            raise ConfigurationError(f"{scheme}:// needs the redis package: pip install 'sse-bridge[redis]'") from error
        return RedisBackend(settings)
    raise ConfigurationError(
        f"url must begin with memory://, redis://, rediss://, redis+sentinel:// or redis+cluster://, got {scheme!r:.40}"
    )
