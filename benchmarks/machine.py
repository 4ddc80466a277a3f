"""What a run needs to know of the machine: its cores, what a process and its children used, what is installed.

Linux only: everything is read from /proc.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")  # the resolution of every CPU figure


def cores() -> tuple[int, int]:
    """The server's core, and the core of everything else; the same one where the machine has only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Processes started inside run on that core, and so do all their threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    pids = [pid]
    for each in pids:  # grows while it is walked
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            pids += map(int, children.read_text().split())
    return pids


def cpu_seconds(pid: int) -> float:
    """CPU that a process and its children have used, in user space and in the kernel, those that have ended included."""
    ticks = 0
    for each in family(pid):
        # the name in parentheses may hold spaces; utime, stime, cutime and cstime are fields 14 to 17 of proc(5)
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks * TICK_SECONDS


def wants_core(pid: int) -> bool:
    """Whether a process or one of its children runs or would, if it had a core: idle is not the same as starved."""
    for each in family(pid):
        for thread in Path(f"/proc/{each}/task").iterdir():
            try:
                state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:  # the thread has ended
                continue
            if state in "RD":
                return True
    return False


def core_seconds(core: int) -> float:
    """How long a core has been busy since the machine started, with whatever; see proc_stat(5)."""
    row = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)
    assert row, f"no cpu{core} in /proc/stat"
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, row[1].split())
    return (user + nice + system + irq + softirq + steal) * TICK_SECONDS


def memory_kib(pid: int) -> int:
    """Proportional set size of a process and its children: what is shared between them counts once."""
    total = 0
    for each in family(pid):
        total += int(_PSS.search(Path(f"/proc/{each}/smaps_rollup").read_text())[1])  # type: ignore[index]
    return total


_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def description() -> dict[str, str]:
    """The machine and what else it is doing."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def load_average() -> float:
    """Of the last minute: below 0.5 the machine is ours."""
    return os.getloadavg()[0]


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed versions, in this interpreter."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peer_versions(python: str, packages: Sequence[str]) -> dict[str, str]:
    """The installed versions in another interpreter."""
    code = (
        "import importlib.metadata as m, sys\n"
        "for d in m.distributions():\n"
        "    if d.metadata['Name'].lower() in sys.argv[1:]: print(d.metadata['Name'], d.version)"
    )
    done = subprocess.run([python, "-c", code, *map(str.lower, packages)], capture_output=True, text=True, check=False)
    return dict(line.split() for line in done.stdout.splitlines())


def output(*command: str) -> str:
    """The first line that a program writes about its version; empty if there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (done.stdout or done.stderr).partition("\n")[0].strip()
