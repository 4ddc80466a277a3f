"""A process that forks from a thread while others publish and follow; each child publishes and follows by itself.

    python -m tests.faults.forking URL CHILDREN

Prints how many events the parent published. A child that hangs is killed after a while and makes it fail.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import traceback

from sse_bridge import Bridge

EACH = 10  # events of each child and colour
PATIENCE_SECONDS = 60
PUBLISHERS = 4


def publish_as_child(bridge: Bridge, name: str) -> None:
    """Follows a channel on a thread's hub and on a loop's, and publishes to it in both colours."""
    with bridge.subscribe(name) as stream:
        assert stream.wait_ready(PATIENCE_SECONDS)
        for number in range(EACH):
            bridge.publish(name, number)
            bridge.publish("all", f"{name} {number}")
        asyncio.run(apublish_as_child(bridge, name))
        events = [stream.next(timeout=PATIENCE_SECONDS) for _ in range(2 * EACH)]
        assert [event and event.data for event in events] == list(range(2 * EACH)), events


async def apublish_as_child(bridge: Bridge, name: str) -> None:
    async with bridge.asubscribe(name) as stream:
        assert await stream.wait_ready(PATIENCE_SECONDS)
        for number in range(EACH, 2 * EACH):
            await bridge.apublish(name, number)
            event = await stream.next(PATIENCE_SECONDS)
            assert event is not None, number
            assert event.data == number, event.data
            await bridge.apublish("all", f"{name} {number}")


def fork(bridge: Bridge, name: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            publish_as_child(bridge, name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def wait(pid: int) -> int:
    """The child's exit code."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -9


def main(url: str, children: str) -> None:
    bridge = Bridge(url)
    stop = threading.Event()
    published = [0] * PUBLISHERS
    codes: list[int] = []

    def publish(number: int) -> None:
        while not stop.is_set():
            bridge.publish("all", f"parent {number} {published[number]}")
            published[number] += 1
            time.sleep(0.001)  # a pace, no test waits for it

    def fork_all() -> None:
        pids = [fork(bridge, f"child{number}") for number in range(int(children))]
        codes.extend(wait(pid) for pid in pids)

    with bridge.subscribe("all") as stream:
        assert stream.wait_ready(PATIENCE_SECONDS)
        threads = [threading.Thread(target=publish, args=(number,)) for number in range(PUBLISHERS)]
        forking = threading.Thread(target=fork_all)
        for thread in [*threads, forking]:
            thread.start()
        forking.join()
        stop.set()
        for thread in threads:
            thread.join()
        assert codes == [0] * int(children), codes
        total = sum(published) + (2 * EACH * int(children) if url.startswith("redis") else 0)
        for offset in range(1, total + 1):
            event = stream.next(timeout=PATIENCE_SECONDS)
            assert event is not None, (offset, total)
            assert event.position is not None, event
            assert event.position.offset == offset, (event, offset)
        assert stream.next(timeout=0.1) is None
    bridge.close()
    print(total)


if __name__ == "__main__":
    main(*sys.argv[1:])
