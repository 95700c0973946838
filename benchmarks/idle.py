"""What a cabinet's processes take while nothing happens."""

import re
import time

from benchmarks.bench import Run
from benchmarks.child import Child, cpu_s, memory
from benchmarks.hardware import pids_in
from benchmarks.table import Table

SETTLE_S = 15
WINDOW_S = 20
WATCHED = {
    "gw-darcy: agent": ("agent, one Modbus line (lighting cabinet and meter, 500 ms)", 45.0),
    "gw-republique: guard": ("guard, one SNMP junction (100 ms)", 45.0),
    "gw-republique: agent": ("agent beside that guard (500 ms)", 45.0),
    "gw-liberation: guard": ("guard, three Modbus bollards (100 ms), no SNMP", 36.0),
    "gw-liberation: agent": ("agent beside that guard (500 ms)", 45.0),
}
METHOD = (
    "The district of `make run`, all in real processes. After the last cabinet has reported and a pause of "
    f"{SETTLE_S} s, memory and CPU of each process are read from `/proc` over windows of {WINDOW_S} s. RSS counts shared "
    "pages fully, PSS by their share; MB are 10⁶ bytes. A quiet street still moves: the meter breathes, signals change."
)


def measure(run: Run) -> Table:
    """Run the district and look at its processes."""
    table = Table("Memory and CPU at rest", METHOD)
    home = run.folder / "d"
    arguments = ("-m", "simulators.cli", "district", "--dir", str(home), "--http", "0")
    with Child(arguments, run.folder / "log") as district:
        run.advance("the district starts", 0, 1)
        district.wait_for("the district is ready", lambda: re.search("Ctrl-C stops everything", district.said()), 120)
        pids = pids_in((home / "log").read_text(errors="replace"))
        settle_s, window_s = (SETTLE_S, WINDOW_S) if not run.quick else (2, 3)
        windows = run.count(3, 1)
        total_s = settle_s + windows * window_s
        _wait(run, "settling", 0, settle_s, total_s)
        cpu: dict[str, list[float]] = {name: [] for name in WATCHED}
        rss: dict[str, list[float]] = {name: [] for name in WATCHED}
        pss: dict[str, list[float]] = {name: [] for name in WATCHED}
        for window in range(windows):
            began_s, before = time.monotonic(), {name: cpu_s(pids[name]) for name in WATCHED}
            _wait(run, "idle", settle_s + window * window_s, window_s, total_s)
            for name in WATCHED:
                took_s = time.monotonic() - began_s
                cpu[name].append(100 * (cpu_s(pids[name]) - before[name]) / took_s)
                now = memory(pids[name])
                rss[name].append(now.rss_mb)
                pss[name].append(now.pss_mb)
        for name, (words, rss_mb) in WATCHED.items():
            table.add(f"{words}: RSS", "MB", rss[name], f"≤ {rss_mb:.0f}")
            table.add(f"{words}: PSS", "MB", pss[name])
            table.add(f"{words}: CPU", "% of a core", cpu[name], "≤ 1")
    return table


def _wait(run: Run, what: str, done_s: int, seconds: int, total_s: int) -> None:
    for second in range(seconds):
        run.advance(what, done_s + second, total_s)
        time.sleep(1)
