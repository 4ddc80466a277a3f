"""Signed stream tokens: a user, channels and an expiry in one string (a JWT, RFC 7519, by PyJWT).

    token = bridge.token("orders:42", user="7", expires_seconds=300)

A page sends a token as ``Authorization: Bearer``, or the server sets it as a cookie, since EventSource and WebSocket send
no headers of a page's choice. A token in the URL is accepted only with the setting ``token_in_url``. Tokens name whole
channels, never patterns, and are valid for bridges with the same prefix and secret. The algorithm is fixed, so a token with
another one (or none) is rejected.

A token grants access to every holder until it expires, so keep the time short and renew it. The stream ends with its
token, with which a new connection is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .admission.grants import Grant
from .config import Settings
from .errors import ConfigurationError, InvalidInput, NotAuthenticated, NotAuthorized
from .events import check_channel
from .redaction import ACCESS_LOGGERS, RedactTokens, redact_logs
from .streams.http.request import query_pairs
from .streams.lifecycle.bridge_protocol import BridgeProtocol

__all__ = [
    "ACCESS_LOGGERS",
    "RedactTokens",
    "redact_logs",
    "token_grant",
]

# Browsers silently drop a cookie whose name and value are longer than 4,096 bytes (RFC 6265bis, 5.6).
MAX_TOKEN_BYTES: Final = 4000
_ALGORITHM: Final = "HS256"


def make_token(settings: Settings, channels: str | Iterable[str], user: str | None, expires_seconds: float) -> str:
    """See `Bridge.token`."""
    names = (channels,) if isinstance(channels, str) else tuple(channels)
    if not names:
        raise InvalidInput("a token needs at least one channel, got none")
    names = tuple(check_channel(name) for name in names)
    if user is not None and not (isinstance(user, str) and user):
        raise InvalidInput(f"user must be a str that is not empty, or None, got {user!r:.120}")
    if (
        isinstance(expires_seconds, bool)
        or not isinstance(expires_seconds, (int, float))
        or not 0 < expires_seconds <= 10 * 365 * 86_400
    ):
        raise InvalidInput(f"expires_seconds must be positive and at most ten years, got {expires_seconds!r:.40}")
    claims: dict[str, Any] = {
        "aud": _audience(settings), "exp": math.ceil(time.time() + expires_seconds), "ch": list(dict.fromkeys(names)),
    }  # fmt: skip
    if user is not None:
        claims["sub"] = user
    token: str = _jwt().encode(claims, _secrets(settings)[0], algorithm=_ALGORITHM)
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidInput(
            f"a token of {len(token)} bytes fits no cookie, at most {MAX_TOKEN_BYTES}; name fewer channels, got {len(names)}"
        )
    return token


def token_grant(
    bridge: BridgeProtocol, headers: Mapping[str, str], query: str | Sequence[tuple[str, str]], channels: Iterable[str]
) -> Grant:
    """The grant of a request's token: the framework-neutral half of every adapter's ``by_token``.

    Args:
        bridge: the issuer of the tokens.
        headers: found by names in lower case.
        query: the query string, or its pairs.
        channels: the channels to read, all of which the token must name.

    Returns:
        A grant with the token's user and expiry.

    Raises:
        NotAuthenticated: no token, or a malformed, forged, expired or another bridge's one.
        NotAuthorized: a channel that the token does not name.
        ConfigurationError: the setting ``token_secret`` is missing.
        ImportError: PyJWT is not installed.
    """
    settings = bridge.settings
    claims = _claims(settings, _find(settings, headers, query))
    allowed, user, expires_at = claims.get("ch"), claims.get("sub"), claims["exp"]
    if not isinstance(allowed, list) or not (user is None or isinstance(user, str)):
        raise NotAuthenticated("the stream token is not one of this library's; get a new one")
    for channel in channels:
        if channel not in allowed:
            raise NotAuthorized(f"the stream token does not name the channel {channel!r:.300}")
    return Grant(user=user, expires_at=float(expires_at))


def _find(settings: Settings, headers: Mapping[str, str], query: str | Sequence[tuple[str, str]]) -> str:
    """The token in the header, else in the cookie, else in the URL."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":  # case-insensitive (RFC 9110, 11.1)
        return credentials.strip()
    cookies = set(_cookies(headers.get("cookie", ""), settings.token_cookie))
    if len(cookies) > 1:  # a neighbouring domain may set a cookie of this name, and their order is undefined
        raise NotAuthenticated(f"the cookie {settings.token_cookie!r} came twice with different values")
    if cookies:
        return cookies.pop()
    pairs = query_pairs(query) if isinstance(query, str) else query
    in_url = [value for name, value in pairs if name == "token"]
    if in_url and settings.token_in_url:
        return in_url[0]
    hint = "; one in the address is not accepted here (setting token_in_url)" if in_url else ""
    raise NotAuthenticated(f"this stream needs a token, as Authorization: Bearer or as a cookie{hint}")


def _cookies(header: str, name: str) -> list[str]:
    found = []
    for part in header.split(";"):
        key, equals, value = part.partition("=")
        if equals and key.strip() == name:
            found.append(value.strip().strip('"'))
    return found


def _claims(settings: Settings, token: str) -> dict[str, Any]:
    jwt, secrets = _jwt(), _secrets(settings)
    # The errors below never repeat the token, since their messages reach clients and logs.
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise NotAuthenticated("the stream token is malformed; get a new one")
    for secret in secrets:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=[_ALGORITHM],
                audience=_audience(settings),
                options={"require": ["exp", "aud"]},
            )
            return claims
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("the stream token has expired; get a new one") from None
        except jwt.InvalidSignatureError:
            continue  # another secret may match
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError, RecursionError):
            break
    raise NotAuthenticated("the stream token is not valid here; get a new one")


def _audience(settings: Settings) -> str:
    return f"sse_bridge:{settings.prefix}"


def _secrets(settings: Settings) -> tuple[str, ...]:
    listed = settings.token_secret
    if not isinstance(listed, tuple):
        raise ConfigurationError(
            "stream tokens need the setting token_secret, a str of at least 32 characters that stays the same in all "
            "processes, e.g. of secrets.token_urlsafe(32)"
        )
    return tuple(secret.get_secret_value() for secret in listed)


def _jwt() -> Any:
    try:
        import jwt
    except ImportError as error:
        raise ImportError("stream tokens need PyJWT: pip install 'sse-bridge[tokens]'") from error
    return jwt
