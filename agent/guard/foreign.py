"""Somebody else's hand on our controller: seen, told, and never fought. Pure. Source: docs/safety.md SR-31.

Whoever knows the controller's write community can ask it for a pattern behind our back. Writing ours again would make
two masters alternate in front of drivers; so what we hold is given back, once, and people are told.
"""

from dataclasses import dataclass

RULE = "SR-31"
SAMPLES = 2
"""One torn or forged reply ends no lease."""
TOLD_PERIOD_MS = 60_000
"""Sealed records are never shed: a hand that writes ten times a second is told of once a minute, with a count."""
_WORDS = {0: "a release", 254: "free running", 255: "flash"}


@dataclass(slots=True)
class ForeignHand:
    """What was seen of it so far.

    Args:
        request: what stands there now, None for nothing of others.
    """

    request: int | None = None
    _samples: int = 0
    _changes: int = 0
    _told: int | None = None
    _told_at_ms: int | None = None

    @property
    def is_sure(self) -> bool:
        """Whether enough samples in a row showed somebody else's request."""
        return self._samples >= SAMPLES

    def see(self, request: int | None, now_ms: int) -> str:
        """Take in the next sample; return what to tell people now, empty for nothing.

        Args:
            request: as ``JunctionObserved.foreign_request``. now_ms: monotonic.
        """
        if request is None:
            self.request, self._samples, self._told = None, 0, None
            return ""
        self._changes += request != self.request
        self.request = request
        self._samples += 1
        if not self.is_sure or request == self._told:
            return ""
        if self._told_at_ms is not None and now_ms - self._told_at_ms < TOLD_PERIOD_MS:
            return ""
        text = f"{self.words()} is requested of the controller, and not by this guard since it started"
        if self._changes > 1:
            text += f"; {self._changes} such requests since the last word of it"
        self._told, self._told_at_ms, self._changes = request, now_ms, 0
        return text

    def words(self) -> str:
        """The request, for a sentence."""
        return "nothing" if self.request is None else _WORDS.get(self.request, f"pattern {self.request}")
