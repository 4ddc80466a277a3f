"""The direction of imports, as docs/architecture.md draws it, and a few rules on the shape of the tree.

demos -> integrations -> sse_bridge, whose rooms stand one above the other in tests/support/rooms.py

The files are read, not imported, so a framework that is missing hides nothing.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.process import ROOT
from tests.support.rooms import FLOORS, core_imports, room, rooms, upward_imports
from tests.support.source_tree import (
    Import,
    demos,
    exported,
    find_module,
    imports,
    module_name,
    nodes,
    packages,
    python_files,
    tree,
)

# Rooms without I/O: time, sockets and threads come in as arguments or not at all.
PURE_ROOMS = {"follow", "wire", "encoding", "events", "records"}
IMPURE = {
    "_thread",
    "asgiref",
    "asyncio",
    "concurrent",
    "gevent",
    "multiprocessing",
    "queue",
    "redis",
    "sched",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
CLOCK_CALLS = {"now", "utcnow", "today"}

FRAMEWORKS = {"celery", "channels", "django", "fastapi", "flask", "quart", "starlette", "werkzeug"}

MAX_LINES = 400
DJANGO_FOLDERS = {"management", "commands", "templatetags"}


def test_lower_rooms_never_import_upper_ones() -> None:
    wrong = upward_imports()
    assert not wrong, "\n".join(["a room imports one above it; tests/support/rooms.py says where each belongs", *wrong])


def test_every_room_has_a_floor_of_its_own() -> None:
    assert sorted(FLOORS) == sorted(rooms()), "tests/support/rooms.py lists the rooms of sse_bridge, each once"


def test_rooms_without_io_import_none() -> None:
    wrong = [
        str(one)
        for one in core_imports()
        if room(module_name(ROOT / one.path)) in PURE_ROOMS and one.module.split(".")[0] in IMPURE
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_without_io_read_no_clock() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in python_files(ROOT / "sse_bridge")
        if room(module_name(path)) in PURE_ROOMS
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_imports_no_framework_and_no_adapter() -> None:
    wrong = [
        str(one)
        for one in core_imports()
        if one.module.split(".")[0] in FRAMEWORKS or one.module.startswith(("sse_bridge_", "demo_"))
    ]
    assert not wrong, "\n".join(wrong)


def test_redis_is_imported_by_its_backend_only() -> None:
    wrong = [
        str(one)
        for one in core_imports()
        if one.module.split(".")[0] == "redis" and "backends" not in one.path.parts and not one.typing_only
    ]
    assert not wrong, "\n".join(wrong)


def test_adapters_never_import_each_other_or_a_demo() -> None:
    wrong = [
        str(one)
        for package in packages()[1:]
        for path in python_files(package)
        for one in imports(path)
        if one.module.startswith(("sse_bridge_", "demo_")) and one.module.split(".")[0] != package.name
    ]
    assert not wrong, "\n".join(wrong)


def private_use(one: Import) -> str | None:
    """Why an import from outside takes what is not public, None when it does not.

    Public is what stands in the `__all__` of a package or of a room: `from sse_bridge import Event`,
    `from sse_bridge.streams import StreamRequest`; never a file inside a room.
    """
    module = one.module if one.name is None or exported_module(one) is None else f"{one.module}.{one.name}"
    taken = one.name if module == one.module else None
    if len(module.split(".")) > 2:
        return "reaches into a room: import from the room itself"
    path = find_module(module)
    names = exported(path) if path else None
    if path is None or names is None:
        return f"{module} has no __all__, so it is not public"
    if taken is not None and taken not in names:
        return f"{taken} is not in __all__ of {module}"
    return None


def exported_module(one: Import) -> Path | None:
    return find_module(f"{one.module}.{one.name}")


def test_adapters_and_demos_use_public_names_only() -> None:
    wrong = []
    for package in [*packages()[1:], *demos()]:
        for path in python_files(package):
            for one in imports(path):
                top = one.module.split(".")[0]
                if top.startswith("sse_bridge") and top != package.name and (reason := private_use(one)):
                    wrong.append(f"{one}   ({reason})")
    assert not wrong, "\n".join(wrong)


def test_every_package_folder_has_an_init_file() -> None:
    missing = [
        str(folder.relative_to(ROOT))
        for package in [*packages(), *demos()]
        for folder in {path.parent for path in python_files(package)}
        if not (folder / "__init__.py").exists()
    ]
    assert not missing, f"these folders would be lost from the wheel or from the type checker: {missing}"


def test_every_package_s_docstring_names_its_modules() -> None:
    missing = []
    for init in [path for package in packages() for path in python_files(package) if path.name == "__init__.py"]:
        if init.parent.name in DJANGO_FOLDERS:
            continue
        text = ast.get_docstring(tree(init)) or ""
        for path in sorted(init.parent.iterdir()):
            own = path.suffix == ".py" or (path.name not in DJANGO_FOLDERS and (path / "__init__.py").exists())
            name = path.stem
            if own and not name.startswith("__") and not re.search(rf"\b{name}\b", text):
                missing.append(f"{init.relative_to(ROOT)}: {name}")
    assert not missing, "\n".join(missing)


def test_every_package_says_that_it_is_typed() -> None:
    missing = [package.name for package in packages() if python_files(package) and not (package / "py.typed").exists()]
    assert not missing, f"without a py.typed users' type checkers see Any everywhere: {missing}"


def test_files_are_short_enough_for_one_noun() -> None:
    folders = [*packages(), *demos(), ROOT / "tests", ROOT / "benchmarks"]
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for folder in folders
        for path in python_files(folder)
        if (count := path.read_text(encoding="utf-8").count("\n")) > MAX_LINES
    ]
    assert not long, f"at most {MAX_LINES} lines: {long}"


def test_lines_are_split_at_line_ends_only() -> None:
    # str.splitlines also splits at U+2028, U+0085 and others, which end no line in the standard.
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for package in packages()
        for path in python_files(package)
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "splitlines"
    ]
    assert not wrong, "\n".join(wrong)


def test_tests_wait_for_conditions() -> None:
    # Programs run under a server may pace themselves, and say so; a test waits with tests/support/wait.py.
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in python_files(ROOT / "tests")
        if path.name.startswith("test_") or path.name == "conftest.py"
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "gevent.sleep"}
        if not ast.unparse(node).startswith(("asyncio.sleep(0)", "asyncio.sleep(0, "))  # a turn of the loop, no time
    ]
    assert not wrong, "\n".join(wrong)
