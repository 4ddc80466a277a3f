"""The project's Python files and what they import, read without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

from tests.support.process import ROOT


class Import(NamedTuple):
    """One imported name.

    Attributes:
        path: The importing file, relative to the root.
        line: Its line.
        module: The absolute module, relative imports resolved.
        name: What is taken from it; None for `import module`.
        typing_only: Whether it stands under `if TYPE_CHECKING`.
    """

    path: Path
    line: int
    module: str
    name: str | None
    typing_only: bool

    @override
    def __str__(self) -> str:
        what = f"import {self.module}" if self.name is None else f"from {self.module} import {self.name}"
        return f"{self.path}:{self.line}: {what}"


def packages() -> list[Path]:
    """The folders of the packages that are shipped: the core and the adapters."""
    return [path for path in [ROOT / "sse_bridge", *sorted(ROOT.glob("integrations/sse_bridge_*"))] if path.is_dir()]


def demos() -> list[Path]:
    return [path for path in sorted(ROOT.glob("demo_*")) if path.is_dir()]


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "node_modules" not in path.parts)


def module_name(path: Path) -> str:
    """`integrations/sse_bridge_flask/views.py` is `sse_bridge_flask.views`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "integrations" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file; walking a tree takes longer than reading it."""
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file, those inside functions too."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    guarded = {
        id(inner)
        for node in nodes(path)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    relative = path.relative_to(ROOT)
    for node in nodes(path):
        typing_only = id(node) in guarded
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(relative, node.lineno, alias.name, None, typing_only)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(relative, node.lineno, module, alias.name, typing_only)


def find_module(name: str) -> Path | None:
    """The file of one of the project's own modules."""
    relative = Path(*name.split("."))
    for root in (ROOT, ROOT / "integrations"):
        for path in (root / relative.with_suffix(".py"), root / relative / "__init__.py"):
            if path.is_file():
                return path
    return None


def exported(path: Path) -> list[str] | None:
    """The names in `__all__`, None where a module has none."""
    for node in tree(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets) and value:
            return list(ast.literal_eval(value))
    return None
