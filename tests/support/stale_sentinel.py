"""A Sentinel that is cut off from the others: it answers, and names the primary of long ago whatever happens."""

from __future__ import annotations

import socketserver
import threading
from typing import Self


class _Asked(socketserver.StreamRequestHandler):
    server: StaleSentinel

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            if words[:2] == [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME"]:
                self.server.asked += 1
                host, port = b"127.0.0.1", b"%d" % self.server.names
                self.wfile.write(b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(host), host, len(port), port))
            else:
                self.wfile.write(b"+OK\r\n")

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


class StaleSentinel(socketserver.ThreadingTCPServer):
    """On a free port of 127.0.0.1.

    Args:
        names: the port of the primary that it believes in.

    Attributes:
        asked: how often it was.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, names: int) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.names = names
        self.asked = 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join(60)
