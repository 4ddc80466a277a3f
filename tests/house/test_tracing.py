"""What counts as a call and as a move."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.house.conftest import Write
from tests.house.tracing import Trace, figures

UPPER = """
import asyncio

from made_up.lower.b import inner, numbers


class Outer:
    class Inner:
        pass

    def call(self):
        [value for value in range(3)]
        inner()
        return inner()


async def waits():
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    Outer().call()
    return list(numbers())
"""
LOWER = """
def inner():
    return (lambda: 1)()


def numbers():
    yield 1
    yield 2
"""


@pytest.fixture
def upper(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    write("made_up/upper/a.py", UPPER)
    write("made_up/lower/b.py", LOWER)
    write("made_up/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    import made_up.upper.a  # type: ignore[import-not-found]

    yield made_up.upper.a
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up"]:
        del sys.modules[name]


def test_calls_and_moves_are_counted_and_what_goes_on_is_no_call(upper: Any, tmp_path: Path) -> None:
    with Trace(tmp_path, [tmp_path / "made_up"]) as trace:
        asyncio.run(upper.waits())
    assert [step.name for step in trace.steps if step.begins] == [
        "waits", "Outer.call", "inner", "inner.<locals>.<lambda>", "inner", "inner.<locals>.<lambda>", "numbers",
    ]  # fmt: skip
    assert [step.name for step in trace.steps if not step.begins] == ["waits", "waits", "numbers", "numbers"]
    assert figures(trace.steps) == (2, 7, 1, 1)


def test_a_move_within_a_folder_is_none_between_rooms(upper: Any, write: Write, tmp_path: Path) -> None:
    write("made_up/lower/c.py", "from made_up.lower.b import inner\n\n\ndef twice():\n    inner()\n    again()\n\n\n"
          "def again():\n    inner()\n")  # fmt: skip
    from made_up.lower.c import twice  # type: ignore[import-not-found]

    with Trace(tmp_path, [tmp_path / "made_up"]) as trace:
        twice()
    assert figures(trace.steps) == (2, 6, 3, 0)


def test_other_folders_do_not_count_and_other_threads_do(upper: Any, tmp_path: Path) -> None:
    before = sys.getprofile()
    with Trace(tmp_path, [tmp_path / "made_up" / "lower"]) as trace:
        thread = threading.Thread(target=upper.Outer().call)
        thread.start()
        thread.join()
    assert {step.file for step in trace.steps} == {"made_up/lower/b.py"}
    assert len(trace.steps) == 4
    assert sys.getprofile() is before


def test_what_is_imported_meanwhile_is_no_call(write: Write, upper: Any, tmp_path: Path) -> None:
    write("made_up/late.py", "class Late:\n    def method(self): ...\n")
    with Trace(tmp_path, [tmp_path / "made_up"]) as trace:
        import made_up.late  # type: ignore[import-not-found]
    assert made_up.late.Late
    assert trace.steps == []
