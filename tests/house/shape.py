"""The shape of the files: circles of imports, lines that stand there twice, and how long files and functions are."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.support.process import ROOT
from tests.support.source_tree import find_module, imports, module_name, nodes, python_files

DUPLICATE_LINES = 6  # shorter repetitions are idiom: a signature, a try, a return
LONG_FILE = 250
LONG_FUNCTION = 60

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def file_graph(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Per module those of the same files that it imports, for types only or inside a function too.

    `from ..room import name` counts for the room's own file, unless `name` is a module.
    """
    files = {module_name(path): path for path in paths}
    found: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for one in imports(path):
            whole = f"{one.module}.{one.name}"
            target = whole if one.name and find_module(whole) else one.module
            if target in files and target != name:
                found[name].add(target)
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other: however many ways round a group has, it is one circle."""
    left = {name: set(targets) for name, targets in graph.items()}
    groups = []
    while (circle := _circle(left)) is not None:
        start = circle[0]
        group = sorted(name for name in _reached(left, start) if start in _reached(left, name))
        groups.append(group)
        left = {name: targets.difference(group) for name, targets in left.items() if name not in group}
    return sorted(groups)


def _circle(graph: Mapping[str, set[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in graph.get(waiting.pop(), set()) - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def duplicate_lines(paths: Iterable[Path], size: int = DUPLICATE_LINES) -> dict[Path, set[int]]:
    """The lines that belong to a run of at least so many which stands somewhere else too, all its copies counted.

    Lines are compared without their indentation. Blank lines and comments are passed over; an import or a docstring ends a
    run.
    """
    runs = [(path, run) for path in paths for run in _runs(path)]
    places: dict[tuple[str, ...], list[tuple[Path, list[int]]]] = defaultdict(list)
    for path, run in runs:
        for first in range(len(run) - size + 1):
            part = run[first : first + size]
            places[tuple(text for _, text in part)].append((path, [number for number, _ in part]))
    found: dict[Path, set[int]] = defaultdict(set)
    for copies in places.values():
        if len(copies) > 1:
            for path, numbers in copies:
                found[path].update(numbers)
    return dict(found)


def _runs(path: Path) -> Iterator[list[tuple[int, str]]]:
    ends = {
        number
        for node in nodes(path)
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    run: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        text = line.strip()
        if number in ends:
            yield run
            run = []
        elif text and not text.startswith("#"):
            run.append((number, text))
    yield run


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def functions(paths: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """Every function and method with its lines, without its docstring."""
    for path in paths:
        for node in nodes(path):
            if isinstance(node, FunctionNode):
                first = node.body[0]
                text = (first.end_lineno or 0) - first.lineno + 1 if _is_text(first) else 0
                yield f"{module_name(path)}.{node.name}", (node.end_lineno or 0) - node.lineno + 1 - text


def line_counts(folders: Iterable[Path]) -> dict[Path, int]:
    return {path: path.read_text(encoding="utf-8").count("\n") for folder in folders for path in python_files(folder)}


def per_room(lines: Mapping[Path, int]) -> dict[str, tuple[int, int]]:
    """Files and lines of every folder; one below another is a room of its own."""
    files: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for path, count in lines.items():
        room = str(path.parent.relative_to(ROOT))
        files[room] += 1
        total[room] += count
    return {room: (files[room], total[room]) for room in sorted(files)}
