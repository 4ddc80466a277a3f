"""Checks of the Origin of WebSockets, which CORS does not cover, though browsers send the visitor's cookies."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlparse

from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator

from sse_bridge.errors import NotAuthorized
from sse_bridge.streams import MAX_ORIGIN_CHARACTERS


def check_allowed_origin(origin: str | None, allowed: Sequence[str] | None) -> None:
    """Checks an origin as Channels' own validators do, except that a client without the header, no browser, may pass.

    Args:
        origin: the header's value.
        allowed: origins or hosts, for instance ``https://.example.com``; None: ``settings.ALLOWED_HOSTS`` (and this
            machine's names under DEBUG).

    Raises:
        NotAuthorized: pages of this origin may not connect.
    """
    if origin is None:
        return
    if len(origin) > MAX_ORIGIN_CHARACTERS:
        raise NotAuthorized(f"an origin has at most {MAX_ORIGIN_CHARACTERS} characters, got {len(origin)}")
    validator = AllowedHostsOriginValidator(None) if allowed is None else OriginValidator(None, allowed)
    try:
        parts = urlparse(origin)
        _ = parts.port  # raises for a malformed port, which the validators ignore: "https://ours:443.evil.org"
        plain = (parts.scheme or not parts.netloc) and not set("@\\") & set(parts.netloc)
        if plain and validator.valid_origin(parts):
            return
    except ValueError:  # a malformed bracket or port
        pass
    rule = "ALLOWED_HOSTS" if allowed is None else f"origins={allowed!r:.200}"
    raise NotAuthorized(f"pages of the origin {origin!r:.200} may not connect here; {rule} says which may")
