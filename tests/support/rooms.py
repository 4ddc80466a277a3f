"""The rooms of sse_bridge and the floor of each: which may import which."""

from __future__ import annotations

from tests.support.process import ROOT
from tests.support.source_tree import Import, find_module, imports, module_name, python_files

# From the ground up, a room each: a folder, or a file at the top. A room imports itself and those before it, for types too.
# fmt: off
FLOORS = [
    "errors", "environment", "config", "events", "redaction", "encoding",
    "runtime",
    "records", "filters", "follow", "wire", "admission", "backends", "publishing", "hub",
    "streams.lifecycle", "streams.writers", "streams.http", "streams.channels", "streams.sources", "streams.websockets", "streams.asgi", "streams",
    "part", "dead_letters", "draining", "revocation", "subscription", "history", "tokens", "bridge",
    "default", "token_hook", "cli_lines", "metrics", "sse_bridge", "testing", "cli", "__main__",
]
# fmt: on


def room(module: str) -> str:
    """`sse_bridge.hub.loop` lies in `hub`, `sse_bridge.streams.asgi.send` in `streams.asgi`, and what gathers the names in
    `sse_bridge`.
    """
    top, *inner = module.split(".")
    if not inner:
        return top
    if inner[0] == "streams" and len(inner) > 1 and (ROOT / "sse_bridge" / "streams" / inner[1]).is_dir():
        return f"streams.{inner[1]}"
    return inner[0]


def rooms() -> set[str]:
    return {room(module_name(path)) for path in python_files(ROOT / "sse_bridge")}


def core_imports() -> list[Import]:
    return [one for path in python_files(ROOT / "sse_bridge") for one in imports(path)]


def target_room(one: Import) -> str | None:
    """The room an import of the core reaches, None for an import from outside."""
    if one.module.split(".")[0] != "sse_bridge":
        return None
    inner = f"{one.module}.{one.name}"
    return room(inner if one.name and find_module(inner) else one.module)


def upward_imports() -> list[str]:
    """Imports of a room on a higher floor, those for types too; a line for each."""
    wrong = []
    for one in core_imports():
        target, own = target_room(one), room(module_name(ROOT / one.path))
        if target is not None and FLOORS.index(target) > FLOORS.index(own):
            wrong.append(f"{one}   ({target} stands above {own})")
    return wrong
