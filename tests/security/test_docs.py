"""docs/security.md names the test behind each of its promises, and the test exists."""

from __future__ import annotations

import ast
import re

from tests.support.process import ROOT
from tests.support.source_tree import tree

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CITED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def test_every_cited_test_exists() -> None:
    assert len(CITED) > 50, "the form of the citations has changed"
    missing = [
        f"{path}::{name}"
        for path, name in CITED
        if not (ROOT / path).is_file()
        or not any(
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name
            for node in tree(ROOT / path).body
        )
    ]
    assert missing == []


def test_every_promise_names_its_test() -> None:
    rows: list[str] = []
    inside = False
    for line in TEXT.splitlines():
        inside = line.startswith("| promise ") or (inside and line.startswith("|"))
        if inside and not line.startswith(("| promise ", "|---")):
            rows.append(line)
    assert len(rows) > 30
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []


def test_every_section_says_what_is_not_promised() -> None:
    sections = re.split(r"^##+ ", TEXT, flags=re.MULTILINE)[1:]
    with_promises = [section for section in sections if "| promise |" in section]
    assert [section.splitlines()[0] for section in with_promises if "Not promised:" not in section] == []
