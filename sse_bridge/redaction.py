"""Removes stream tokens from log records, since servers and frameworks log URLs, which may hold a token.

The texts come from strangers and are searched on the threads and loops that serve streams, so the work is linear in a
text's length: no search restarts inside text that it has matched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any, Final

from typing_extensions import override

# Loggers of servers and frameworks that log URLs; uvicorn logs those of WebSockets to its error logger.
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

_MARK: Final = "[redacted]"
_JWT_BEGIN: Final = "eyJ"  # the base64 of '{"', with which a JWT's header begins
_SEPARATOR: Final = re.compile(r"(\.|%2[eE])")
# A whole chain of words and separators, in which `_without_jwt` finds the tokens: a search for a token's three parts would
# start again at each eyJ of a long word without a dot, in quadratic time.
_CHAIN: Final = re.compile(r"[\w-]+(?:(?:\.|%2[eE])[\w-]*)*")
_PARAMETER: Final = re.compile(r"(?<![\w-])token=[^&\s\"'#;]+")  # a value ends where the next parameter begins


class RedactTokens(logging.Filter):
    """Removes stream tokens from log records, for loggers and handlers that log URLs.

    Tokens are recognised by their form, and by the name of the parameter. The record's arguments keep the shape that access
    formatters (uvicorn's, gunicorn's) unpack. Every record passes. The time is linear in the length of the texts.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _clean(record.msg)
        if isinstance(record.args, MutableMapping):  # gunicorn's atoms
            for name, value in list(record.args.items()):
                if isinstance(value, str):
                    record.args[name] = redact(value)
        elif isinstance(record.args, tuple):
            record.args = tuple([_clean(value) for value in record.args])
        return True


def redact_logs(*loggers: str) -> None:
    """Adds a `RedactTokens` to loggers, by default to `ACCESS_LOGGERS`, once each. Call it where the app is made.

    A logger's filter does not see its children's records, so name those, too. daphne's access log bypasses `logging`, and
    with it every filter: switch it off (``daphne --verbosity 0``).
    """
    for name in loggers or ACCESS_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(known, RedactTokens) for known in logger.filters):
            logger.addFilter(RedactTokens())


def redact(text: str) -> str:
    """`text` without stream tokens; linear in its length."""
    if _JWT_BEGIN in text:
        text = _CHAIN.sub(_without_jwt, text)
    return _PARAMETER.sub(f"token={_MARK}", text) if "token=" in text else text


def _without_jwt(match: re.Match[str]) -> str:
    """The matched chain without the triples of words that form a JWT, whose signature may be empty."""
    if _JWT_BEGIN not in match[0]:
        return match[0]
    parts = _SEPARATOR.split(match[0])  # word, separator, word, …
    kept: list[str] = []
    index = 0
    while index < len(parts):
        word = parts[index]
        at = _begin_of_jwt(word, parts[index - 1] if index else "")
        if at is not None and index + 4 < len(parts) and parts[index + 2]:
            if at < 0:
                kept[-1] = kept[-1][:at]
            kept.append(word[: max(at, 0)] + _MARK)
            index += 4
        else:
            kept.append(word)
        kept.extend(parts[index + 1 : index + 2])
        index += 2
    return "".join(kept)


def _begin_of_jwt(word: str, separator: str) -> int | None:
    """The index at which a JWT's header, longer than `_JWT_BEGIN`, begins in `word`; -1: at the separator's e."""
    if separator == "%2e" and word.startswith(_JWT_BEGIN[1:]) and len(word) >= len(_JWT_BEGIN):
        return -1
    at = word.find(_JWT_BEGIN)
    return at if 0 <= at < len(word) - len(_JWT_BEGIN) else None


def _clean(value: Any) -> Any:
    """An argument without tokens; objects are redacted, too, since servers log requests whose repr shows the URL."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (int, float, type(None))):
        return value
    try:
        text, shown = str(value), repr(value)
    except Exception:  # noqa: BLE001  # logging meets and reports the same error
        return value
    if redact(text) == text and redact(shown) == shown:
        return value
    return redact(text)
