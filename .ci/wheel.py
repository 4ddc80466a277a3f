"""Check the built wheel that tox installed (TOX_PACKAGE) against the checkout: `wheel.py CHECKOUT [pytest arguments]`.

It ships what git tracks and nothing else, every module imports, users get its types, and tests pass against it.
Run from a folder that is not the checkout.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

SAMPLE = """
from sse_bridge import Bridge, Event

def publish(bridge: Bridge) -> str:
    return str(bridge.publish("orders:42", {"status": "paid"}, type="order.paid"))

def kind(event: Event) -> str:
    return event.type
"""

# What is shown to work when installed: quick tests of both roots, of each adapter, and of the Lua and JavaScript inside.
SMOKE = [
    "tests/wire",
    "tests/bridge",
    "tests/backends/redis/test_scripts.py",
    "tests/backends/test_contract.py",
    "tests/test_cli.py",
    "tests/starlette",
    "tests/flask_app/test_extension.py",
    "tests/flask_app/test_responses.py",
    "tests/django_app/test_client.py",
    "tests/django_app/test_views.py",
    "tests/channels_app/test_websocket.py",
    "tests/celery_app",
]


def compare(wheel: Path, checkout: Path) -> set[str]:
    """Raise unless the wheel and git agree; return the top-level packages."""
    command = ["git", "-C", str(checkout), "ls-files", "sse_bridge", "integrations"]
    tracked = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    tracked = {path.removeprefix("integrations/") for path in tracked}
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    if shipped != tracked:
        sys.exit(
            f"only in git: {sorted(tracked - shipped)}\nonly in the wheel (is build/ old?): {sorted(shipped - tracked)}"
        )
    print(f"the wheel holds the {len(shipped)} files that git tracks")
    return {name.split("/")[0] for name in shipped}


def import_all(packages: set[str], checkout: Path) -> None:
    """Import every module, from the installed distribution."""
    count = 0
    for package in sorted(packages):
        module = importlib.import_module(package)
        if checkout in Path(str(module.__file__)).resolve().parents:
            environment = Path(sys.prefix).resolve()
            if environment not in Path(str(module.__file__)).resolve().parents:
                sys.exit(f"{package} came from the checkout: {module.__file__}")
        for info in pkgutil.walk_packages(module.__path__, f"{package}."):
            # Django's commands, models and admin need settings; importing them is the adapter's own test.
            if not info.name.startswith("sse_bridge_django.management"):
                importlib.import_module(info.name)
            count += 1
    print(f"{count + len(packages)} modules import")


def check_types(folder: Path) -> None:
    """Type-check a user's file against the installed package."""
    if importlib.import_module("sse_bridge").__dict__.get("Bridge") is None:
        print("no Bridge yet: the typing sample is left out")
        return
    (folder / "sample.py").write_text(SAMPLE)
    subprocess.run([sys.executable, "-m", "mypy", "--strict", "sample.py"], cwd=folder, check=True)


def run_tests(folder: Path, checkout: Path, arguments: list[str]) -> None:
    """Copy the tests here, so that only the installed packages can be found, and run the smoke set."""
    shutil.rmtree(folder / "tests", ignore_errors=True)
    shutil.copytree(checkout / "tests", folder / "tests", ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copy(checkout / "pyproject.toml", folder)
    options = ["-q", "-o", "pythonpath=", "--import-mode=importlib"]
    subprocess.run([sys.executable, "-m", "pytest", *options, *(arguments or SMOKE)], cwd=folder, check=True)


def main() -> None:
    checkout, *arguments = sys.argv[1:]
    here, root = Path.cwd(), Path(checkout).resolve()
    sys.path[0] = str(here)  # not .ci of the checkout
    packages = compare(Path(os.environ["TOX_PACKAGE"]), root)
    import_all(packages, root)
    check_types(here)
    run_tests(here, root, arguments)


main()
