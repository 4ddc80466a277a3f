"""Whether a stream that is about to open may, decided once for both colours.

A generator without I/O: it yields the request to the broker, and holds no lock meanwhile. The clock is read here, since
an answer may take seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Hashable
from contextlib import AbstractContextManager
from typing import Any

from ..errors import BackendError
from .admissions import Admissions, Refused
from .contract import TakeLease

logger = logging.getLogger("sse_bridge.hub")


def admitting(
    admissions: Admissions, lock: AbstractContextManager[Any], ask: Callable[[TakeLease], Any], member: Hashable
) -> Generator[tuple[Callable[[TakeLease], Any], TakeLease], bool, Refused | None]:
    """Judges a member that is `Admissions.ready`, and takes a lease where its user's streams are counted.

    A caller that is ended early drops the generator and lets the member leave, which gives back a lease it may have.

    Args:
        admissions: the admissions that the member has joined.
        lock: guards the admissions; entered for decisions only.
        ask: asks the broker, in the caller's colour.
        member: the reader or source member whose stream opens.

    Yields:
        At most once, `ask` and the request. Send its reply; a `BackendError` is thrown in, any other error goes past.

    Returns:
        The reason why the stream may not open; None: it may.
    """
    with lock:
        if admissions.refuses(member, time.monotonic()):
            return "revoked"
        request = admissions.lease_request(member)
    if request is None:
        return None
    try:
        admitted = yield ask, request
    except BackendError as error:
        logger.warning("a stream cannot open, for its user's streams cannot be counted: %s", error)
        return "unavailable"
    with lock:
        admissions.took(member, admitted)
    return None if admitted else "limit"
