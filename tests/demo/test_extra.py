"""The extra ``demo`` brings what the demos import: the tests' own environment holds more, and would hide a hole."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.process import child_environment

NEEDED = [
    "celery.bin.worker",
    "demo_django.tasks",
    "demo_flask.app",
    "gunicorn.workers.ggevent",
    "kombu.transport.redis",
    "uvicorn.protocols.websockets.auto",
]
IMPORT = """
import importlib, os, sys

class Absent:
    blocked = set(sys.argv[1].split(","))
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.blocked:
            raise ModuleNotFoundError(f"{name} is not in the extra", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] in Absent.blocked]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
os.environ["DJANGO_SETTINGS_MODULE"] = "demo_django.settings"
import django
django.setup()
for name in sys.argv[2:]:
    importlib.import_module(name)
print("all")
"""


def closure(name: str, extras: frozenset[str]) -> set[str]:
    """The names of all distributions that installing ``name[extras]`` brings."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonicalize_name(name), extras)]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in distribution(item[0]).requires or []:
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in item[1] | {""}):
                todo.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in seen}


def test_the_demos_need_nothing_but_their_extra() -> None:
    brought = closure("sse-bridge", frozenset({"demo"}))
    assert {"uvicorn", "gunicorn", "celery", "kombu", "gevent"} <= brought
    blocked = [
        module
        for module, owners in packages_distributions().items()
        if module.isidentifier() and not brought & {canonicalize_name(owner) for owner in owners}
    ]
    assert "pytest" in blocked
    run = subprocess.run(
        [sys.executable, "-c", IMPORT, ",".join(blocked), *NEEDED],
        env=child_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == "all", run.stderr
