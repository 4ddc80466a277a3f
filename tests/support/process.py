"""A child process of a test: output captured in a file, ended by its own id, never left behind."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Self

from tests.support.wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
PORTS = 399  # of each process that asks for one

_running: set[Process] = set()


@functools.cache
def _own_ports() -> Iterator[int]:
    """Over and over, the ports that no other test process hands out: the one before them is bound while this one lives.

    The system gives none of them away: its own begin at 32768, and what is bound to port 0 meanwhile gets one of those.
    """
    for first in range(20_000, 32_000, PORTS + 1):
        mark = socket.socket()
        try:
            mark.bind(("127.0.0.1", first))
        except OSError:
            mark.close()
        else:
            mark.detach()
            return itertools.cycle(range(first + 1, first + 1 + PORTS))
    raise AssertionError("no ports are left below 32000: how many test runs are there?")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has, and that nobody else is given before `PORTS` others were.

    Its server may bind it much later, or leave it for a while.
    """
    for port in itertools.islice(_own_ports(), PORTS):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections are no matter
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"each of {PORTS} ports is taken")


def accepts(port: int) -> bool:
    """Whether something accepts connections on that port of 127.0.0.1."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child that imports what this process imports.

    From a checkout that is both source roots; where the wheel is tested it is the installed package only.
    """
    installed = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    paths = [Path(entry or ".").resolve() for entry in sys.path]
    own = [str(path) for path in paths if path.is_dir() and not installed & {path, *path.parents}]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(own), PYTHONUNBUFFERED="1")
    environment.update(extra or {})
    return environment


class Process:
    """A running child.

    Args:
        command: Program and arguments; `python` is replaced by the interpreter that runs the tests.
        env: Added to `child_environment()`.
        cwd: Where it runs; the project's root by default.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | str | None = None
    ) -> None:
        self.command = [sys.executable if part == "python" else str(part) for part in command]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the child has ended
        self._popen = subprocess.Popen(
            self.command,
            env=child_environment(env),
            cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        _running.add(self)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative when a signal ended it."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """Everything it wrote so far, stdout and stderr."""
        if self._log.closed:
            return self._last_output
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end and return the exit code; a child that does not end is killed and an AssertionError raised."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            message = f"{' '.join(self.command)!r} still ran after {seconds} s:\n{self.output}"
            raise AssertionError(message) from None
        finally:
            if not self.alive:
                self._close()

    def wait_until_accepting(self, port: int, seconds: float = 100) -> None:
        """Return when it accepts connections on that port."""

        def ready() -> bool:
            assert self.alive, f"{' '.join(self.command)!r} ended with {self.exit_code}:\n{self.output}"
            return accepts(port)

        try:
            wait_for(ready, seconds, what=f"a listener on port {port}")
        except AssertionError as error:
            output = self.output
            self.kill()
            raise AssertionError(f"{error}\n{output}") from None

    def signal(self, number: int) -> None:
        if self.alive:
            self._popen.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open and answer nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL and wait."""
        if self.alive:
            self._popen.kill()
        self._popen.wait()
        self._close()

    def terminate(self, seconds: float = 10) -> int:
        """SIGTERM, then SIGKILL after `seconds`; returns the exit code."""
        if self.alive:
            self.resume()
            self._popen.terminate()
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        code = self._popen.wait()
        self._close()
        return code

    def _close(self) -> None:
        if not self._log.closed:
            self._last_output = self.output
            self._log.close()
        _running.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.terminate()


@atexit.register
def _kill_all() -> None:
    # A test that failed between start and its fixture's end must not leave a server behind.
    for process in list(_running):
        process.kill()
