"""What predicates raise, logged under no lock: a handler of logging may publish, and so need the lock.

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

Report = tuple[Any, str, Exception]  # the predicate, the channel, what it raised

_held: dict[int, list[Report]] = {}  # by thread


def report(predicate: Any, channel: str, error: Exception) -> None:
    """Logs it now, or when this thread has released its lock."""
    held = _held.get(get_ident())
    if held is None:
        log_reports([(predicate, channel, error)])
    else:
        held.append((predicate, channel, error))


def hold_reports() -> None:
    """This thread holds a lock, and does not switch to another greenlet before `take_reports`."""
    _held[get_ident()] = []


def take_reports() -> list[Report]:
    """What was kept since `hold_reports`; for `log_reports` when the lock is released."""
    return _held.pop(get_ident())


def log_reports(reports: list[Report]) -> None:
    for predicate, channel, error in reports:
        logger.error(
            "the predicate %r raised on an event of channel %s, which is hidden; logged once per class of exception",
            predicate,
            channel,
            exc_info=error,
        )
