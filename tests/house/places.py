"""Places that decide the same thing, found by the names that they use.

A definition here follows the code: whoever renames a step, renames it in `STEPS`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.source_tree import module_name, tree

# The steps of opening a stream, in their order, and the functions and attributes that take them.
STEPS = {
    "room in the process": {"full", "no_room"},
    "enter the hub": {"enter", "attend", "register_source"},
    "register the user": {"register"},
    "wait until ready": {"ready", "until_ready"},
    "admit": {"admit", "admitting"},
    "open": {"open", "opened"},
}
DRIVER_STEPS = 3
NAMED = (ast.Attribute, ast.Name)


def opening_drivers(paths: Iterable[Path]) -> list[str]:
    """Classes and functions of a module that take three or more of the steps themselves."""
    return [
        f"{module_name(path)}.{unit.name}"
        for path in paths
        for unit in tree(path).body
        if isinstance(unit, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if len(_steps(unit)) >= DRIVER_STEPS
    ]


def _steps(unit: ast.AST) -> set[str]:
    """Its calls of functions and of others' methods; `full` is a property."""
    calls = [node.func for node in ast.walk(unit) if isinstance(node, ast.Call)]
    called = {func.attr if isinstance(func, ast.Attribute) else func.id for func in calls if isinstance(func, NAMED)}
    read = {node.attr for node in ast.walk(unit) if isinstance(node, ast.Attribute) and node.attr == "full"}
    return {step for step, names in STEPS.items() if names & (called | read)}


def admit_methods(paths: Iterable[Path]) -> list[str]:
    """Definitions of `admit` or `admitting` outside the backends, whose breakers admit calls and not streams."""
    return [
        name
        for path in paths
        for name, node in _functions(path)
        if node.name in STEPS["admit"] and ".backends." not in name
    ]


def continuity_judges(paths: Iterable[Path]) -> list[str]:
    """Functions that compare one entry's `prev` with another's `check`."""
    return [
        name
        for path in paths
        for name, node in _functions(path)
        if any(isinstance(part, ast.Compare) and _of_history(part) for part in ast.walk(node))
    ]


def _of_history(compare: ast.Compare) -> bool:
    names = [
        {node.attr for node in ast.walk(side) if isinstance(node, ast.Attribute)}
        for side in (compare.left, *compare.comparators)
    ]
    return any("prev" in one and "check" in other for one in names for other in names if one is not other)


def _functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods, under their qualified names; a function within another belongs to that."""

    def within(prefix: str, body: list[ast.stmt]) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from within(f"{prefix}.{node.name}", node.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}.{node.name}", node

    return within(module_name(path), tree(path).body)
