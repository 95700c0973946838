"""Spells: how long groups have shown the same thing in every sample. Pure. Source: docs/safety.md SR-03, 07, 26."""

from dataclasses import dataclass

from agent.safety.matrix import Matrix

Moments = tuple[int | None, ...]
"""Per group of the matrix a monotonic time in ms, None while unknown."""


@dataclass(frozen=True, slots=True)
class Spell:
    """What some groups show now.

    Args:
        since: per group the latest moment at which it can have begun. told: mask of those that lasted too long.
    """

    since: Moments = ()
    told: int = 0

    def prolong(
        self, matrix: Matrix, mask: int, at_ms: int, certain_ms: int, most_ms: int, *, whole: bool
    ) -> tuple["Spell", int]:
        """Take the next sample; return also the mask of those groups of which it is now certain, each once.

        Args:
            mask: the groups that show it. at_ms: when it can have begun at the latest. certain_ms: until when it
                surely lasted. whole: nothing else can have been shown since the last sample.
        """
        if not mask:
            return NO_SPELL, 0
        groups = matrix.junction.groups
        before = self.since if whole and self.since else (None,) * len(groups)
        since = tuple(
            (at_ms if begun is None else begun) if group.bit & mask else None
            for group, begun in zip(groups, before, strict=True)
        )
        over = 0
        for group, begun in zip(groups, since, strict=True):
            if begun is not None and certain_ms - begun >= most_ms:
                over |= group.bit
        return Spell(since, self.told & mask | over), over & ~self.told


NO_SPELL = Spell()
