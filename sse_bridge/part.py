"""The base of the façade's parts, from which `Bridge` is composed, so that each file stays one noun."""

from __future__ import annotations

from .backends.base import Backend
from .config import Settings


class Part:
    """Methods of `Bridge`, which brings what is declared here."""

    settings: Settings
    backend: Backend

    def _check_sync(self, name: str) -> None:
        """Raises `AsyncContextError` on a thread that runs an event loop, and what `_check_open` raises."""
        raise NotImplementedError

    def _check_open(self) -> None:
        """Raises `BridgeClosed`."""
        raise NotImplementedError
