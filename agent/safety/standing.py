"""The standing of one piece of equipment: what the kernel must know beside the observation. Kept by whoever acts."""

from dataclasses import dataclass

from agent.model.command import CommandClass
from agent.model.identity import EquipmentId
from agent.model.observation import Presence
from agent.safety.latch import Latch
from agent.safety.mode import SUPERVISED, ModeEntry


@dataclass(frozen=True, slots=True)
class Spending:
    """One command that was carried out or tried; ``vehicle`` is whom a priority request was for."""

    command_class: CommandClass
    equipment: EquipmentId
    at_ms: int
    vehicle: int = 0


Spent = tuple[Spending, ...]
"""Oldest first. Kept by whoever acts, for all of its equipment together."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds at one piece of equipment now. Times are monotonic milliseconds.

    Args:
        mode: the worst mode that holds there. local: why it is in LOCAL, also where a worse mode hides that (SR-29).
        latch: its latched fault.
        presence: the newest reading of cabinet door and local key; None if there is none to read.
        flash_requested_at_ms: when flash was last requested, by whomever (SR-14).
        fault_seen_at_ms: when the observer last tripped with at least RELEASE_AND_LATCH (SR-13).
        spent: what was commanded in the whole cabinet of late (SR-14, SR-25).
        default_secret: which of its link's secrets everybody knows; empty if none (SR-17).
    """

    mode: ModeEntry = SUPERVISED
    latch: Latch | None = None
    presence: Presence | None = None
    flash_requested_at_ms: int | None = None
    fault_seen_at_ms: int | None = None
    spent: Spent = ()
    default_secret: str = ""
    local: ModeEntry | None = None
