"""The direction of imports, as docs/architecture.md draws it, and a few rules on the shape of the tree.

demos -> integrations -> bridge -> hub, backends, streams -> follow, wire -> events, errors, config

The files are read, not imported, so a framework that is missing hides nothing.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.support.process import ROOT
from tests.support.source_tree import (
    Import,
    demos,
    exported,
    find_module,
    imports,
    module_name,
    packages,
    python_files,
    tree,
)

# The floor of each room of sse_bridge; what is not listed is on the ground floor, where it may import its like only.
# A room may import its own floor and those below.
FLOORS = [
    {"errors", "events", "records", "config", "filters", "forks", "locks"},
    {"follow", "wire"},
    {"hub", "backends", "streams"},
    {"bridge", "dead_letters", "history", "part", "publication", "revocation", "subscription", "tokens"},
    {"", "__main__", "cli", "default", "metrics", "testing"},  # "" gathers the names; metrics looks at a whole bridge
]

# Rooms without I/O: time, sockets and threads come in as arguments or not at all.
PURE_ROOMS = {"follow", "wire", "events", "records"}
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


def room(module: str) -> str:
    """`sse_bridge.hub.loop` lies in `hub`."""
    return [*module.split("."), ""][1]


def floor(name: str) -> int:
    return next((level for level, rooms in enumerate(FLOORS) if name in rooms), 0)


def core_imports() -> list[Import]:
    return [one for path in python_files(ROOT / "sse_bridge") for one in imports(path)]


def target_room(one: Import) -> str | None:
    """The room an import of the core reaches, None for an import from outside."""
    if one.module == "sse_bridge" and one.name and find_module(f"sse_bridge.{one.name}"):
        return one.name
    return room(one.module) if one.module.split(".")[0] == "sse_bridge" else None


def test_lower_rooms_never_import_upper_ones() -> None:
    wrong = []
    for one in core_imports():
        target = target_room(one)
        own = room(module_name(ROOT / one.path))
        if target is not None and floor(target) > floor(own):
            wrong.append(
                f"{one}   ({own or 'sse_bridge'} is on floor {floor(own)}, {target or 'sse_bridge'} on {floor(target)})"
            )
    assert not wrong, "\n".join(["a room imports one above it; FLOORS in this file says where each belongs", *wrong])


def test_rooms_of_one_floor_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for one in core_imports():
        target, own = target_room(one), room(module_name(ROOT / one.path))
        if target is not None and target != own and not one.typing_only:
            graph[own].add(target)

    def path_back(start: str, at: str, seen: tuple[str, ...]) -> tuple[str, ...] | None:
        for following in sorted(graph[at]):
            if following == start:
                return (*seen, start)
            if following not in seen and (found := path_back(start, following, (*seen, following))):
                return found
        return None

    circles = [" -> ".join(found) for start in list(graph) if (found := path_back(start, start, (start,)))]
    assert not circles, circles


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
        for node in ast.walk(tree(path))
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
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "splitlines"
    ]
    assert not wrong, "\n".join(wrong)


def test_tests_wait_for_conditions() -> None:
    # Programs run under a server may pace themselves, and say so; a test waits with tests/support/wait.py.
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in python_files(ROOT / "tests")
        if path.name.startswith("test_") or path.name == "conftest.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "gevent.sleep"}
        if not ast.unparse(node).startswith(("asyncio.sleep(0)", "asyncio.sleep(0, "))  # a turn of the loop, no time
    ]
    assert not wrong, "\n".join(wrong)
