"""Signed stream tokens: who gets in, who does not, and that no message or log line shows one."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_bridge import Bridge, Settings
from sse_bridge.errors import ConfigurationError, InvalidInput, NotAuthenticated, NotAuthorized
from sse_bridge.tokens import RedactTokens, redact_logs, token_grant

SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "another secret that is long enough, too"


@pytest.fixture
def bridge() -> Any:
    with Bridge("memory://", token_secret=SECRET) as bridge:
        yield bridge


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_token_grants_its_channels_to_its_user_until_it_expires(bridge: Bridge) -> None:
    before = time.time()
    token = bridge.token(["orders:42", "news"], user="7", expires_seconds=60)
    for wanted in (["orders:42"], ["news", "orders:42"]):
        grant = token_grant(bridge, bearer(token), "", wanted)
        assert grant.user == "7"
        assert grant.expires_at is not None
        assert before + 60 <= grant.expires_at <= time.time() + 61
    assert token_grant(bridge, bearer(bridge.token("news")), "", ["news"]).user is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
def test_the_scheme_is_compared_in_any_case(bridge: Bridge, scheme: str) -> None:
    assert token_grant(bridge, {"authorization": f"{scheme} {bridge.token('a', '7')}"}, "", ["a"]).user == "7"


def test_the_cookie_carries_it_too_and_the_header_wins(bridge: Bridge) -> None:
    token = bridge.token("a", "7")
    for cookie in (
        f"sse_bridge_token={token}",
        f'x=1; sse_bridge_token="{token}"; y',
        f"a;b=c;sse_bridge_token={token}",
    ):
        assert token_grant(bridge, {"cookie": cookie}, "", ["a"]).user == "7"
        assert token_grant(bridge, {"cookie": cookie, "authorization": "Basic eDp5"}, "", ["a"]).user == "7"
        with pytest.raises(NotAuthenticated):  # what was sent on purpose is judged, not passed over
            token_grant(bridge, {"cookie": cookie, "authorization": "Bearer x"}, "", ["a"])
    with pytest.raises(NotAuthenticated, match="twice"):
        both = f"sse_bridge_token={token}; sse_bridge_token={bridge.token('a', 'mallory')}"
        token_grant(bridge, {"cookie": both}, "", ["a"])
    with pytest.raises(NotAuthenticated):
        token_grant(bridge, {"cookie": f"xsse_bridge_token={token}"}, "", ["a"])


def test_the_address_carries_it_only_where_the_setting_says_so(bridge: Bridge) -> None:
    token = bridge.token("a", "7")
    for query in (f"channel=a&token={token}", [("token", token)]):
        with pytest.raises(NotAuthenticated, match="token_in_url"):
            token_grant(bridge, {}, query, ["a"])
        with Bridge("memory://", token_secret=SECRET, token_in_url=True) as open_bridge:
            assert token_grant(open_bridge, {}, query, ["a"]).user == "7"


def test_another_channel_is_403(bridge: Bridge) -> None:
    token = bridge.token("orders:42")
    for wanted in (["orders:43"], ["orders:42", "news"], ["orders"], ["orders:420"]):
        with pytest.raises(NotAuthorized):
            token_grant(bridge, bearer(token), "", wanted)


def signed(secret: str = SECRET, **claims: Any) -> str:
    plain = {"aud": "sse_bridge:sse_bridge", "exp": time.time() + 60, "ch": ["a"], "sub": "7", **claims}
    return jwt.encode({name: value for name, value in plain.items() if value is not None}, secret, algorithm="HS256")


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str) -> str:
    return (
        f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'aud': 'sse_bridge:sse_bridge', 'exp': 2**40, 'ch': ['a']})}."
    )


@pytest.mark.parametrize(
    "token",
    [
        signed(exp=time.time() - 1),
        signed(exp=None),
        signed(exp="soon"),
        signed(exp=float("inf")),
        signed(exp=float("nan")),
        signed(aud=None),
        signed(aud="sse_bridge:another-prefix"),
        signed(aud="another library"),
        signed(ch=None),
        signed(ch="a"),
        signed(ch={"a": 1}),
        signed(sub=["7"]),
        signed(nbf=time.time() + 60),
        signed(secret=OTHER),
        jwt.encode({"aud": "sse_bridge:sse_bridge", "exp": 2**40, "ch": ["a"]}, SECRET * 2, algorithm="HS512"),
        unsigned("none"),
        unsigned("None"),
        unsigned("HS256"),
        signed()[:-1],
        signed() + "x",
        "x" * 1_000_000,
        "é",
        "",
        "..",
        "a.b.c",
        "\ud800",
        part({}) + "." + part({}) + "." + part({}),
    ],
    ids=lambda token: ascii(token)[:24],
)
def test_what_is_expired_forged_or_foreign_is_401(bridge: Bridge, token: str) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        token_grant(bridge, bearer(token), "", ["a"])
    assert len(token) < 8 or token not in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_401(text: str) -> None:
    with Bridge("memory://", token_secret=SECRET) as bridge:
        for headers in (bearer(text), {"cookie": f"sse_bridge_token={text}"}, {"authorization": text}):
            with pytest.raises(NotAuthenticated):
                token_grant(bridge, headers, "", ["a"])


def test_secrets_are_replaced_while_their_tokens_live() -> None:
    with (
        Bridge("memory://", token_secret=SECRET) as old,
        Bridge("memory://", token_secret=[OTHER, SECRET]) as both,
        Bridge("memory://", token_secret=OTHER) as new,
    ):
        assert token_grant(both, bearer(old.token("a", "7")), "", ["a"]).user == "7"
        assert token_grant(new, bearer(both.token("a", "7")), "", ["a"]).user == "7"
        with pytest.raises(NotAuthenticated):
            token_grant(new, bearer(old.token("a")), "", ["a"])
        with pytest.raises(NotAuthenticated, match="expired"):  # by an older secret, and told as what it is
            token_grant(both, bearer(signed(exp=time.time() - 5)), "", ["a"])


@pytest.mark.parametrize(
    ("channels", "user", "seconds"),
    [
        ([], None, 60),
        ("a b", None, 60),
        (["a", "*"], None, 60),
        ("a", "", 60),
        ("a", 7, 60),
        ("a", None, 0),
        ("a", None, -1),
        ("a", None, float("nan")),
        ("a", None, float("inf")),
        ("a", None, "60"),
        ([f"{'x' * 199}{n}" for n in range(9)] * 2 + [f"{'y' * 198}{n}" for n in range(10, 20)], None, 60),
    ],
)
def test_what_no_token_is_made_of(bridge: Bridge, channels: Any, user: Any, seconds: Any) -> None:
    with pytest.raises(InvalidInput):
        bridge.token(channels, user, seconds)


# -- the secret


@pytest.mark.parametrize("secret", ["short", "x" * 31, ["x" * 32, "short"], [7], b"x" * 32, 7, {"a": 1}])
def test_a_secret_that_is_too_short_or_none_is_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="32 characters") as refused:
        Settings.load(token_secret=secret)
    assert "short" not in str(refused.value)
    assert "xxxx" not in str(refused.value)


def test_no_repr_and_no_message_shows_a_secret(bridge: Bridge) -> None:
    with Bridge("redis://:hunter2@127.0.0.1:1/0", token_secret=[SECRET, OTHER]) as both:
        for shown in (repr(both.settings), str(both.settings), repr(both), both.settings.model_dump_json()):
            assert SECRET not in shown
            assert OTHER not in shown
        assert "hunter2" not in repr(both.settings) + str(both.settings) + repr(both)
    with pytest.raises(ConfigurationError) as refused:  # judged as a whole: what came is the whole mapping
        Settings.load(token_secret=SECRET, url="redis://:hunter2@x", retry_min_ms=5000, retry_max_ms=200)
    assert SECRET not in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_without_a_secret_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bridge("memory://") as bridge:
        with pytest.raises(ConfigurationError, match="token_secret"):
            bridge.token("a")
        with pytest.raises(ConfigurationError, match="token_secret"):
            token_grant(bridge, bearer(signed()), "", ["a"])


@pytest.mark.parametrize(
    ("value", "count"), [(SECRET, 1), ("1" * 40, 1), (json.dumps([SECRET, OTHER]), 2), ('{"' + "x" * 32, 1)]
)
def test_the_environment_holds_one_secret_or_a_list(monkeypatch: pytest.MonkeyPatch, value: str, count: int) -> None:
    monkeypatch.setenv("SSE_BRIDGE_TOKEN_SECRET", value)
    with Bridge("memory://") as bridge:
        listed = bridge.settings.token_secret
        assert isinstance(listed, tuple)
        assert len(listed) == count
        if count == 1:
            assert listed[0].get_secret_value() == value
        assert token_grant(bridge, bearer(bridge.token("a", "7")), "", ["a"]).user == "7"


def test_without_pyjwt_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['jwt'] = None\n"
        "from sse_bridge import Bridge\n"
        f"bridge = Bridge('memory://', token_secret={SECRET!r})\n"
        "bridge.publish('a', 1)\n"
        "try:\n    bridge.token('a')\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "sse-bridge[tokens]" in done.stdout, done.stderr


# -- logs


def logged(name: str, message: str, *args: Any) -> str:
    record = logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)
    assert RedactTokens().filter(record)
    return record.getMessage()


def test_access_logs_are_redacted_in_the_shape_of_each_server(bridge: Bridge) -> None:
    token = bridge.token("a", "7")
    path = f"/events/?channel=a&token={token}&last=3"
    uvicorn = logged("uvicorn.access", '%s - "%s %s HTTP/%s" %d', "1.2.3.4", "GET", path, "1.1", 200)
    assert uvicorn == '1.2.3.4 - "GET /events/?channel=a&token=[redacted]&last=3 HTTP/1.1" 200'
    atoms = {"r": f"GET {path} HTTP/1.1", "q": f"token={token}", "f": f"http://x/?token={token}", "s": 200}
    gunicorn = logged("gunicorn.access", '"%(r)s" %(s)s "%(f)s" "%(q)s"', atoms)
    assert "token=[redacted]&last=3" in gunicorn
    for shown in (uvicorn, gunicorn, logged("x", f"Not Found: {path}"), logged("x", "%s", f"%74oken={token}")):
        assert token not in shown
        assert token.split(".")[1] not in shown
    assert logged("x", "a %s of %d", "csrf_token", 3) == "a csrf_token of 3"
    connection = type("Connection", (), {"__repr__": lambda self: f"<Connection {path}>"})()
    assert (
        logged("x", "%s took %d s", connection, 3) == "<Connection /events/?channel=a&token=[redacted]&last=3> took 3 s"
    )
    assert logged("x", "plain") == "plain"
    assert logged("x", "%s", "tokens of an answer: eyJust kidding") == "tokens of an answer: eyJust kidding"


def test_loggers_get_the_filter_once() -> None:
    logger = logging.getLogger("sse_bridge.tests.access")
    try:
        redact_logs(logger.name)
        redact_logs(logger.name)
        assert len(logger.filters) == 1
    finally:
        logger.filters.clear()
