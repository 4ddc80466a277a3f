"""What the parts of the façade have in common: `Bridge` is put together from them, so that each stays one noun."""

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
