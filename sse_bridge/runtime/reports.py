"""Exceptions of predicates, logged once the lock is released: a logging handler may publish, which takes the lock.

with lock:
    hold_reports()
    try:
        ...  # predicates run
    finally:
        reports = take_reports()
log_reports(reports)
"""

from __future__ import annotations

import logging
from threading import get_ident
from typing import Any

logger = logging.getLogger("sse_bridge.filters")

Report = tuple[Any, str, BaseException]  # predicate, channel, exception

_held: dict[int, list[Report]] = {}  # by thread id


def report(predicate: Any, channel: str, error: BaseException) -> None:
    """Logs the exception now, or in `log_reports` if this thread holds its reports."""
    held = _held.get(get_ident())
    if held is None:
        log_reports([(predicate, channel, error)])
    else:
        held.append((predicate, channel, error))


def hold_reports() -> None:
    """Keeps this thread's reports until `take_reports`, before which it must not switch to another greenlet."""
    _held[get_ident()] = []


def take_reports() -> list[Report]:
    """The reports since `hold_reports`, for `log_reports` when the lock is released."""
    return _held.pop(get_ident())


def log_reports(reports: list[Report]) -> None:
    for predicate, channel, error in reports:
        logger.error(
            "predicate %r raised on an event of channel %s; the event is hidden; logged once per exception class",
            predicate,
            channel,
            exc_info=error,
        )
