"""An approval is the kernel's word for one command, and can be turned into no other."""

from dataclasses import fields, replace

import pytest

from agent.model.command import LOCAL_PLAN, LowerBollard, RaiseBollard
from agent.model.identity import EquipmentId
from agent.safety.verdict import _SEAL, Approved, approves

HERE, THERE = EquipmentId("bollard-1"), EquipmentId("bollard-2")


def test_only_the_seals_holder_approves() -> None:
    with pytest.raises(TypeError, match="only the safety kernel"):
        Approved(RaiseBollard(HERE, LOCAL_PLAN), 0, None)  # type: ignore[arg-type]


def test_an_approval_gives_its_seal_to_no_other_command() -> None:
    approved = Approved(LowerBollard(HERE, LOCAL_PLAN), 7, _SEAL)
    assert approves(approved, LowerBollard)
    assert [each.name for each in fields(approved)] == ["command", "at_ms"]
    assert not any(value is _SEAL for value in (getattr(approved, name, None) for name in dir(approved)))
    with pytest.raises(ValueError, match="seal"):
        replace(approved, command=RaiseBollard(THERE, LOCAL_PLAN))
