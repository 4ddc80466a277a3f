"""A missing program skips, and fails where everything is required."""

from __future__ import annotations

import pytest

from tests.support.requires import CHECKS, require


def test_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSE_BRIDGE_REQUIRE_ALL", raising=False)
    monkeypatch.setitem(CHECKS, "nginx", (lambda: None, "nginx on PATH"))
    with pytest.raises(pytest.skip.Exception, match="needs nginx on PATH"):
        require("nginx")


def test_fails_where_all_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_BRIDGE_REQUIRE_ALL", "1")
    monkeypatch.setitem(CHECKS, "nginx", (lambda: None, "nginx on PATH"))
    with pytest.raises(pytest.fail.Exception, match="lacks nginx on PATH"):
        require("nginx")


def test_passes_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKS, "nginx", (lambda: "/somewhere/nginx", "nginx on PATH"))
    require("nginx")
