"""A port that was handed out stays that server's: no other process and no later call gets it meanwhile."""

from __future__ import annotations

import socket
import subprocess
import sys

from tests.support.process import PORTS, ROOT, child_environment, free_port

PROGRAM = "from tests.support.process import free_port; print(*[free_port() for _ in range(20)])"


def test_a_port_is_handed_out_once() -> None:
    own = {free_port() for _ in range(20)}
    assert len(own) == 20
    others = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=child_environment(), capture_output=True, text=True, check=True
    )
    assert own.isdisjoint(map(int, others.stdout.split()))


def test_none_of_them_is_given_away_by_the_system() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        assert free_port() < other.getsockname()[1]


def test_a_port_that_somebody_has_is_passed_over() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
        assert server.getsockname()[1] not in {free_port() for _ in range(PORTS)}
