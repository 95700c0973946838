"""Which groups are green together: as the site file says, else every largest set the matrix allows. Pure.

A mask has the group at place n of ``junction.groups`` at bit n, unlike the 64-bit masks of the wire.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.model.equipment import Junction

STAGES_MAX = 512
"""Largest compatible sets tried; a matrix with more has hardly any conflicts, and wants its stages written down."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What may be requested of one junction.

    Args:
        masks: one per stage.
        are_written: they stand in the site file; else they were made from the matrix.
        are_all: none was left out because there are too many.
    """

    masks: tuple[int, ...]
    are_written: bool
    are_all: bool


def foes_of(junction: Junction) -> tuple[int, ...]:
    """Per group the mask of the groups it conflicts with."""
    place = {group.number: n for n, group in enumerate(junction.groups)}
    foes = [0] * len(junction.groups)
    for pair in junction.conflicts:
        first, second = (place[number] for number in pair)
        foes[first] |= 1 << second
        foes[second] |= 1 << first
    return tuple(foes)


def stages_of(junction: Junction) -> Stages:
    """The written stages, or the largest sets of groups of which no two conflict, at most STAGES_MAX of them."""
    if junction.stages:
        place = {group.number: n for n, group in enumerate(junction.groups)}
        return Stages(tuple(sum(1 << place[number] for number in stage) for stage in junction.stages), True, True)
    foes, masks = foes_of(junction), list[int]()
    for mask in _largest(0, (1 << len(foes)) - 1, 0, foes):
        if len(masks) == STAGES_MAX:
            return Stages(tuple(masks), False, False)
        masks.append(mask)
    return Stages(tuple(masks), False, True)


def places(mask: int) -> Iterator[int]:
    """The bits of a mask, lowest first."""
    while mask:  # Ends with the bits.
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _largest(chosen: int, open_: int, closed: int, foes: tuple[int, ...]) -> Iterator[int]:
    """Bron and Kerbosch (1973), with a pivot: every largest compatible set once. Recursion is as deep as groups are many."""
    if not open_:
        if not closed:
            yield chosen
        return
    friends = {place: ~(foes[place] | 1 << place) for place in places(open_ | closed)}
    pivot = max(friends, key=lambda place: (open_ & friends[place]).bit_count())
    for place in places(open_ & ~friends[pivot]):
        bit = 1 << place
        yield from _largest(chosen | bit, open_ & friends[place], closed & friends[place], foes)
        open_ &= ~bit
        closed |= bit
