"""``python -m tests.proof.mutants``: does any test notice when the kernel is wrong?

One fault at a time is put into ``agent/safety``, in a forked process that has not loaded it yet, and the kernel's own
tests run there until the first of them fails. A fault none of them notices is a survivor: either a test is missing, or
nothing can tell the difference, and then ``docs/mutants.md`` says why.

    python -m tests.proof.mutants --only junction         one file
    python -m tests.proof.mutants --only observer --find started    those whose name holds a word
"""

import argparse
import ast
import importlib.util
import json
import math
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.proof.mutation import Mutant, mutants_of, mutated
from tests.proof.survivors import PAGE, listed, row

ROOT = Path(__file__).resolve().parent.parent.parent
KERNEL = "agent/safety"
TESTS = "tests/safety"
TESTS_OF_TESTS = "the_campaign_finds_any_rule"
"""They leave rules out themselves, and say nothing of the kernel."""
REPORT = ROOT / "build/mutants/report.json"
SCORE_MIN_PERCENT = 95.0
LONG = ("campaign", "soundness", "spells", "plc")
"""Words in the names of tests that take seconds: they run last."""
PATIENCE = 4
"""A mutant that computes this many times longer than all tests do has been noticed: it hangs."""
CPU_SECONDS_MIN = 20
CHILD_SECONDS_MAX = 900
"""By the clock. Long, because a busy machine must not make a survivor look as if it hung."""
PLUGINS = "-p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider --timeout=0"
OPTIONS = (*f"-x -q --tb=no --assert=plain {PLUGINS} -k".split(), f"not {TESTS_OF_TESTS}")
KILLED, SURVIVED, HANGS, LOST = "killed", "survived", "hangs", "killed from outside"
EXIT_DONE, EXIT_SURVIVORS, EXIT_BROKEN = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Put every fault in, one by one."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="MODULE", help="one module of agent/safety, such as lease")
    parser.add_argument("--find", default="", metavar="WORDS", help="only faults whose name holds these words")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once (default: all cores)")
    parser.add_argument("--show", action="store_true", help="only list the faults, do not try them")
    asked = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 220, highlight=False)
    chosen = [each for each in all_mutants(asked.only) if asked.find in str(each)]
    if asked.show:
        for mutant in chosen:
            console.print(str(mutant), markup=False, soft_wrap=True)
        return EXIT_DONE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_BROKEN))  # And take the children along.
    _load_what_mutants_share()
    started_s = time.monotonic()
    if run_one(None, CHILD_SECONDS_MAX) != SURVIVED:
        console.print("the tests fail without any fault put in; mend them first")
        return EXIT_BROKEN
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = max(CPU_SECONDS_MIN, math.ceil(PATIENCE * (spent.ru_utime + spent.ru_stime)))
    ended = _try_all(chosen, asked.jobs, cpu_s, console)
    return _tell(ended, console, time.monotonic() - started_s, is_whole=len(chosen) == len(all_mutants(None)))


def all_mutants(modules: Sequence[str] | None) -> list[Mutant]:
    """Every fault of the kernel, or of some of its modules."""
    paths = sorted((ROOT / KERNEL).glob("*.py"))
    return [
        mutant
        for path in paths
        if modules is None or path.stem in modules
        for mutant in mutants_of(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]


def _load_what_mutants_share() -> None:
    """Load once what every child needs; never the kernel, which each child loads with its own fault."""
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HYPOTHESIS_PROFILE": "mutants", "CAMPAIGN_CASES": "3000"}
    for module in ("pytest", "pytest_asyncio.plugin", "pytest_timeout", "hypothesis.strategies", "hypothesis.stateful"):
        importlib.import_module(module)
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutants", derandomize=True, deadline=None, database=None, phases=(Phase.explicit, Phase.generate)
    )
    for path in sorted((ROOT / "agent/model").glob("*.py")):
        importlib.import_module(f"agent.model.{path.stem}".removesuffix(".__init__"))
    assert not any(name.startswith("agent.safety") for name in sys.modules)


@dataclass(slots=True)
class _Child:
    mutant: Mutant
    until_s: float


def _try_all(mutants: list[Mutant], jobs: int, cpu_s: int, console: Console) -> list[tuple[Mutant, str]]:
    ended: list[tuple[Mutant, str]] = []
    waiting, running = list(reversed(mutants)), dict[int, _Child]()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("mutants", total=len(mutants))
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    mutant = waiting.pop()
                    running[_fork(mutant, cpu_s)] = _Child(mutant, time.monotonic() + CHILD_SECONDS_MAX)
                for mutant, how in _ended(running):
                    ended.append((mutant, how))
                    if not console.is_terminal and (how == SURVIVED or len(ended) % 100 == 0):
                        print(f"{len(ended)} of {len(mutants)} tried; {how}: {mutant}", flush=True)
                    alive = sum(each == SURVIVED for _, each in ended)
                    bar.update(task, advance=1, description=f"mutants, {alive} survive")
                time.sleep(0.01)
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
    return ended


def _ended(running: dict[int, _Child]) -> Iterator[tuple[Mutant, str]]:
    for pid, child in list(running.items()):
        is_late = time.monotonic() > child.until_s
        if is_late:
            os.kill(pid, signal.SIGKILL)
        done, status = os.waitpid(pid, 0 if is_late else os.WNOHANG)
        if done:
            del running[pid]
            how = how_ended(status)
            yield child.mutant, HANGS if is_late and how == LOST else how  # That was we.


def how_ended(status: int) -> str:
    """What a child's end says of its fault; nothing, if another killed it, such as the kernel when memory is short."""
    if not os.WIFSIGNALED(status):
        return KILLED if status else SURVIVED
    number = os.WTERMSIG(status)
    if number in {signal.SIGXCPU, signal.SIGALRM}:
        return HANGS
    return LOST if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP} else KILLED


def run_one(mutant: Mutant | None, cpu_s: int) -> str:
    """Try one fault, or none, and wait for the end."""
    pid = _fork(mutant, cpu_s)  # Ends by itself, by its processor time or by its alarm.
    return how_ended(os.waitpid(pid, 0)[1])


def _fork(mutant: Mutant | None, cpu_s: int) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(CHILD_SECONDS_MAX)  # Should whoever waits be gone.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        status = _run_tests(mutant)
    finally:
        os._exit(status)


def _run_tests(mutant: Mutant | None) -> int:
    import pytest

    if mutant is not None:
        sys.meta_path.insert(0, _Finder(mutant))
    status = 0
    for files in _tests_for(mutant):
        status = status or int(pytest.main([*OPTIONS, "--rootdir", str(ROOT), *files]))
    return status


def _tests_for(mutant: Mutant | None) -> list[list[str]]:
    """The kernel's tests that load the changed module: its own, which find most faults, then the others."""
    stem = Path(mutant.path).stem if mutant else ""
    paths = sorted(
        (ROOT / TESTS).glob("test_*.py"), key=lambda path: (any(word in path.stem for word in LONG), path.name)
    )
    if mutant is not None:
        module = mutant.path.removesuffix(".py").replace("/", ".")
        paths = [path for path in paths if "records" in path.stem or module in _loaded_by(path.relative_to(ROOT))]
    own = [str(path) for path in paths if stem and stem in path.stem]
    return [files for files in (own, [str(path) for path in paths if str(path) not in own]) if files]


@cache
def _loaded_by(path: Path) -> frozenset[str]:
    """Every module of ours that a file loads, directly or through others."""
    found: set[str] = set()
    fresh = {path}
    while fresh:  # Bounded by the number of files.
        names = {name for each in fresh for name in _names_imported(each)} - found
        found |= names
        fresh = {file for name in names if (ROOT / (file := Path(*name.split(".")).with_suffix(".py"))).is_file()}
    return frozenset(found)


def _names_imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, tree_order: int) -> None:
        super().__init__(name, path)
        self._order = tree_order

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(source, self._order), self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds the changed module before the import system finds the file."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".")
        self._path, self._order = str(ROOT / mutant.path), mutant.order

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=_Loader(name, self._path, self._order))


def _tell(ended: list[tuple[Mutant, str]], console: Console, took_s: float, *, is_whole: bool) -> int:
    counts = Counter(how for _, how in ended)
    survivors = [mutant for mutant, how in ended if how == SURVIVED]
    known = {row.name for row in listed(ROOT)}
    unknown = [mutant for mutant in survivors if mutant.name not in known]
    score = 100.0 * (counts[KILLED] + counts[HANGS]) / max(1, len(ended))
    for mutant in unknown:
        console.print(f"survives: {mutant}", markup=False, soft_wrap=True)
    if unknown:
        console.print(f"write a test, or a line into {PAGE} with the reason why nothing can tell:")
    for mutant in unknown:
        console.print(row(mutant.name, ""), markup=False, soft_wrap=True)
    if is_whole and (stale := known - {mutant.name for mutant, how in ended if how in {SURVIVED, LOST}}):
        for name in sorted(stale):
            console.print(f"listed as a survivor, and killed: {name}", markup=False, soft_wrap=True)
    console.print(
        f"{len(ended)} mutants, {counts[KILLED]} killed, {counts[HANGS]} hang, {len(survivors)} survive, "
        f"{len(survivors) - len(unknown)} of them listed with a reason: {score:.1f} % noticed in {took_s:.0f} s"
    )
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"name": mutant.name, "line": mutant.line, "ended": how} for mutant, how in ended]
    REPORT.write_text(json.dumps({"score": score, "seconds": took_s, "mutants": rows}, indent=1), encoding="utf-8")
    if counts[LOST]:
        console.print(
            f"{counts[LOST]} were killed from outside, so nothing is known of them: run it again, with fewer --jobs"
        )
        return EXIT_BROKEN
    return EXIT_SURVIVORS if unknown or (is_whole and score < SCORE_MIN_PERCENT) else EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
