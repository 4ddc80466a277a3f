from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("redis://:secret@a?timeot=1", "'timeot'"),
        ("redis://a/1?db=2", "two databases"),
        ("redis://a?db=", "database number"),
        ("redis://a?db=1&virtual_host=2", "two databases"),
        ("redis://a?db=-1", "database number"),
        ("redis+cluster://a?db=1", "database 0"),
        ("redis://a?socket_keepalive=perhaps", "true or false"),
        ("rediss://a?ssl_cert_reqs=none&ssl_check_hostname=true", "needs a certificate"),
        ("unix://host/run/a.sock", "'host/run/a.sock'"),
        ("unix://:secret@", "the path of a socket"),
        ("rediss+socket:///run/a.sock", "scheme 'rediss.socket'"),
        ("unix:///run/a.sock?ssl_ca_certs=x", "needs TLS"),
        ("valkey+http://a", "scheme"),
        ("redis://a?ssl_ca_certs=x", "rediss://"),
        ("rediss://a?ssl_cert_reqs=maybe", "'maybe'"),
        ("redis://a?sentinel_password=x", "sentinel_password"),
    ],
)
def test_what_cannot_work_is_said(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        parse(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("valkey://a:1/2", "redis://a:1/2"),
        ("valkeys://a", "rediss://a"),
        ("valkey+sentinel://a/p/1", "redis+sentinel://a/p/1"),
        ("valkeys+cluster://a,b", "rediss+cluster://a,b"),
        ("REDIS://a", "redis://a"),
        ("redis://a/3\n", "redis://a/3"),
        (" redis://a\r\n", "redis://a"),
        ("redis://a?db=3", "redis://a/3"),
        ("redis://a/3?db=3", "redis://a/3"),
        ("redis+sentinel://a/p?db=3", "redis+sentinel://a/p/3"),
        ("redis://a?username=u&password=p%40", "redis://u:p%40@a"),
        ("redis://u:p@a?password=other", "redis://u:p@a"),  # as in redis-py
        ("rediss://a?ssl_cert_reqs=CERT_NONE", "rediss://a?ssl_cert_reqs=none"),  # as Celery writes it
        ("redis+socket:///run/a%20b.sock?db=1", "unix:///run/a%20b.sock?db=1"),
        ("redis+socket:///run/a.sock?virtual_host=2", "unix:///run/a.sock?db=2"),  # as Celery writes it
        ("redis://a?virtual_host=2&db=2", "redis://a/2"),
    ],
)
def test_addresses_as_others_write_them(url: str, same: str) -> None:
    assert parse(url) == parse(same)


def test_a_socket() -> None:
    target = parse("unix://user:p%40ss@/run/redis.sock?db=4&client_name=web&socket_keepalive=1")
    assert (target.kind, target.addresses, target.database) == ("redis", (("/run/redis.sock", 0),), 4)
    assert target.options == {"username": "user", "password": "p@ss", "client_name": "web"}


def test_options_of_redis_py() -> None:
    from redis.connection import URL_QUERY_ARGUMENT_PARSERS

    target = parse(
        "rediss://a?socket_timeout=3&retry_on_timeout=yes&max_connections=10&health_check_interval=5&decode_responses=True"
        "&socket_keepalive=True&ssl_check_hostname=no&protocol=3"
    )
    assert target.options == {"socket_keepalive": True, "ssl_check_hostname": False, "ssl_cert_reqs": "required"}
    assert target.ignored == (
        "socket_timeout", "retry_on_timeout", "max_connections", "health_check_interval", "decode_responses", "protocol",
    )  # fmt: skip
    for name in URL_QUERY_ARGUMENT_PARSERS:  # what its URLs may hold: none is unknown here
        if not name.startswith("ssl_"):
            parse(f"redis://a?{name}=1")


@pytest.mark.parametrize(
    "secret", ["topsecret/x", "topsecret?x", "topsecret#x", "1/topsecret", "12?topsecret", "//topsecret"]
)
@pytest.mark.parametrize(
    "form", ["redis://:{}@a:1/0", "rediss://user:{}@a", "redis+sentinel://:{}@a,b/p", "redis+cluster://u:{}@a"]
)
def test_a_password_that_is_not_encoded_is_shown_to_nobody(form: str, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as error:
        parse(form.format(secret))
    assert "topsecret" not in str(error.value)
    assert parse(form.format(quote(secret, safe=""))).options["password"] == secret


@given(st.text(max_size=12), st.text(st.sampled_from(":/?#@[]%,&=;+ ab1\n"), max_size=30))
def test_any_address_is_read_or_refused(login: str, rest: str) -> None:
    for scheme in ("redis", "rediss+sentinel", "valkey+cluster", "unix", ""):
        for text in (f"{scheme}://{login}@{rest}", f"{scheme}://{rest}", rest):
            try:
                target = parse(text)
            except ConfigurationError:
                continue
            assert all(isinstance(host, str) and 0 <= port < 65536 for host, port in target.addresses)
