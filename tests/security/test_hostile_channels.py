"""Names of channels are the client's to write where a route lets it: a bad one is 400 before any hook sees it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.security.conftest import Site
from tests.support.http_stream import HTTPStream

BAD = [
    " ",
    "é",
    "a b",
    "a\r\nb: c",
    "\0",
    "*",
    "[a-z]*",
    "{x}",
    "../a",
    "a/b",
    "a" * 201,
    "_a",
    "$__keyspace@0__:a",
    "\u2028",
]


@pytest.mark.parametrize("name", BAD, ids=repr)
def test_no_hook_sees_a_name_that_breaks_the_rule(site: Site, way: Any, channel: str, name: str) -> None:
    """The hook of ``token`` would say 403, for the token does not name it, and 401 without one."""
    url = site.url(way, f"token?channel={channel}&channel={quote(name, safe='')}")
    for headers in ({"Authorization": f"Bearer {site.bridge.token(channel, '7')}"}, {}):
        with HTTPStream(url, headers) as answer:
            assert answer.status == 400
            assert answer.read_all(60).isascii()  # a name is shown by repr at most


def test_no_hook_sees_more_channels_than_the_limit(site: Site, way: Any) -> None:
    names = "&".join(f"channel=many{number}" for number in range(1000))
    with HTTPStream(site.url(way, f"token?{names}")) as answer:
        assert answer.status in (400, 414)  # gunicorn reads no line that long
