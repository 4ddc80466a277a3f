"""Alarms whose handler raises, at random moments of publish() and next(): what is left works, and readers miss nothing.

    python -m tests.faults.alarmed URL SECONDS SEED

Prints how many calls were ended, and how many events are in the log, of which a reader on another thread has seen each once.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from typing import Any

from sse_bridge import Bridge
from tests.support.wait import wait_for

PATIENCE_SECONDS = 60
LONGEST_SECONDS = 0.004
ROUND_SECONDS = 0.05  # one whose exception came in a finalizer, where Python throws it away, ends by itself


class AlarmError(Exception):
    """As Celery's SoftTimeLimitExceeded is one: a subclass of Exception."""


def ring(*_: Any) -> None:
    raise AlarmError


def main(url: str, seconds: str, seed: str) -> None:
    chance = random.Random(seed)
    signal.signal(signal.SIGALRM, ring)
    sys.unraisablehook = lambda what: None if isinstance(what.exc_value, AlarmError) else sys.__unraisablehook__(what)
    with Bridge(url, linger_seconds=0, replay_size=1_000_000) as bridge:
        seen: list[Any] = []
        reading = bridge.subscribe("all")
        assert reading.wait_ready(PATIENCE_SECONDS)
        reader = threading.Thread(target=lambda: seen.extend(event.id for event in reading))
        reader.start()
        own = bridge.subscribe("all")
        assert own.wait_ready(PATIENCE_SECONDS)
        got, ended, number = [], 0, 0
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, LONGEST_SECONDS))
                over = time.monotonic() + ROUND_SECONDS
                while time.monotonic() < over:
                    number += 1
                    bridge.publish("all", number)
                    event = own.next(0.001)
                    got += [event]  # no call between the library's last line and this one
            except AlarmError:
                ended += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        bridge.close_channel("all")
        reader.join(PATIENCE_SECONDS)
        while (event := own.next(PATIENCE_SECONDS)) is not None:
            got.append(event)
        stored: list[str | None] = []
        while page := bridge.history("all", after=stored[-1] if stored else None, limit=10_000):
            stored += [event.id for event in page]
        assert [event.id for event in got if event is not None][-len(stored) :] == stored, "this thread's reader"
        assert seen[-len(stored) :] == stored, "another thread's reader"
        assert len(set(seen)) == len(seen), "another thread's reader saw something twice"
        client = getattr(bridge.backend, "_client", None)
        if client is not None:
            # Threads of the hub may hold a connection, for a check of the position.
            wait_for(lambda: len(client.slots) == sum(map(len, client._idle.values())), what="idle connections only")
        wait_for(lambda: bridge.thread_hub().readers() == 0, what="the readers to leave")
    print(ended, len(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
