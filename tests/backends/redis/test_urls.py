from __future__ import annotations

import pytest

from sse_bridge.backends.redis.urls import parse
from sse_bridge.errors import ConfigurationError


def test_one_server() -> None:
    target = parse("redis://user:p%40ss%3A@example.org:7000/3?client_name=web")
    assert (target.kind, target.addresses, target.database, target.tls) == ("redis", (("example.org", 7000),), 3, False)
    assert target.options == {"username": "user", "password": "p@ss:", "client_name": "web"}
    assert "p@ss" not in repr(target)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", ("localhost", 6379)),
        ("redis://:secret@", ("localhost", 6379)),
        ("redis://h", ("h", 6379)),
        ("redis://h/", ("h", 6379)),
        ("redis://[::1]:1", ("::1", 1)),
        ("rediss://[fe80::2]/0", ("fe80::2", 6379)),
    ],
)
def test_addresses(url: str, address: tuple[str, int]) -> None:
    assert parse(url).addresses == (address,)


def test_sentinels() -> None:
    target = parse("redis+sentinel://:pw@a,b:1,[::1]/the%20primary/2?sentinel_password=sp&sentinel_username=su")
    assert target.kind == "sentinel"
    assert target.addresses == (("a", 26379), ("b", 1), ("::1", 26379))
    assert (target.service, target.database) == ("the primary", 2)
    assert target.options == {"password": "pw"}
    assert target.sentinel_options == {"password": "sp", "username": "su"}


def test_tls() -> None:
    target = parse("rediss+cluster://a,b?ssl_ca_certs=/etc/ca.pem")
    assert (target.kind, target.tls) == ("cluster", True)
    assert target.options == {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert parse("rediss://a?ssl_cert_reqs=none").options["ssl_check_hostname"] is False
    assert parse("rediss+sentinel://a/p").sentinel_options["ssl_check_hostname"] is True


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://a", "scheme 'http'"),
        ("redissentinel://a", "scheme"),
        ("redis://a,b", "one host"),
        ("redis://a:x", "'a:x'"),
        ("redis://a:70000", "65535"),
        ("redis://a/x", "database number"),
        ("redis://a/1/2", "database number"),
        ("redis://a/²", "database number"),
        ("redis+sentinel://a", "primary's name"),
        ("redis+cluster://a/1", "database 0"),
        ("redis://:secret@a?timeout=1", "'timeout'"),
        ("redis://a?ssl_ca_certs=x", "rediss://"),
        ("rediss://a?ssl_cert_reqs=maybe", "'maybe'"),
        ("redis://a?sentinel_password=x", "sentinel_password"),
    ],
)
def test_what_cannot_work_is_said(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        parse(url)
    assert "secret" not in str(error.value)
