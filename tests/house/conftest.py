"""A made-up tree in place of the project's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import source_tree

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file below the root, and the `__init__.py` of its folder: `write("sse_bridge/hub/a.py", "...")`."""
    monkeypatch.setattr(source_tree, "ROOT", tmp_path)

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
