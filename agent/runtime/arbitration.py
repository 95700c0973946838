"""Whose level holds at a segment, and when its turn comes to return to the local plan. Pure.

Source: docs/safety.md LR-05, LR-07; the order is that of TALQ, with what is at the lamps first.
"""

from collections.abc import Mapping
from enum import IntEnum
from zlib import crc32

from agent.model.command import Role, SetLevel
from agent.model.equipment import Segment
from agent.model.identity import EquipmentId
from agent.model.site import Site
from agent.safety.verdict import Refused

RETURN_WINDOW_MS = 30_000
"""Within this time the segments of a cabinet return one after the other (LR-05). Ours."""


class Rank(IntEnum):
    """Who decides a segment's level; further up comes first (LR-07)."""

    LOCAL_SWITCH = 0
    SAFETY = 1
    TECHNICIAN = 2
    OPERATOR = 3
    DYNAMIC = 4
    PROGRAM = 5
    DEFAULT = 6


RANK: Mapping[Role, Rank] = {
    Role.TECHNICIAN: Rank.TECHNICIAN,
    Role.OPERATOR: Rank.OPERATOR,
    Role.LOCAL_PLAN: Rank.PROGRAM,
}


def arbitrate(wishes: Mapping[Rank, int]) -> Rank:
    """LR-07: whose level holds. What safety wishes is a least level: it raises what others want and never lowers it.

    Args:
        wishes: the level each wants, in percent; at least one who is not safety.
    """
    first = min(rank for rank in wishes if rank is not Rank.SAFETY)
    raised = first is not Rank.LOCAL_SWITCH and wishes.get(Rank.SAFETY, 0) > wishes[first]
    return Rank.SAFETY if raised else first


def is_outranked(command: SetLevel, held: SetLevel) -> Refused | None:
    """LR-07: whoever stands in the street decides before whoever sits far away."""
    if RANK[command.origin.role] <= RANK[held.origin.role]:
        return None
    who = "a technician" if held.origin.role is Role.TECHNICIAN else "an operator"
    return Refused("LR-07", f"{who} holds it at {held.level_percent} %; release it first")


def return_offset_ms(segment: EquipmentId, site: Site) -> int:
    """LR-05: how long after an override or a lost link a segment waits, so that no two contactors switch together.

    The window is shared out evenly in the order of ids; the gateway's name shifts the cabinet within its shares.
    """
    segments = sorted(each.id for each in site.equipment.values() if isinstance(each, Segment))
    share_ms = RETURN_WINDOW_MS // len(segments)
    return segments.index(segment) * share_ms + crc32(site.gateway.encode()) % share_ms
