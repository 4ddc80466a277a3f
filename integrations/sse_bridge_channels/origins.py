"""Which pages may open a WebSocket: CORS does not cover WebSockets, and the visitor's cookies come along."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlparse

from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator

from sse_bridge.errors import NotAuthorized


def check_allowed_origin(origin: str | None, allowed: Sequence[str] | None) -> None:
    """Judges as Channels' own validators do, except that a client without an Origin header is no browser and may pass.

    Args:
        origin: the header's value.
        allowed: origins or hosts, for instance ``https://.example.com``; None: ``settings.ALLOWED_HOSTS`` (and this
            machine's names under DEBUG).

    Raises:
        NotAuthorized: pages of this origin may not connect.
    """
    if origin is None:
        return
    validator = AllowedHostsOriginValidator(None) if allowed is None else OriginValidator(None, allowed)
    try:
        parts = urlparse(origin)
        _ = parts.port  # raises for what is none, at which the validators do not look: "https://ours:443.evil.org"
        plain = (parts.scheme or not parts.netloc) and not set("@\\") & set(parts.netloc)
        if plain and validator.valid_origin(parts):
            return
    except ValueError:  # a bracket or a port that is none
        pass
    rule = "ALLOWED_HOSTS" if allowed is None else f"origins={allowed!r:.200}"
    raise NotAuthorized(f"pages of the origin {origin!r:.200} may not connect here; {rule} says which may")
