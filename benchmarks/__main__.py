"""`python -m benchmarks [shape …] [--peers]`: measures, keeps the records in results.json, writes RESULTS.md."""

from __future__ import annotations

import argparse
import os
import re
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report, scaling
from benchmarks.results import Results
from benchmarks.servers import SERVERS, missing
from benchmarks.shapes import PEERS, PLAN, SHAPES
from benchmarks.trial import run
from tests.support.process import ROOT
from tests.support.redis_server import find_redis_server
from tests.support.requires import find_nginx

HERE = Path(__file__).parent
PEERS_PYTHON = os.environ.get("BENCH_PEERS_PYTHON", str(ROOT / ".venv/peers/bin/python"))  # where make puts it
OWN_PACKAGES = ("uvicorn", "uvloop", "httptools", "redis", "hiredis", "Django", "Flask", "gunicorn", "gevent")
PEER_PACKAGES = ("sse-starlette", "django-eventstream", "Flask-SSE", "litestar")


def about(rounds: int) -> dict[str, Any]:
    versions = machine.versions(OWN_PACKAGES)
    versions |= machine.peer_versions(PEERS_PYTHON, PEER_PACKAGES) if Path(PEERS_PYTHON).exists() else {}
    versions |= {
        "Redis": _number(machine.output(str(find_redis_server()), "--version")),
        "nginx": _number(machine.output(str(find_nginx() or "nginx"), "-v")),
        "Node": _number(machine.output("node", "--version")),
    }
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": machine.output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "rounds": rounds,
        "load average before": f"{machine.load_average():.1f}",
        **machine.description(),
        "command": " ".join(["`python -m benchmarks", *sys.argv[1:]]) + "`",
        "versions": {name: version for name, version in versions.items() if version},
    }


def _number(text: str) -> str:
    found = re.search(r"\d+(\.\d+)+", text)
    return found[0] if found else ""


def wait_for_machine(most: float, seconds: float = 3600) -> None:
    """Until nothing else runs here: measuring beside others is measuring them, so it gives up rather than begins."""
    deadline = time.monotonic() + seconds
    while (load := machine.load_average()) > most:
        if time.monotonic() > deadline:
            sys.exit(f"after {seconds:.0f} s the load average is still {load:.1f}, not {most}: what else runs here?")
        time.sleep(5)


def line(record: dict[str, Any]) -> str:
    keys = (
        "cpu_us",
        "p50_ms",
        "p99_ms",
        "per_second",
        "rate",
        "publish_rate",
        "kib",
        "connect_seconds",
        "live_seconds",
    )
    facts = [f"{key} {report.figure(record[key])}" for key in keys if key in record]
    return f"lost {record['lost']} " + " ".join(facts) if "error" not in record else f"failed: {record['error'][:300]}"


def write(results: Results, folder: Path) -> None:
    """The report, and docs/scaling.md, which is computed from it."""
    report.write(results, folder)
    text = scaling.markdown(results)
    if text:
        (ROOT / "docs/scaling.md" if folder == HERE else folder / "scaling.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join(SHAPES)}; all if omitted")
    parser.add_argument("--servers", help="comma-separated names instead of the plan's")
    parser.add_argument("--peers", action="store_true", help="the slower peers as well, not only the floor and nchan")
    parser.add_argument("--rounds", type=int, help="instead of the shape's own")
    parser.add_argument("--peer-rounds", type=int, help="the slower peers take part in the first so many rounds only")
    parser.add_argument("--scale", type=float, default=1.0, help="a smaller form, to try the harness; it is not kept")
    parser.add_argument(
        "--wait", type=float, metavar="LOAD", help="before each shape until the load average is below this"
    )
    parser.add_argument("--report", action="store_true", help="only write RESULTS.md again from results.json")
    parser.add_argument(
        "--into", type=Path, default=HERE, help="the folder of results.json, RESULTS.md and results.png"
    )
    options = parser.parse_args()

    # servers, Redis and readers inherit it
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options.into.mkdir(parents=True, exist_ok=True)
    path = options.into / "results.json"
    results = Results.load(path)
    if options.report:
        write(results, options.into)
        return
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"unknown shapes {sorted(unknown)}; there are {', '.join(SHAPES)}")
    for name in options.shapes or SHAPES:
        shape = SHAPES[name] if options.scale == 1 else SHAPES[name].scaled(options.scale)
        servers = options.servers.split(",") if options.servers else [
            server for server in PLAN[name] if options.peers or server not in PEERS
        ]  # fmt: skip
        if options.wait is not None:
            wait_for_machine(options.wait)
        rounds = options.rounds or shape.rounds
        results.replace(name, about(rounds))
        for round_ in range(rounds):
            for server_name in servers:
                if server_name in PEERS and options.peer_rounds is not None and round_ >= options.peer_rounds:
                    continue
                server = SERVERS[server_name]
                lacking = missing(server, PEERS_PYTHON)
                if lacking:
                    if not round_:
                        print(f"{name} {server_name}: left out, needs {lacking}", flush=True)
                    continue
                record = {"round": round_, **run(server, shape, PEERS_PYTHON)}
                results.records.append(record)
                print(f"{name} {round_ + 1}/{rounds} {server_name}: {line(record)}", flush=True)
        if options.scale == 1:
            results.save(path)
            write(results, options.into)
    if options.scale != 1:
        print(report.markdown(results))


if __name__ == "__main__":
    main()
