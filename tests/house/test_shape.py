"""Circles, duplicates and lengths, in made-up files; and what holds of the project's own."""

from __future__ import annotations

from tests.house.conftest import Write
from tests.house.shape import circles, duplicate_lines, file_graph, functions, line_counts, per_room
from tests.support.process import ROOT
from tests.support.source_tree import python_files

CIRCLES = 4  # of the project, and never more


def test_a_circle_of_types_only_is_found_and_one_group_is_one_circle(write: Write) -> None:
    paths = [
        write("sse_bridge/hub/a.py", "from .b import B\nfrom ..wire import c\n"),
        write("sse_bridge/hub/b.py", "if TYPE_CHECKING:\n    from .a import A\n"),
        write("sse_bridge/wire/c.py", "def f():\n    from ..hub.b import B\n"),
        write("sse_bridge/wire/d.py", "from .e import E\n"),
        write("sse_bridge/wire/e.py", "import sse_bridge.wire.d\nimport os\n"),
        write("sse_bridge/wire/f.py", "from . import d\n"),
    ]
    graph = file_graph(paths)
    assert graph["sse_bridge.hub.a"] == {"sse_bridge.hub.b", "sse_bridge.wire.c"}
    assert graph["sse_bridge.wire.f"] == {"sse_bridge.wire.d"}
    assert circles(graph) == [
        ["sse_bridge.hub.a", "sse_bridge.hub.b", "sse_bridge.wire.c"],
        ["sse_bridge.wire.d", "sse_bridge.wire.e"],
    ]


def test_files_that_import_downwards_have_no_circle(write: Write) -> None:
    paths = [write("sse_bridge/hub/a.py", "from .b import B\n"), write("sse_bridge/hub/b.py", "import ast\n")]
    assert circles(file_graph(paths)) == []


def test_circles_of_the_core_do_not_become_more() -> None:
    found = circles(file_graph(python_files(ROOT / "sse_bridge")))
    assert len(found) <= CIRCLES, found


LINES = [f"value_{number} = {number}" for number in range(6)]


def test_a_run_that_stands_twice_counts_with_both_copies_at_any_depth(write: Write) -> None:
    with_gaps = "\n\n# why\n".join(LINES)
    deeper = "\n".join(f"    {line}" for line in LINES)
    first = write("sse_bridge/a.py", f"only = here\n{with_gaps}\n")
    second = write("sse_bridge/b.py", f"def f():\n{deeper}\n")
    found = duplicate_lines([first, second])
    assert found == {first: {2, 5, 8, 11, 14, 17}, second: {2, 3, 4, 5, 6, 7}}


def test_a_longer_run_counts_each_line_once(write: Write) -> None:
    text = "\n".join([*LINES, "more = 1", "more = 2"])
    paths = [write("sse_bridge/a.py", text), write("sse_bridge/b.py", text)]
    assert sum(map(len, duplicate_lines(paths).values())) == 16


def test_shorter_runs_imports_and_docstrings_are_no_duplicates(write: Write) -> None:
    imports = "\n".join(f"import module_{number}" for number in range(9))
    docstring = '"""' + "\n".join(f"line {number}" for number in range(9)) + '"""'
    text = "\n".join([docstring, imports, *LINES[:5], "import os", *LINES[5:]])
    assert duplicate_lines([write("sse_bridge/a.py", text), write("sse_bridge/b.py", text)]) == {}


def test_a_function_has_its_lines_without_its_docstring(write: Write) -> None:
    path = write(
        "sse_bridge/a.py",
        'class A:\n    def f(self):\n        """One.\n\n        Two.\n        """\n        return (\n            1\n        )\n',
    )
    assert list(functions([path])) == [("sse_bridge.a.f", 4)]


def test_rooms_are_folders(write: Write, monkeypatch: object) -> None:
    counts = {ROOT / "sse_bridge/x.py": 3, ROOT / "sse_bridge/hub/y.py": 4, ROOT / "sse_bridge/hub/z.py": 5}
    assert per_room(counts) == {"sse_bridge": (1, 3), "sse_bridge/hub": (2, 9)}


def test_lines_are_those_of_every_folder_asked_for(write: Write) -> None:
    path = write("sse_bridge/hub/a.py", "a = 1\nb = 2\n")
    assert line_counts([path.parent.parent]) == {path: 2, path.with_name("__init__.py"): 0}
