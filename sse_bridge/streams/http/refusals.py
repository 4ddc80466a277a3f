"""Answers instead of a stream, neutral to every framework: a status and a small JSON body (RFC 9457)."""

from __future__ import annotations

import dataclasses
import json
import logging
from http import HTTPStatus

from ...errors import NotAcceptable, NotAuthenticated, SSEBridgeError, TooManyStreams

logger = logging.getLogger("sse_bridge.streams")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A whole response; `headers` as in the RFCs."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refusal(error: SSEBridgeError, *, debug: bool = False) -> Refusal:
    """The response for an error.

    The client reads the text of its own mistakes; that of the server's goes to the log, and to the client in `debug`.
    """
    status = error.http_status
    if status >= 500:
        logger.error("a stream could not be served: %r", error)
    detail = str(error) if status < 500 or debug else "the server cannot serve this stream now"
    headers: list[tuple[str, str]] = []
    if isinstance(error, TooManyStreams):
        headers.append(("Retry-After", str(error.retry_after_seconds)))
    if isinstance(error, NotAcceptable):
        headers.append(("Vary", "Accept"))
    if isinstance(error, NotAuthenticated):
        headers.append(("WWW-Authenticate", "Bearer"))  # RFC 9110, 15.5.2: a 401 names a scheme
    return _problem(status, detail, headers)


def forbidden(detail: str) -> Refusal:
    """403 for a refusal without an error class of its own."""
    return _problem(403, detail, [])


def method_not_allowed(method: str, allowed: str = "GET, HEAD") -> Refusal:
    """405 for a method that a stream has no meaning for."""
    return _problem(405, f"a stream is read by {allowed}, got {method!r:.40}", [("Allow", allowed)])


def _problem(status: int, detail: str, headers: list[tuple[str, str]]) -> Refusal:
    body = json.dumps({"title": HTTPStatus(status).phrase, "status": status, "detail": detail}).encode("ascii")
    fixed = (
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    )
    return Refusal(status, (*fixed, *headers), body)
