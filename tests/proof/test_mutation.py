"""The mutants themselves: each is a program that differs, and has a name that is its own."""

import ast
from collections import Counter

import pytest

from tests.proof.mutants import all_mutants
from tests.proof.mutation import mutants_of, mutated
from tests.proof.survivors import listed
from tests.tree import ROOT

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
