"""The pages that may open a WebSocket here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from ...errors import NotAuthorized

MAX_ORIGIN_CHARACTERS: Final = 4096  # a name has 253 (RFC 1035, 3.1); `urlsplit` may take quadratic time for Unicode


def check_origin(headers: Mapping[str, str], allowed: str | Iterable[str] = ()) -> None:
    """Keeps pages of other sites from opening a WebSocket with the visitor's cookies; CORS does not cover WebSockets.

    A request without an Origin header is no browser's. The same origin is judged by host and port, since a proxy may
    change the scheme that the server sees.

    Args:
        headers: found by names in lower case.
        allowed: origins such as ``https://app.example.com`` besides the same origin, or one; ``"*"`` allows every one.

    Raises:
        NotAuthorized: the origin is another one.
    """
    origin = headers.get("origin")
    if origin is None:
        return
    known = {entry.rstrip("/").lower() for entry in ((allowed,) if isinstance(allowed, str) else allowed)}
    if "*" in known or origin.lower() in known:
        return
    host = headers.get("host", "")
    try:
        if max(len(origin), len(host)) > MAX_ORIGIN_CHARACTERS:
            raise ValueError("longer than any origin")
        parts = urlsplit(origin)
        own = urlsplit(f"//{host}")
        default = {"https": 443, "http": 80}.get(parts.scheme)
        # A Host without a port means the default port of the page's scheme.
        same = default is not None and bool(parts.hostname) and parts.hostname == own.hostname
        if same and (parts.port or default) == (own.port or default):
            return
    except ValueError:  # not a netloc: too long, a bracket, a port that is no number
        pass
    raise NotAuthorized(f"pages of the origin {origin!r:.200} may not connect to {host!r:.200}; allow it by its name")
