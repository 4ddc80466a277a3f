"""A child of the harness that speaks JSON lines: its latest status, its result."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.process import ROOT, child_environment


class Child:
    """`python -m module '<json>'`, in this interpreter.

    A thread reads what it says, so that it never waits for us while it measures.
    """

    def __init__(self, module: str, plan: dict[str, Any]) -> None:
        self._what = f"python -m {module} {json.dumps(plan)[:200]}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(plan)],
            cwd=ROOT,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._changed = threading.Condition()
        self._said: str | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._said = line.strip()
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def expect(self, word: str, seconds: float = 30) -> None:
        """Waits until it says exactly this."""
        self._wait(lambda said: said == word, seconds)

    def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        """Waits for a status."""
        self._wait(lambda said: said is not None and condition(json.loads(said)), seconds)

    def latest(self) -> dict[str, Any]:
        assert self._said is not None, f"{self._what} has said nothing yet"
        status: dict[str, Any] = json.loads(self._said)
        return status

    def tell(self) -> None:
        """An empty line: go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def result(self, seconds: float = 300) -> dict[str, Any]:
        """Its last line, after its end; closes its stdin first."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._ended:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"{self._what} did not end within {seconds} s")
        code = self._process.wait()
        assert code == 0, f"{self._what} ended with {code}"
        return self.latest()

    def kill(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _wait(self, condition: Callable[[str | None], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition(self._said):
                assert not self._ended, (
                    f"{self._what} ended with {self._process.wait()}, having said {self._said!r:.300}"
                )
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"waited {seconds} s for {self._what}, it last said {self._said!r:.300}")
