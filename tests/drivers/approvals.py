"""Approvals for driver tests, where the kernel itself is not under test."""

from typing import TypeVar

from agent.model.command import Command
from agent.safety.verdict import _SEAL, Approved

C = TypeVar("C", bound=Command)


def nothing_against() -> None:
    """A recheck that lets everything pass."""


def approve(command: C) -> Approved[C]:
    return Approved(command, 0, _SEAL)
