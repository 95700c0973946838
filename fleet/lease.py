"""Who may lead, decided by one row that its holder keeps renewing. Pure: rows and monotonic milliseconds in, what to do next out.

No two clocks are compared. The holder counts from *before* it asked for a renewal, and ceases LEASE_MS later unless
another one succeeded. Everybody else counts from *after* they first saw the row as it is, and waits longer than that by as
much as two clocks may drift apart. So whoever was stopped, however long, finds that it ceased to lead before anybody else
began; and what it asks of the store then fails, because it names the term under which it led.

Source   docs/fleet.md, "Two managers"; docs/decisions/0007-who-leads.md.
"""

from dataclasses import dataclass
from enum import Enum

LEASE_MS = 1_500
"""Short enough for a switch within 3 s; a disk that does not answer for so long cannot be worked with either."""
RENEW_MS = 300
LOOK_MS = 200
CLOCK_RATE_PERCENT = 5
"""The one assumption: no clock runs faster or slower than real time by more than this. Real ones do by 0.02 %."""
EXPIRY_MS = LEASE_MS * (100 + CLOCK_RATE_PERCENT) // (100 - CLOCK_RATE_PERCENT) + 1
COURTESY_MS = 3_000
"""How long a lease that was given up is left to whom it was given up for."""
ASIDE_MS = 10_000
"""How long who gave it up leaves it to others. If nobody takes it, nobody is there."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """The row.

    Args:
        holder: the manager's id. life: its process, by a random name; empty while nobody leads.
        term: under which it leads, or the last one led. beat: rises with every renewal.
        since_ms: Unix time when it was taken. url: where its API is, for a person.
        wanted: the manager that has been asked to lead, empty if none.
        log: the name of the shared store's log; empty if each manager keeps a store of its own.
    """

    holder: str
    life: str
    term: int
    beat: int
    since_ms: int
    url: str
    wanted: str
    log: str


class Step(Enum):
    """What to ask of the store next."""

    LOOK = "look"
    TAKE = "take"
    RENEW = "renew"
    RELEASE = "release"


class Lease:
    """One manager's view of the row.

    Args:
        holder: its id. life: this process.
    """

    def __init__(self, holder: str, life: str) -> None:
        self.holder = holder
        self.life = life
        self.term = 0
        """Under which we lead; 0 while we do not."""
        self.row: LeaseRow | None = None
        self._first_seen_ms = 0
        self._until_ms = 0
        self._renew_at_ms = 0
        self._look_at_ms = 0
        self._aside_until_ms = 0
        self._is_giving_up = False

    def holds(self, now_ms: int) -> bool:
        """True while nobody else can have begun to lead."""
        return bool(self.term) and now_ms < self._until_ms and not self._is_giving_up

    def next(self, now_ms: int) -> Step:
        """What to ask of the store now, or when ``wait_ms`` is over."""
        if self.term and now_ms >= self._until_ms:
            self._forget()  # Whatever the row says: we may have been away, and another term begins if we come back.
        if self.term:
            return Step.RELEASE if self._is_giving_up else Step.RENEW
        return Step.TAKE if self._is_free(now_ms) else Step.LOOK

    def wait_ms(self, now_ms: int) -> int:
        """How long until the next step is due."""
        if self.term:
            return 0 if self._is_giving_up else max(0, min(self._renew_at_ms, self._until_ms) - now_ms)
        return 0 if self._is_free(now_ms) else max(0, self._look_at_ms - now_ms)

    def looked(self, row: LeaseRow, now_ms: int) -> None:
        """The row as read; ``now_ms`` after the answer came."""
        self._look_at_ms = now_ms + LOOK_MS
        if row.life not in ("", self.life):
            self._aside_until_ms = 0  # Somebody has taken what we left.
        if self.row is None or _state(row) != _state(self.row):
            self._first_seen_ms = now_ms
        self.row = row

    def took(self, row: LeaseRow, asked_ms: int) -> None:
        """The row is ours since it was asked for."""
        self.row, self.term, self._is_giving_up = row, row.term, False
        self._extend(asked_ms)

    def renewed(self, row: LeaseRow, asked_ms: int) -> None:
        """It is still ours. Of a term that is over it says nothing."""
        if not self.term or row.term < self.term or row.life != self.life:
            return
        self.row, self.term = row, row.term
        self._extend(asked_ms)
        if row.wanted not in ("", self.holder):
            self._is_giving_up = True

    def failed(self, step: Step, now_ms: int) -> None:
        """The store did not answer, or nobody knows what came of it: as if nothing had been asked."""
        self._renew_at_ms = self._look_at_ms = now_ms + LOOK_MS
        if step is Step.TAKE:
            self.row = None  # If it is ours, we shall see our own name in it.

    def lost(self, now_ms: int) -> None:
        """The row is another's, or was when we asked."""
        self._forget()
        self._look_at_ms = now_ms

    def give_up(self) -> None:
        """Hand over: we act no more from now on."""
        self._is_giving_up = bool(self.term)

    def released(self, now_ms: int) -> None:
        """It was given up, or nobody knows: then it runs out."""
        self._forget()
        self._aside_until_ms = now_ms + ASIDE_MS
        self._look_at_ms = now_ms

    def _extend(self, asked_ms: int) -> None:
        self._until_ms = max(self._until_ms, asked_ms + LEASE_MS)
        self._renew_at_ms = asked_ms + RENEW_MS

    def _forget(self) -> None:
        self.term, self._until_ms, self._is_giving_up = 0, 0, False
        self.row = None  # To be seen anew: what we wrote ourselves proves nothing about others.

    def _is_free(self, now_ms: int) -> bool:
        row = self.row
        if row is None:
            return False
        seen_ms = now_ms - self._first_seen_ms
        if row.life not in ("", self.life):
            return seen_ms >= EXPIRY_MS
        if row.wanted == self.holder:
            return True
        if now_ms < self._aside_until_ms:
            return False
        return not row.wanted or seen_ms >= COURTESY_MS


def _state(row: LeaseRow) -> tuple[str, int, int]:
    return row.life, row.term, row.beat
