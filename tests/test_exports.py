"""`__all__` tells the truth: every name in it exists, once, and every public name of `sse_bridge` is in it."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.support.source_tree import exported, module_name, packages, python_files

MODULES = [module_name(path) for package in packages() for path in python_files(package) if exported(path) is not None]


@pytest.mark.parametrize("name", MODULES)
def test_names_in_all_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__), "a name stands twice in __all__"
    assert [one for one in module.__all__ if not hasattr(module, one)] == []


@pytest.mark.parametrize("name", [name for name in MODULES if "." not in name])
def test_public_names_of_a_package_are_in_all(name: str) -> None:
    module = importlib.import_module(name)
    forgotten = [
        one
        for one, value in vars(module).items()
        if not one.startswith("_") and not inspect.ismodule(value) and one not in module.__all__
        if getattr(value, "__module__", "").split(".")[0].startswith("sse_bridge")
    ]
    assert forgotten == []
