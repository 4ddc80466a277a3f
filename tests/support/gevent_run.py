"""Python under gevent's monkey patching, always in a process of its own: patched and plain asyncio do not mix."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from tests.support.process import Process

# -c and not a file, so that the program sees the project's root as the tests do.
_PATCH = "from gevent import monkey; monkey.patch_all()\n"


def gevent_run(
    source: str, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = 60, patch: bool = True
) -> str:
    """Run a program to its end and return what it wrote.

    Args:
        source: Python, indented as the caller likes.
        arguments: Its `sys.argv[1:]`.
        env: Added to the environment.
        seconds: It is killed after that.
        patch: False for a program that patches by itself, or later, or not at all.

    Raises:
        AssertionError: It ended with another code than 0, or not in time; the message holds its output.
    """
    process = gevent_start(source, *arguments, env=env, patch=patch)
    code = process.wait(seconds)
    assert code == 0, f"the program ended with {code}:\n{process.output}"
    return process.output


def gevent_start(source: str, *arguments: str, env: Mapping[str, str] | None = None, patch: bool = True) -> Process:
    """Start a program and return the running process: use it in a with statement."""
    program = (_PATCH if patch else "") + textwrap.dedent(source)
    command: Sequence[str] = ["python", "-c", program, *arguments]
    return Process(command, env=env)
