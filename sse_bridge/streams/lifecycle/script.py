"""The base of all streams' scripts: the user, the deadlines and the ending of one stream; without I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...admission.admissions import Refused
from ...wire import Format
from .bridge_protocol import BridgeProtocol
from .deadlines import Deadlines, Reason
from .ending import IncompleteStream, answer, last_frame

if TYPE_CHECKING:
    from ...errors import SSEBridgeError


class Script:
    """See the module; for the thread that serves the stream, except `deadlines.end_at`, which is thread-safe.

    Args:
        bridge: settings, hubs and registry.
        format: of the frames.
        expires_at: the end of the credentials (`time.monotonic`); None: never.
        user: the stream's user for limits and revocations; None: none.

    Attributes:
        deadlines: of heartbeats and of the end.
        incomplete: why the connection must be cut, in a format that cannot say that something is missing.
    """

    __slots__ = ("_expires_at", "_settings", "bridge", "deadlines", "incomplete", "user", "wire")

    def __init__(self, bridge: BridgeProtocol, format: Format, expires_at: float | None, user: str | None) -> None:
        self.bridge = bridge
        self.user = user
        self.wire = format
        self.deadlines = Deadlines(bridge.settings)
        self.incomplete: str | None = None
        self._settings = bridge.settings
        self._expires_at = expires_at

    def refusal(self, reason: Refused) -> SSEBridgeError | None:
        """The error that answers a stream that may not open while its status is unsent; None: 200 and `refuse`."""
        return answer(reason, self._settings, has_last_frame=True)

    def refuse(self, reason: Refused) -> bytes:
        """The only frame of a stream that may not open, behind a status of 200; may set `incomplete`."""
        return self.goodbye(reason)

    def goodbye(self, reason: Reason, replaced_id: bytes | None = None) -> bytes:
        """The frame with the reason of the end, or nothing and `incomplete`; see `last_frame`."""
        if self.wire.cuts:
            self.incomplete, replaced_id = reason, None
        return last_frame(self.wire, reason, self._settings, replaced_id)

    def check_complete(self) -> None:
        """Raises `IncompleteStream` where the end of the body must not look like one, however often it is asked for."""
        if self.incomplete is not None:
            raise IncompleteStream(self.incomplete)

    def next_due(self) -> float:
        """The next deadline, to call `pull` again if nothing happens before."""
        return self.deadlines.next()

    def given_up_at(self) -> float:
        """The moment at which a write that the client does not take is given up."""
        return self.deadlines.given_up_at()
