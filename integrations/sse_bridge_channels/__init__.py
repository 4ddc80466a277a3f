"""Django Channels: an SSE consumer, a WebSocket consumer, and mixins that let your own consumers follow channels.

access      the hooks of both consumers
http        `EventStreamConsumer`
websocket   `EventWebSocketConsumer`
source      `SourceWebSocketConsumer`: an iterable instead of channels
origins     the origins that may open a WebSocket
follower    `ChannelFollowerMixin` and its twin for sync consumers
inbox       a consumer's messages and its events as one queue

No channel layer is needed: events travel through the bridge. Without ``bridge=…`` the consumers use the default bridge
(`sse_bridge.get_bridge`), which Django's adapter makes from ``settings.SSE_BRIDGE``.
"""

try:
    import channels as _channels  # noqa: F401  # for a clear error if missing
except ImportError as error:
    raise ImportError(
        "sse_bridge_channels needs Django Channels 4, which is not installed: pip install 'sse-bridge[channels]'"
    ) from error

from sse_bridge.token_hook import by_token

from .access import BridgeConsumer
from .follower import ChannelFollowerMixin, SyncChannelFollowerMixin
from .http import EventStreamConsumer
from .source import SourceWebSocketConsumer
from .websocket import EventWebSocketConsumer

__all__ = [
    "BridgeConsumer",
    "ChannelFollowerMixin",
    "EventStreamConsumer",
    "EventWebSocketConsumer",
    "SourceWebSocketConsumer",
    "SyncChannelFollowerMixin",
    "by_token",
]
