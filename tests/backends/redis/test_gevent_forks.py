"""gevent takes greenlets along into a forked child; ours leave the parent's connections and spool alone there."""

from __future__ import annotations

import pytest

from tests.support.gevent_run import gevent_run

FOLLOW = """
    import os, signal, sys, gevent
    from sse_bridge import Bridge
    bridge = Bridge(sys.argv[1], prefix=sys.argv[2], check_seconds=600, link_timeout_seconds=60)  # nothing finds lost ones
    with bridge.subscribe("a") as stream:
        assert stream.wait_ready(60)
        child = os.fork()
        if child == 0:
            while True:
                gevent.sleep(1)
        try:
            for n in range(100):
                bridge.publish("a", n)
                event = stream.next(60)
                assert event.data == n, event
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    bridge.close()
    print("followed")
"""

SPOOL = """
    import os, sys, gevent
    from sse_bridge import Bridge
    from sse_bridge.backends.memory import MemoryBackend
    from sse_bridge.config import Settings
    from sse_bridge.errors import BackendUnavailable

    class Away(MemoryBackend):
        told = None

        def append_many(self, batches):
            os.write(self.told, b"%d " % os.getpid())
            return super().append_many(batches)

        def append(self, batch):
            if away:
                raise BackendUnavailable("away")
            return super().append(batch)

        def read(self, requests):
            if away:
                raise BackendUnavailable("away")
            return super().read(requests)

    away = True
    look, Away.told = os.pipe()
    backend = Away(Settings())
    with Bridge(backend=backend, on_unavailable="spool") as bridge:
        bridge.publish("a", 1)
        child = os.fork()
        away = False
        if child == 0:
            gevent.sleep(3)
            os._exit(0)
        os.waitpid(child, 0)
        while bridge.backend.spool.queued:
            gevent.sleep(0.01)
    assert set(os.read(look, 1000).split()) == {b"%d" % os.getpid()}
    print("flushed")
"""


def test_the_live_link_is_the_parents(redis_url: str, prefix: str) -> None:
    pytest.importorskip("gevent")
    assert "followed" in gevent_run(FOLLOW, redis_url, prefix)


def test_the_spool_is_the_parents() -> None:
    pytest.importorskip("gevent")
    assert "flushed" in gevent_run(SPOOL)
