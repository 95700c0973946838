"""Modes: one ordered enum, the worst wins, each entry names what clears it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Mode(IntEnum):
    """Further down takes precedence."""

    SUPERVISED = 0
    """The fleet is there; remote commands are judged."""
    AUTONOMOUS = 1
    """The fleet is silent; local plans run."""
    LOCAL = 2
    """Somebody works at the equipment (tag-out, local key)."""
    HELD = 3
    """A latched fault: observe only until a reset on site."""


@dataclass(frozen=True, slots=True)
class ModeEntry:
    """One reason to be in a mode; ``rule`` is what refuses while it is HELD."""

    mode: Mode
    cause: str
    cleared_by: str
    rule: str = "SR-13"


SUPERVISED = ModeEntry(Mode.SUPERVISED, "nothing against it", "-")


def worst(entries: Iterable[ModeEntry]) -> ModeEntry:
    """Return the entry with the highest mode; the first of equals; SUPERVISED if there is none."""
    return max(entries, key=lambda entry: entry.mode, default=SUPERVISED)
