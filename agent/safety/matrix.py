"""The conflict matrix of one junction as bit masks, and what one sample says against it. Pure.

Group n is bit n-1. Source: docs/safety.md SR-02; EN 12675 makes conflicting greens a fault of the highest class.
"""

from dataclasses import dataclass
from enum import IntEnum

from agent.model.equipment import GroupKind, Junction
from agent.model.identity import SignalGroupNumber
from agent.model.observation import Calls, JunctionObserved


class FlashStatus(IntEnum):
    """NTCIP 1202 unitFlashStatus."""

    OTHER = 1
    NOT_FLASH = 2
    AUTOMATIC = 3
    LOCAL_MANUAL = 4
    FAULT_MONITOR = 5
    MMU = 6
    STARTUP = 7
    PREEMPT = 8


FLASH_NONE = FlashStatus.NOT_FLASH
"""Anything else is flash, start-up or not known."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A junction's commissioned facts, laid out for a scan every 100 ms.

    Args:
        commissioned: mask of all groups.
        conflicts: per group its bit and the mask of the groups it conflicts with.
        intergreens: per starting group the (index of the ending group, least ms between the greens).
        reds: mask of the groups that show red whenever they show nothing else.
    """

    junction: Junction
    commissioned: int
    conflicts: tuple[tuple[int, int], ...]
    intergreens: tuple[tuple[tuple[int, int], ...], ...]
    reds: int

    @classmethod
    def of(cls, junction: Junction) -> "Matrix":
        """Lay out a junction's matrix; a pair names its two groups in either order."""
        groups = junction.groups
        bits = {group.number: group.bit for group in groups}
        index = {group.number: place for place, group in enumerate(groups)}
        against = {group.number: 0 for group in groups}
        for pair in junction.conflicts:
            for number in pair:
                for other in pair - {number}:
                    against[number] |= bits[other]
        before: dict[SignalGroupNumber, list[tuple[int, int]]] = {group.number: [] for group in groups}
        for (ending, starting), least_ms in sorted(junction.intergreen_ms.items()):
            before[starting].append((index[ending], least_ms))
        return cls(
            junction=junction,
            commissioned=sum(bits.values()),
            conflicts=tuple((group.bit, against[group.number]) for group in groups),
            intergreens=tuple(tuple(before[group.number]) for group in groups),
            reds=sum(group.bit for group in groups if group.has_red),
        )

    def numbers(self, mask: int) -> tuple[SignalGroupNumber, ...]:
        """The commissioned groups in a mask, in the site's order."""
        return tuple(group.number for group in self.junction.groups if group.bit & mask)

    def conflicting(self, seen: JunctionObserved) -> int:
        """Mask of the groups that contradict each other in one sample: green against green or yellow.

        In flash and start-up the yellows are no aspect of right of way, so only greens count.
        """
        moving = seen.greens | seen.yellows if seen.flash_status == FLASH_NONE else seen.greens
        found = 0
        for bit, against in self.conflicts:
            if seen.greens & bit and moving & against:
                found |= bit | (moving & against)
        return found

    def called(self, calls: Calls) -> int:
        """Mask of the groups somebody asks for, as far as the controller tells."""
        found = 0
        for group in self.junction.groups:
            mask = calls.pedestrians if group.kind is GroupKind.PEDESTRIAN else calls.vehicles
            if group.call_phase and mask is not None and mask >> (group.call_phase - 1) & 1:
                found |= group.bit
        return found

    def uncommissioned(self, seen: JunctionObserved) -> int:
        """Mask of channels that are green and belong to no commissioned group."""
        return seen.greens & ~self.commissioned

    def contradiction(self, seen: JunctionObserved) -> str:
        """What one sample shows that may never be shown, for a sentence; empty if nothing."""
        if found := self.conflicting(seen):
            return self.describe(found, seen)
        if extra := self.uncommissioned(seen):
            return f"uncommissioned channel green: {listed(extra)}"
        return ""

    def describe(self, found: int, seen: JunctionObserved) -> str:
        """Name the conflicting groups and what each shows."""
        groups = [group for group in self.junction.groups if group.bit & found]
        shown = [f"{group.number} {'green' if seen.greens & group.bit else 'yellow'}" for group in groups]
        return f"conflicting groups at once: {', '.join(shown)}"


def channel_numbers(mask: int) -> tuple[SignalGroupNumber, ...]:
    """The channels in a mask, commissioned or not."""
    return tuple(SignalGroupNumber(place + 1) for place in range(mask.bit_length()) if mask >> place & 1)


def listed(mask: int) -> str:
    """The channels in a mask, for a sentence."""
    return ", ".join(map(str, channel_numbers(mask)))
