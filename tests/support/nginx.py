"""nginx with the configuration that the docs show, on free ports of 127.0.0.1, in front of a port that may be empty;
and `started`, which runs nginx with any other one."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import ROOT, Process, accepts, free_port
from tests.support.requires import find_nginx
from tests.support.wait import wait_for

PLACE = "# the two locations of the README go here"


def documented_locations() -> str:
    """The README's."""
    (locations,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(locations)


def documented_server() -> str:
    """The server block of docs/deploy.md, with the locations at their place."""
    (server,) = re.findall(r"```nginx\n(server .*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    assert PLACE in server
    return str(server).replace(PLACE, documented_locations())


class Nginx:
    """A running nginx.

    Attributes:
        url: HTTP/1.1, with the README's locations.
        tls_url: HTTP/2, with the server block of docs/deploy.md.
    """

    def __init__(self, folder: Path, app_port: int, *, replace: dict[str, str], extra: str) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self.url, self.tls_url = f"http://127.0.0.1:{self.port}", f"https://127.0.0.1:{self.tls_port}"
        self.app_port = app_port
        key = folder / "key.pem", folder / "certificate.pem"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
        ]
        subprocess.run([*command, "-keyout", str(key[0]), "-out", str(key[1])], check=True, capture_output=True)
        self.configuration = self._configuration(folder, replace, extra)

    def _configuration(self, folder: Path, replace: dict[str, str], extra: str) -> str:
        tls = documented_server().replace("listen 443", f"listen 127.0.0.1:{self.tls_port}")
        tls = re.sub(r"(ssl_certificate +)\S+;", rf"\1{folder}/certificate.pem;", tls)
        tls = re.sub(r"(ssl_certificate_key +)\S+;", rf"\1{folder}/key.pem;", tls)
        documented = f"server {{ listen 127.0.0.1:{self.port}; {documented_locations()} {extra} }}\n{tls}"
        for old, new in replace.items():
            assert old in documented, f"{old!r} is not in the documented configuration"
            documented = documented.replace(old, new)
        # a page for everything else
        documented = documented.replace("location @later", "location / { proxy_pass http://app; }\nlocation @later")
        return f"upstream app {{ server 127.0.0.1:{self.app_port}; }}\n{documented}"


@contextmanager
def started(folder: Path, configuration: str, *ports: int, main: str = "") -> Iterator[None]:
    """Run it until it listens, and to the end of the block.

    Args:
        folder: an empty one for its files: ``access.log``, ``error.log`` and what it would have elsewhere.
        configuration: the inside of ``http``.
        ports: where it will listen.
        main: further directives outside of ``http``.
    """
    binary = find_nginx()
    assert binary is not None
    (folder / "nginx.conf").write_text(f"""
        daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; {main}
        events {{ worker_connections 256; }}
        http {{
            access_log {folder}/access.log; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            {configuration}
        }}
    """)
    command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with Process(command) as process:

        def ready() -> bool:
            assert process.alive, f"nginx ended with {process.exit_code}:\n{process.output}"
            return all(accepts(port) for port in ports)

        wait_for(ready, what="nginx to listen")
        yield


@contextmanager
def nginx(folder: Path, app_port: int, *, replace: dict[str, str] | None = None, extra: str = "") -> Iterator[Nginx]:
    """Run it.

    Args:
        folder: an empty one for its files.
        app_port: what it passes requests to.
        replace: texts of the documented configuration and what to put there instead.
        extra: further locations of the HTTP/1.1 server.
    """
    running = Nginx(folder, app_port, replace=replace or {}, extra=extra)
    with started(folder, running.configuration, running.port, running.tls_port):
        yield running
