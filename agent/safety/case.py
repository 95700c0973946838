"""A case: what every rule is given to judge one command, beside what was seen of the equipment."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.model.command import Command
from agent.model.equipment import Equipment
from agent.safety.standing import Standing

C_co = TypeVar("C_co", bound=Command, covariant=True)
E_co = TypeVar("E_co", bound=Equipment, covariant=True)

PRESENCE_AGE_MS_MAX = 3_000
"""Door and key count as read now for three polls of a second. Ours."""


@dataclass(frozen=True, slots=True)
class Case(Generic[C_co, E_co]):
    """One command to one piece of equipment at one moment.

    Args:
        now_ms: monotonic, read after the observation arrived.
    """

    command: C_co
    equipment: E_co
    standing: Standing
    now_ms: int

    @property
    def is_on_site(self) -> bool:
        """Whether somebody stands at the open cabinet with the local key turned, read a moment ago."""
        presence = self.standing.presence
        if presence is None or not 0 <= self.now_ms - presence.at_ms <= PRESENCE_AGE_MS_MAX:
            return False
        return presence.door_open and presence.local_key


AnyCase = Case[Command, Equipment]
