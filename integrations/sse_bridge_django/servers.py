"""Recognises the server by its command line and environment.

Configuration files of gunicorn, process managers that start several servers, and several machines leave no trace there.
An unknown attribute is None, and silences the checks that depend on it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PROGRAMS = ("gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "waitress-serve")


@dataclass(frozen=True)
class Server:
    """The recognised server."""

    program: str | None  # one of `PROGRAMS`; None in a management command, a test, or under an unknown server
    workers: int | None  # the number of worker processes
    worker_class: str | None  # of gunicorn: sync, gthread, gevent, uvicorn.workers.UvicornWorker …


def seen_server(argv: Sequence[str], environ: Mapping[str, str]) -> Server:
    """Reads the command line (of gunicorn's master and its children alike) and the variables that servers read."""
    program = name if (name := program_name(argv)) in PROGRAMS else None
    arguments = list(argv[1:]) if program else []
    variables = environ.get("GUNICORN_CMD_ARGS", "") if program in (None, "gunicorn") else ""
    gunicorn = bool(variables) or program == "gunicorn"
    if variables:
        arguments = [*shlex.split(variables), *arguments]  # the command line wins
    workers = _number(_option(arguments, "-w", "--workers"))
    if workers is None:
        workers = _number(environ.get("WEB_CONCURRENCY"))  # gunicorn's and uvicorn's default
    worker_class = None
    if gunicorn:
        worker_class = _option(arguments, "-k", "--worker-class")
        in_file = _option(arguments, "-c", "--config") or os.path.exists("gunicorn.conf.py")
        if worker_class is None and not in_file:
            worker_class = "sync"
        if worker_class == "sync" and (_number(_option(arguments, "--threads", "--threads")) or 1) > 1:
            worker_class = "gthread"
    return Server(program, workers, worker_class)


def program_name(argv: Sequence[str]) -> str:
    """The name of the program in a command line; ``python -m uvicorn`` runs a ``__main__.py``."""
    path = argv[0] if argv else ""
    name = os.path.basename(path)
    return os.path.basename(os.path.dirname(path)) if name == "__main__.py" else name


def _option(arguments: Sequence[str], short: str, long: str) -> str | None:
    """The last value of an option in the forms ``-w 4``, ``-w4``, ``--workers 4``, ``--workers=4``."""
    value = None
    for index, argument in enumerate(arguments):
        if argument in (short, long):
            value = arguments[index + 1] if index + 1 < len(arguments) else None
        elif argument.startswith(f"{long}="):
            value = argument.partition("=")[2]
        elif len(short) == 2 and argument.startswith(short):
            value = argument[2:]
    return value


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
