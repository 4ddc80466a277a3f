"""The protocol of the bridge that streams use; streams import nothing higher than hubs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from ...config import Settings
from ...follow.subscribe_request import SubscribeRequest
from ...hub.loop import LoopHub
from ...hub.threads import ThreadHub
from .registry import Registry


class BridgeProtocol(Protocol):
    """The part of a `Bridge` that streams use."""

    @property
    def closed(self) -> bool: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def streams(self) -> Registry: ...

    def loop_hub(self) -> LoopHub: ...

    def thread_hub(self) -> ThreadHub: ...

    def revoked(self, user: str | None, channels: tuple[str, ...]) -> bool:
        """Whether this process knows that a stream is revoked; no round trip is made."""

    def subscribe_request(self, channels: str | Iterable[str], **options: Any) -> SubscribeRequest: ...
