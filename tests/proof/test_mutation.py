"""The mutants themselves: each is a program that differs, and has a name that is its own."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from tests.proof.mutants import (
    EXIT_BROKEN,
    EXIT_DONE,
    HANGS,
    KILLED,
    LOST,
    SURVIVED,
    _tell,
    all_mutants,
    how_ended,
)
from tests.proof.mutation import mutants_of, mutated
from tests.proof.survivors import listed
from tests.tree import ROOT

BY_ITSELF = "import os, sys; os.kill(os.getpid(), int(sys.argv[1]))"

SOURCE = '''
"""A module."""
LIMIT = 3
RULES = {"a": (first, second), "b": (first,)}


def refuses(age: int = 1) -> str | None:
    """Words."""
    assert age
    if age <= LIMIT and not known:
        return "SR-01"
    return f"it is {age + 1} old"
'''


def changes() -> set[tuple[str, str]]:
    return {(mutant.before, mutant.after) for mutant in mutants_of(SOURCE, "module.py")}


@pytest.mark.parametrize(
    "change",
    [
        ("3", "4"),
        ("3", "2"),
        ("second", "(left out)"),
        ("'a'", "(left out)"),
        ("age <= LIMIT", "age < LIMIT"),
        ("age <= LIMIT", "age > LIMIT"),
        ("age <= LIMIT and (not known)", "age <= LIMIT or not known"),
        ("age <= LIMIT and (not known)", "not known"),
        ("not known", "known"),
        ("'SR-01'", "'SR-00'"),
        ("return 'SR-01'", "return None"),
        ("age + 1", "age - 1"),
        ("if age <= LIMIT and (not known): ...", "pass"),
    ],
)
def test_a_fault_of_each_kind_is_made(change: tuple[str, str]) -> None:
    assert change in changes()


def test_words_annotations_and_asserts_are_left_alone() -> None:
    assert not {before for before, _ in changes()} & {"age", "'Words.'", "assert age", "int", "'it is '"}


def test_every_mutant_is_another_program() -> None:
    original = ast.dump(ast.parse(SOURCE))
    programs = [ast.unparse(mutated(SOURCE, mutant.order)) for mutant in mutants_of(SOURCE, "module.py")]
    assert original not in [ast.dump(ast.parse(program)) for program in programs]
    assert len(set(programs)) == len(programs)


def test_every_mutant_of_the_kernel_has_a_name_of_its_own_and_compiles() -> None:
    mutants = all_mutants(None)
    assert len(mutants) > 1_000
    assert [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1] == []
    for mutant in mutants[::50]:
        compile(mutated((ROOT / mutant.path).read_text(encoding="utf-8"), mutant.order), mutant.path, "exec")


def test_every_survivor_listed_is_a_mutant_of_the_kernel_as_it_is_and_has_a_reason() -> None:
    names = {mutant.name for mutant in all_mutants(None)}
    rows = listed(ROOT)
    assert [row.name for row in rows if row.name not in names] == []
    assert all(len(row.reason) > 20 for row in rows)
    assert len({row.name for row in rows}) == len(rows)


def status_of(code: str, *arguments: str) -> int:
    """How a real process ended, as the kernel tells it."""
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", code, *arguments])
    status = os.waitpid(child.pid, 0)[1]
    child.returncode = 0  # It is waited for.
    return status


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGXCPU, HANGS),
        (signal.SIGALRM, HANGS),
        (signal.SIGSEGV, KILLED),
        (signal.SIGKILL, LOST),
        (signal.SIGTERM, LOST),
    ],
)
def test_only_a_limit_of_our_own_says_that_a_fault_hangs(number: signal.Signals, how: str) -> None:
    assert how_ended(status_of(BY_ITSELF, str(int(number)))) == how


def test_a_fault_is_noticed_by_a_failing_test_and_survives_if_none_fails() -> None:
    assert how_ended(status_of("raise SystemExit(1)")) == KILLED
    assert how_ended(status_of("")) == SURVIVED


def test_a_run_in_which_a_child_was_killed_from_outside_is_broken_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.proof.mutants.REPORT", tmp_path / "report.json")
    first, second, *_ = mutants_of(SOURCE, "module.py")
    console = Console(width=200)
    with console.capture() as told:
        assert _tell([(first, KILLED), (second, LOST)], console, 1.0, is_whole=False) == EXIT_BROKEN
    assert "1 were killed from outside" in told.get()
    assert ": 50.0 % noticed" in told.get()
    assert _tell([(first, KILLED), (second, HANGS)], console, 1.0, is_whole=False) == EXIT_DONE
