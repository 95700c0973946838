"""What the figures were measured on, and what else was going on."""

import os
import platform
import sqlite3
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("msgspec", "cryptography", "pymodbus", "pysnmp", "aiomqtt", "iotcore", "sqlalchemy", "litestar", "uvicorn")
GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine with the software on it."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    commit: str
    versions: dict[str, str]

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.cores} × {self.cpu}, {self.memory_gib:.0f} GiB, Linux {self.kernel}, Python {self.python}, "
            f"SQLite {self.versions['sqlite']}; commit {self.commit}"
        )

    def fields(self) -> dict[str, object]:
        """For a JSON line."""
        return asdict(self)


def this_machine() -> Machine:
    """Look at the machine we run on."""
    versions = {"sqlite": sqlite3.sqlite_version} | {package: version(package) for package in PACKAGES}
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages * page_bytes / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        commit=_commit(),
        versions=versions,
    )


def load() -> float:
    """The load average of the last minute: above the number of cores, somebody else was measuring too."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return " ".join(value.split())
    return platform.machine()


def _commit() -> str:
    """The commit, with a ``+`` if files under version control were changed since."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
        return done.stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD") or "unknown"
    is_changed = bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/benchmarks.md"))
    return f"{commit}+" if is_changed else commit
