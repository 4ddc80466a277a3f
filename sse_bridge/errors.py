"""Every error this library raises on purpose; each knows the HTTP status that an adapter answers with.

    SSEBridgeError                      500
    ├── ConfigurationError              500   a setting, a URL or a version that cannot work
    ├── InvalidInput (ValueError)       400   what the caller handed over breaks a rule
    │   ├── InvalidChannel              400
    │   ├── InvalidEventType            400
    │   ├── InvalidData                 400   not JSON-encodable, or text that no frame may carry
    │   ├── InvalidPosition             400   an id that is not one of ours, where a gap cannot tell it
    │   ├── TooManyChannels             400
    │   └── EventTooLarge               413
    ├── AsyncContextError               500   a sync call on a thread that runs an event loop
    ├── PolicyNotSupported              500   a slow-reader policy that this backend cannot keep
    ├── ChannelClosed                   409   publishing after the end was stored
    ├── NotAuthenticated                401
    ├── NotAuthorized                   403
    ├── NotAcceptable                   406   no wire format that the client accepts is offered here
    ├── TooManyStreams                  429
    ├── SlowReader                      503   policy "disconnect": the reader fell too far behind
    ├── BridgeClosed                    503   used after close()
    └── BackendError                    503
        ├── BackendUnavailable          503   nothing was published; try again later
        ├── PublishUncertain            503   it may or may not have been published
        ├── PublishBlocked              503   policy "block": a reader did not make room in time
        └── ForeignRecord               503   bytes in the log that this library did not write

Messages say what was expected, the ``repr`` of what came, and what to do.
"""

from __future__ import annotations

__all__ = [
    "AsyncContextError",
    "BackendError",
    "BackendUnavailable",
    "BridgeClosed",
    "ChannelClosed",
    "ConfigurationError",
    "EventTooLarge",
    "ForeignRecord",
    "InvalidChannel",
    "InvalidData",
    "InvalidEventType",
    "InvalidInput",
    "InvalidPosition",
    "NotAcceptable",
    "NotAuthenticated",
    "NotAuthorized",
    "PolicyNotSupported",
    "PublishBlocked",
    "PublishUncertain",
    "SSEBridgeError",
    "SlowReader",
    "TooManyChannels",
    "TooManyStreams",
]


class SSEBridgeError(Exception):
    """The root: catch it to catch everything this library raises on purpose."""

    http_status: int = 500


class ConfigurationError(SSEBridgeError):
    """A setting, a URL or a stored version with which the bridge cannot work."""


class InvalidInput(SSEBridgeError, ValueError):
    """The caller handed over something that breaks a documented rule; nothing was done."""

    http_status = 400


class InvalidChannel(InvalidInput):
    """A channel name outside ``[A-Za-z0-9][A-Za-z0-9_.:@-]{0,199}``."""


class InvalidEventType(InvalidInput):
    """An event type outside the rule of channel names, or one of the reserved names."""


class InvalidData(InvalidInput):
    """Data that cannot be encoded as JSON, or text that is not valid Unicode."""


class InvalidPosition(InvalidInput):
    """An ``after=`` that is neither an id of this library nor a start word."""


class TooManyChannels(InvalidInput):
    """More channels on one stream than ``max_channels``."""


class EventTooLarge(InvalidInput):
    """Encoded data longer than ``max_event_bytes``."""

    http_status = 413


class AsyncContextError(SSEBridgeError):
    """A sync method was called on a thread that runs an event loop; the message names the async twin."""


class PolicyNotSupported(SSEBridgeError):
    """A slow-reader policy that this backend cannot keep (``block`` across processes)."""


class ChannelClosed(SSEBridgeError):
    """The channel's end is stored; nothing can be appended any more."""

    http_status = 409


class NotAuthenticated(SSEBridgeError):
    """The request carries no valid credentials."""

    http_status = 401


class NotAuthorized(SSEBridgeError):
    """The credentials do not allow these channels."""

    http_status = 403


class NotAcceptable(SSEBridgeError):
    """The client asked for a format, by name or by its Accept header, that this stream does not offer."""

    http_status = 406


class TooManyStreams(SSEBridgeError):
    """A limit on concurrent streams was reached.

    Attributes:
        retry_after_seconds: what the ``Retry-After`` header says.
    """

    http_status = 429

    def __init__(self, message: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SlowReader(SSEBridgeError):
    """Policy ``disconnect``: this reader fell more than ``queue_size`` entries behind."""

    http_status = 503


class BridgeClosed(SSEBridgeError):
    """The bridge was used after ``close()``."""

    http_status = 503


class BackendError(SSEBridgeError):
    """The broker could not do what was asked.

    Attributes:
        permanent: no retry will change it before somebody changes a password, an access rule, a certificate or the URL.
    """

    http_status = 503

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class BackendUnavailable(BackendError):
    """The broker could not be reached before the deadline; nothing was published."""


class PublishUncertain(BackendError):
    """The connection broke after the event was sent, and the log cannot prove whether it was stored.

    Attributes:
        unknown_since: `time.monotonic` of the first attempt whose fate is unknown; None where another attempt could prove
            no more than this one did.
    """

    def __init__(self, message: str, *, unknown_since: float | None = None) -> None:
        super().__init__(message)
        self.unknown_since = unknown_since


class PublishBlocked(BackendError):
    """Policy ``block``: a reader did not make room before the deadline; nothing was published."""


class ForeignRecord(BackendError):
    """Bytes in the log that are not a record of this version; readers turn it into a gap."""
