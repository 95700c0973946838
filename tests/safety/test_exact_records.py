"""What every record and every numbered state of the kernel is, to the letter."""

import importlib
import inspect
from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from agent.safety import verdict
from agent.safety.mode import Mode
from agent.safety.observer import JunctionMemory, Response
from tests.tree import ROOT

MODULES = [
    importlib.import_module(f"agent.safety.{path.stem}")
    for path in sorted((ROOT / "agent/safety").glob("*.py"))
    if path.stem != "__init__"
]
RECORDS = {
    each
    for module in MODULES
    for _, each in inspect.getmembers(module, inspect.isclass)
    if is_dataclass(each) and each.__module__ == module.__name__
}


@pytest.mark.parametrize("record", sorted(RECORDS, key=lambda each: each.__name__))
def test_no_record_of_the_kernel_can_be_changed_or_grow(record: type) -> None:
    made = object.__new__(record)
    assert not hasattr(made, "__dict__")
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(record)[0].name, None)


def test_worse_modes_and_graver_answers_have_higher_numbers() -> None:
    assert [(mode.name, int(mode)) for mode in Mode] == [
        ("SUPERVISED", 0),
        ("AUTONOMOUS", 1),
        ("LOCAL", 2),
        ("HELD", 3),
    ]
    assert [(each.name, int(each)) for each in Response] == [
        ("ALARM", 0), ("RELEASE_AND_LATCH", 1), ("FLASH", 2), ("LOWER", 3),
    ]  # fmt: skip


def test_an_observer_begins_knowing_nothing() -> None:
    memory = JunctionMemory()
    assert (memory.matrix, memory.last, memory.flash_until_ms, memory.conflict_at_ms) == (None, None, None, None)
    assert memory.confirmed is False
    assert (memory.green_from, memory.yellow_from, memory.green_until) == ((), (), ())


def test_the_kernels_seal_carries_nothing() -> None:
    assert not hasattr(verdict._SEAL, "__dict__")
