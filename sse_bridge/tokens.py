"""Signed stream tokens: who may read which channels until when, in one string (a JWT, RFC 7519, by PyJWT).

    token = bridge.token("orders:42", user="7", expires_seconds=300)

A page sends it as ``Authorization: Bearer``, or the server sets it as a cookie, since EventSource and WebSocket send no
headers of a page's choice. In the address it is taken only where the setting ``token_in_url`` says so. It names whole
channels, never patterns, and belongs to the bridges with the same prefix and secret. The algorithm is fixed, so a token
that brings another one (or none) is forged.

Whoever holds a token can read until it expires: keep the time short and renew it. The stream ends when its token does,
and what connects again with it is refused.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from typing_extensions import override

from .config import Settings
from .errors import ConfigurationError, InvalidInput, NotAuthenticated, NotAuthorized
from .events import check_channel
from .streams.host import Host
from .streams.request import query_pairs
from .streams.response import Grant

__all__ = [
    "ACCESS_LOGGERS",
    "RedactTokens",
    "redact_logs",
    "token_grant",
]

# Browsers drop a cookie whose name and value are longer than 4,096 bytes (RFC 6265bis, 5.6), in silence.
MAX_TOKEN_BYTES: Final = 4000
_ALGORITHM: Final = "HS256"

# Where servers and frameworks write down addresses: uvicorn tells those of WebSockets to its error logger.
ACCESS_LOGGERS: Final = (
    "uvicorn.access",
    "uvicorn.error",
    "gunicorn.access",
    "hypercorn.access",
    "daphne.server",
    "django.request",
    "django.server",
    "django.channels.server",
    "werkzeug",
)


def make_token(settings: Settings, channels: str | Iterable[str], user: str | None, expires_seconds: float) -> str:
    """See `Bridge.token`."""
    names = (channels,) if isinstance(channels, str) else tuple(channels)
    if not names:
        raise InvalidInput("a token needs at least one channel, got none")
    for name in names:
        check_channel(name)
    if user is not None and not (isinstance(user, str) and user):
        raise InvalidInput(f"user must be a str that is not empty, or None, got {user!r:.120}")
    if not isinstance(expires_seconds, (int, float)) or not 0 < expires_seconds <= 10 * 365 * 86_400:
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
    bridge: Host, headers: Mapping[str, str], query: str | Sequence[tuple[str, str]], channels: Iterable[str]
) -> Grant:
    """What the token of a request allows: the neutral half of every adapter's ``by_token``.

    Args:
        bridge: whose tokens.
        headers: names in lower case.
        query: the query string, or its pairs.
        channels: what the request wants to read; all of them must stand in the token.

    Returns:
        A grant with the token's user and expiry.

    Raises:
        NotAuthenticated: no token, or one that is malformed, forged, expired, or another bridge's.
        NotAuthorized: a channel that the token does not name.
        ConfigurationError: the setting ``token_secret`` is missing.
        ImportError: PyJWT is.
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


class RedactTokens(logging.Filter):
    """Takes stream tokens out of log records, for loggers and handlers that write down addresses.

    It knows them by their form, wherever they stand, and by the parameter's name; it keeps the record's arguments in the
    shape that access formatters (uvicorn's, gunicorn's) unpack. Every record passes.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = redact(record.msg)
        if isinstance(record.args, MutableMapping):  # gunicorn's atoms
            for name, value in list(record.args.items()):
                if isinstance(value, str):
                    record.args[name] = redact(value)
        elif isinstance(record.args, tuple):
            record.args = tuple([_clean(value) for value in record.args])
        return True


def _clean(value: Any) -> Any:
    """An argument without tokens: objects too, for servers log requests and connections that show their address."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (int, float, type(None))):
        return value
    try:
        text, shown = str(value), repr(value)
    except Exception:  # noqa: BLE001  # logging meets the same, and says so
        return value
    if redact(text) == text and redact(shown) == shown:
        return value
    return redact(text)


def redact_logs(*loggers: str) -> None:
    """Puts a `RedactTokens` on loggers, by default on `ACCESS_LOGGERS`; once each. Call it where the app is made.

    A logger's filter does not see the records of its children: name those too. daphne writes its access log past `logging`,
    where no filter reaches it: switch it off (``daphne --verbosity 0``).
    """
    for name in loggers or ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, RedactTokens) for known in logger.filters):
            logger.addFilter(RedactTokens())


# The header of a JWT is a JSON object, so its base64 begins with eyJ; a parameter's value ends where the next one begins.
_TOKEN: Final = re.compile(r"eyJ[\w-]+(?:\.|%2[eE])[\w-]+(?:\.|%2[eE])[\w-]*|(?<![\w-])token=[^&\s\"'#;]+")


def redact(text: str) -> str:
    """`text` without stream tokens."""
    return _TOKEN.sub(lambda match: "token=[redacted]" if match[0].startswith("token=") else "[redacted]", text)


def _find(settings: Settings, headers: Mapping[str, str], query: str | Sequence[tuple[str, str]]) -> str:
    """The token of a request: the header's, else the cookie's, else the address's."""
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":  # RFC 9110, 11.1: in any case
        return credentials.strip()
    cookies = set(_cookies(headers.get("cookie", ""), settings.token_cookie))
    if len(cookies) > 1:  # a neighbouring domain may set one of the same name, and their order is nobody's promise
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
    # nothing below repeats what came: messages reach clients and logs
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
            continue  # an older secret may fit
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
