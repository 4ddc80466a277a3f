"""`event_stream` with an iterable instead of channels, in each colour under each handler."""

from __future__ import annotations

import httpx
import pytest

from tests.django_app.conftest import Site, one_of_each, without_broker
from tests.support.sse_client import SSEClient


@without_broker
@pytest.mark.parametrize("name", ["list", "generator", "asyncgenerator", "function"])
def test_a_source_of_either_colour(site: Site, view: str, name: str) -> None:
    with SSEClient(f"{site.url}/source/{view}/{name}/", {"Accept-Encoding": "gzip"}) as client:
        frames = [(frame.event, frame.data) for frame in client.rest()]
    assert frames == [("stream.open", "{}"), ("count", "0"), ("count", "1"), ("stream.end", frames[-1][1])]
    assert httpx.get(f"{site.url}/source/{view}/{name}/?format=ndjson", timeout=60).text.count("\n") == 2


@without_broker
def test_a_source_ends_when_its_reader_leaves(site: Site, view: str) -> None:
    with SSEClient(f"{site.url}/source/{view}/endless/") as client:
        client.take(100)
    site.wait_until_released()


@one_of_each
def test_a_failing_source_tells_the_client_no_secrets(site: Site, view: str) -> None:
    with SSEClient(f"{site.url}/source/{view}/failing/?format=sse") as client:
        events = [frame.event for frame in client.rest()]
    assert "stream.error" in events
    assert b"secret" not in client.received


@one_of_each
def test_what_is_no_source_is_the_view_s_mistake(site: Site, view: str) -> None:
    assert httpx.get(f"{site.url}/source/{view}/mistake/", timeout=60).status_code == 500
    assert httpx.get(f"{site.url}/source/{view}/list/?format=pictures", timeout=60).status_code == 406
