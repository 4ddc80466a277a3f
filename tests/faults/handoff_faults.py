"""Views that make streams and return another answer, many at once: each visitor gets what its view returned."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.faults.registry import Scale, Tally, guarantee
from tests.support.http_stream import HTTPStream
from tests.support.servers import Server, serve
from tests.support.sse_client import SSEClient
from tests.support.wait import wait_for

VIEWS: Final = ("django/sync", "django/async", "flask/sync", "flask/async")
PLANS: Final = ("own", "own", "own", "source", "page", "error", "replaced", "head", "leave")
AT_ONCE: Final = 8


@guarantee(
    "Views that make three streams and return one, a page, or nothing, behind the middleware",
    part="Readers",
    promise="each visitor gets what its view returned, in its view's context; what was not returned is closed",
    needs=(),
)
def other_streams(scale: Scale) -> Tally:
    """Django and Flask, sync and async views, on one uvicorn; the last stream that each makes is nobody's to see."""
    visits = scale.pick(72, 4000)
    chance = random.Random(visits)
    tally = Tally(lost=0, doubled=0)
    plans = [(VIEWS[number % len(VIEWS)], chance.choice(PLANS), number) for number in range(visits)]
    env = {"SSE_BRIDGE_URL": "memory://", "SSE_BRIDGE_MEMORY_MAX_BYTES": str(64 * 2**20)}
    with serve("uvicorn", "tests.faults.handoff_site:app", env=env) as server:
        publish(server, "secret", "secret")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(lambda plan: visit(server, *plan), plans))
        tally.published = 1 + sum(plan in ("own", "leave") for _, plan, _ in plans)
        tally.faults = sum(2 if plan in ("own", "source", "leave") else 3 for _, plan, _ in plans)
        tally.lost = sum(outcome == "lost" for outcome in outcomes)
        tally.doubled = sum(outcome == "doubled" for outcome in outcomes)
        tally.wrong += sorted({outcome for outcome in outcomes if outcome not in ("", "lost", "doubled")})
        try:
            wait_for(lambda: not any(held(server).values()))
        except AssertionError:
            tally.wrong.append(f"still held when all were gone: {held(server)}")
    return tally


def visit(server: Server, view: str, plan: str, number: int) -> str:
    """What went wrong in one visit; empty: nothing."""
    where = f"{view} {plan}"
    url = f"{server.url}/{view}/?for={number}&plan={plan if plan not in ('head', 'leave') else 'own'}"
    if plan in ("page", "error", "replaced", "head"):
        with HTTPStream(url, method="HEAD" if plan == "head" else "GET", seconds=60) as answer:
            body = b"" if plan == "head" else answer.read_all()
            kind = answer.headers.get("content-type", "")
            if any(name.startswith("x-sse-bridge") for name in answer.headers):
                return f"{where}: the header of the hand-off got through"
            if plan == "head":
                return "" if answer.status == 200 and kind == "text/event-stream" else f"{where}: {answer.headers}"
            expected = answer.status == 500 if plan == "error" else body == b"a page"
            return "" if expected else f"{where}: {answer.status} {body!r:.100}"
    if plan != "source":
        publish(server, f"visitor:{number}", str(number))
    with SSEClient(url, seconds=60) as client:
        if plan == "leave":
            return ""
        frames = [frame.data for frame in client.take(2, 60)[1:]]
        if frames != [json.dumps(str(number))]:
            return f"{where}: expected what is for visitor {number}, got {frames}" if frames else "lost"
        if plan == "source":
            client.rest()
        return "doubled" if client.next(0) is not None and plan == "own" else ""


def publish(server: Server, channel: str, data: str) -> None:
    with HTTPStream(f"{server.url}/publish?channel={channel}&data={data}", seconds=60) as answer:
        assert answer.status == 204, answer.status


def held(server: Server) -> dict[str, int]:
    with HTTPStream(f"{server.url}/held", seconds=60) as answer:
        found: dict[str, int] = json.loads(answer.read_all())
    return found
