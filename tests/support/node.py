"""Node programs with the packages of tests/node/package.json, installed there at first use."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.process import Process

FOLDER = Path(__file__).resolve().parent.parent / "node"


def ensure_packages() -> None:
    """Install the packages unless they are there; several test processes wait for one that does it."""
    if (FOLDER / "node_modules" / ".ready").exists():
        return
    with (FOLDER / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / "node_modules" / ".ready").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"]
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"npm install failed:\n{done.stdout}{done.stderr}"
            (FOLDER / "node_modules" / ".ready").touch()


def node_run(script: str, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
    """Run a script of tests/node, or a program given as text, to its end and return its stdout.

    A program given as text is an ES module and finds the packages; it must not look like a file's name.
    """
    ensure_packages()
    done = subprocess.run(
        _command(script, arguments),
        cwd=FOLDER,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"node ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def node_start(script: str, *arguments: str) -> Process:
    """Start a script or a program and return the running process: use it in a with statement."""
    ensure_packages()
    return Process(_command(script, arguments), cwd=FOLDER)


def lines(process: Process) -> list[dict[str, object]]:
    """The complete JSON lines a process wrote so far."""
    return [json.loads(line) for line in process.output.split("\n")[:-1] if line.startswith("{")]


def _command(script: str, arguments: Sequence[str]) -> list[str]:
    if script.endswith(".mjs"):
        return ["node", script, *arguments]
    return ["node", "--input-type=module", "--eval", script, *arguments]
