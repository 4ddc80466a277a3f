"""A setting is refused by name, or it works: none ends in another exception, and none in a bridge that never delivers.

What works at both ends: bridge/test_setting_ends.py.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from typing import Any

import pytest

from sse_bridge import Bridge
from sse_bridge.config import Settings
from sse_bridge.errors import ConfigurationError, InvalidInput
from sse_bridge.streams import Cors, Grant
from tests.support.process import ROOT

FIELDS = Settings.model_fields
NUMBERS = [name for name, field in FIELDS.items() if field.annotation in (int, float)]

ODD: list[Any] = [
    math.inf, -math.inf, math.nan, 1e300, -1, -0.5, 10**30, 10**400, "inf", "nan", "1e999", "", "x", "9" * 5000, True, False, None,
    b"1", [], {}, (1,), object(), dt.timedelta(days=1), decimal.Decimal("Infinity"), decimal.Decimal("NaN"), 1 + 2j, "\ud800",
    "\0", "a\nb",
]  # fmt: skip


def bounds(name: str) -> tuple[Any, Any]:
    """The least and the greatest value that is accepted."""
    said = {
        key: value
        for part in FIELDS[name].metadata
        for key in ("ge", "le")
        if (value := getattr(part, key, None)) is not None
    }
    return said.get("ge"), said.get("le")


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_two_bounds_and_is_finite(name: str) -> None:
    least, most = bounds(name)
    assert least is not None, f"{name} needs ge=, so that both ends can be tested"
    assert most is not None, f"{name} needs le=, so that both ends can be tested"
    assert least <= FIELDS[name].default <= most
    for value in (least - 1, most + 1, math.inf, -math.inf, math.nan, 1e300, "inf", True, False):
        with pytest.raises(ConfigurationError, match=name):
            Settings.load({}, **{name: value})


def refusal(**given: Any) -> str:
    """What is wrong with settings; empty: nothing."""
    try:
        accepted = Settings.load({name.upper(): value for name, value in given.items()})
    except ConfigurationError as error:
        return str(error)
    assert all(math.isfinite(value) for _, value in accepted if isinstance(value, (int, float)))
    return ""


@pytest.mark.parametrize("name", FIELDS)
def test_whatever_comes_is_accepted_or_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ODD:
        told = refusal(**{name: value})
        assert not told or (name in told and len(told) < 1000), value
    for text in ("", "[", "{", "[1", "null", "true", "nan", "-1", '["a"]', "1e400", "é" * 3000):
        monkeypatch.setenv(f"SSE_BRIDGE_{name.upper()}", text)
        told = refusal()
        assert not told or name in told, text


def test_addresses_that_no_backend_takes() -> None:
    for url in ("", "x", "http://a", "redis", "\0", "redis://\0", "redis://a..b", "redis://" + "a" * 64, "redis://\ud800",
                "redis://a:0", "redis://a:99999", "unix:///a%00b", "redis://a/1?db=x"):  # fmt: skip
        with pytest.raises(ConfigurationError):
            Bridge(url).backend  # noqa: B018


def test_no_origins_is_said_by_none_too() -> None:
    assert Settings(cors_origins=None).cors_origins == ()  # type: ignore[arg-type]
    assert Settings.load({"CORS_ORIGINS": None}).cors_origins == ()
    assert Cors.of(Settings(cors_origins=None)).origins == frozenset()  # type: ignore[arg-type]
    for value in (5, b"https://a.example", {"https://a.example": 1}, object(), ["*"], [None], [b"https://a"]):
        with pytest.raises(ConfigurationError, match="cors_origins"):
            Settings.load(None, cors_origins=value)


def test_an_error_says_what_came_once_and_no_secret() -> None:
    said = refusal(cors_origins="shop.example")
    assert said.count("'shop.example'") == 1
    assert "Value error" not in said
    assert refusal(url=None).endswith("got None")
    assert "hidden" not in refusal(url=b"redis://:hidden\xff@a", token_secret=b"hidden")


def test_settings_come_as_a_mapping() -> None:
    for value in ("url", 5, [("url", "memory://")]):
        with pytest.raises(ConfigurationError, match="mapping"):
            Settings.load(value)  # type: ignore[arg-type]


def test_the_order_of_retries() -> None:
    with pytest.raises(ConfigurationError, match="retry_min_ms=9000 must not exceed"):
        Settings.load(None, retry_min_ms=9000)


def test_arguments_that_are_like_settings() -> None:
    with Bridge("memory://", token_secret="s" * 32) as bridge:
        for queue_size in (True, 0, 1.5, 10**9, "5"):
            with pytest.raises(InvalidInput, match="queue_size"):
                bridge.subscribe("a", queue_size=queue_size)  # type: ignore[arg-type]
        for last in (True, -1, 1.5, "5"):
            with pytest.raises(InvalidInput, match="last="):
                bridge.subscribe("a", last=last)  # type: ignore[arg-type]
        for seconds in (True, -1, math.nan, math.inf, "5"):
            with pytest.raises(InvalidInput, match="seconds"):
                bridge.revoke(user="7", seconds=seconds)  # type: ignore[arg-type]
            with pytest.raises(InvalidInput, match="expires_seconds"):
                bridge.token("a", expires_seconds=seconds)  # type: ignore[arg-type]
    for at in (True, math.nan, math.inf, "2030-01-01", dt.datetime(2030, 1, 1, tzinfo=dt.UTC)):
        with pytest.raises(ConfigurationError, match="expires_at"):
            Grant(expires_at=at)  # type: ignore[arg-type]


def test_the_docs_name_the_bounds() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    for name in NUMBERS:
        least, most = bounds(name)
        row = re.search(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert row, f"docs/deploy.md lacks {name}"
        assert row[0].endswith(f"| {least:,} – {most:,} |"), f"{name}: the last column must be {least:,} – {most:,}"
