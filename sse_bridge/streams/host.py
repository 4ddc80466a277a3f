"""What a stream needs of the bridge above it; streams import nothing higher than hubs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ..config import Settings
from ..follow.wish import Wish
from ..hub.loop import LoopHub
from ..hub.threads import ThreadHub
from .registry import Registry


class Host(Protocol):
    """A `Bridge`, seen from below."""

    @property
    def settings(self) -> Settings: ...

    @property
    def streams(self) -> Registry: ...

    def loop_hub(self) -> LoopHub: ...

    def thread_hub(self) -> ThreadHub: ...

    def revoked(self, user: str | None, channels: tuple[str, ...]) -> bool:
        """Whether a stream is known to be revoked; without a round trip, so False where nobody knows."""

    def wish(self, channels: str | Iterable[str], **options: Any) -> Wish: ...
