"""The versions that tox tests as the oldest are the lower bounds that pyproject.toml promises."""

from __future__ import annotations

import re

from tests.support.process import ROOT

# name[extras]>=version, as the lists in pyproject.toml write it
BOUND = re.compile(r'"([A-Za-z0-9_-]+)(?:\[[a-z,]+\])?>=([0-9.]+)')


def test_the_oldest_versions_tested_are_those_promised() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    runtime = text[text.index("\ndependencies") : text.index("\ntest = [")]
    promised = {name.lower(): version for name, version in BOUND.findall(runtime)}
    pinned = dict(
        line.lower().split("==")
        for line in (ROOT / "tests" / "minimum.txt").read_text(encoding="utf-8").split("\n")
        if "==" in line and not line.startswith("#")
    )
    too_high = {
        name: (version, pinned.get(name))
        for name, version in promised.items()
        if not f"{pinned.get(name, '')}.".startswith(f"{version}.")
    }
    assert not too_high, f"promised against tested: {too_high}"
