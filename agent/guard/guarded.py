"""One piece of protected equipment under guard: what junctions and bollards have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.model.command import Command
from agent.model.equipment import Protected
from agent.model.observation import BollardObserved, JunctionObserved, Quality, Scalar
from agent.process.clock import Clock
from agent.process.gatekeeper import Acted
from agent.safety.latch import Latch
from agent.safety.mode import Mode, ModeEntry, worst
from agent.safety.standing import Standing
from agent.safety.verdict import Approved
from agent.wire.local import LatchView, PointView

SILENT_AFTER_MS = 2_000  # an observation older than this is shown as stale
MISSES_TO_LOSE = 3  # a datagram is lost now and then; each loss would be sealed, and kept for ever
TEXT_LENGTH_MAX = 500  # agent.wire.messages.Text
RESET_HERE = "reset at the open cabinet"


class Guarded(ABC):
    """Observes, keeps the standing, acts on approvals. Subclasses know the equipment."""

    def __init__(self, records: Records, surroundings: Surroundings, clock: Clock) -> None:
        self.records = records
        self.surroundings = surroundings
        self.clock = clock
        self.link = "not reached yet"
        self._misses = 0
        self._fault_seen_at_ms: int | None = None

    @property
    @abstractmethod
    def equipment(self) -> Protected:
        """The commissioned facts."""

    @property
    @abstractmethod
    def observed(self) -> JunctionObserved | BollardObserved | None:
        """The last observation, however old; its time says."""

    @abstractmethod
    async def tick(self) -> None:
        """Observe once, judge what was seen, keep leases."""

    @abstractmethod
    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out an approved command and read back."""

    @abstractmethod
    def standing(self, now_ms: int) -> Standing:
        """What the kernel must know beside the observation."""

    @abstractmethod
    def holding(self) -> str:
        """The command in force, for a person; empty for the local plan."""

    @abstractmethod
    def values(self) -> Iterator[tuple[str, Scalar]]:
        """Named points of the last observation."""

    @abstractmethod
    def state(self) -> str:
        """One sentence for a person."""

    def untold(self) -> tuple[str, ...]:
        """What the equipment should tell of itself and does not; rules that need it see nothing."""
        return ()

    def concerns(self) -> tuple[str, ...]:
        """What somebody should put right before this equipment can be commanded; for the status page."""
        return ()

    async def release(self) -> None:  # noqa: B027 - a bollard has nothing to release
        """Give control back before the process ends."""

    @abstractmethod
    def watch_anew(self) -> None:
        """Forget which faults were told: one that is still there after a reset trips again."""

    @property
    def latch(self) -> Latch | None:
        """The latched fault, if any."""
        return self.records.latches.get(self.equipment.id)

    def fault_seen_at_ms(self) -> int | None:
        """When a fault was last seen; a latch from before the start counts as seen at the start."""
        if self._fault_seen_at_ms is None and self.latch is not None:
            return self.surroundings.started_ms
        return self._fault_seen_at_ms

    def is_over_since(self, at_ms: int) -> bool:
        """Whether no fault was seen from ``at_ms`` on."""
        seen_at_ms = self.fault_seen_at_ms()
        return seen_at_ms is None or seen_at_ms < at_ms

    def mode(self) -> ModeEntry:
        """The worst mode that holds here."""
        return worst(self._mode_entries())

    def local(self) -> ModeEntry | None:
        """Who works there, however badly else it stands."""
        return next((entry for entry in self._mode_entries() if entry.mode is Mode.LOCAL), None)

    def _mode_entries(self) -> Iterator[ModeEntry]:
        yield from self.surroundings.modes()  # First: facts that nobody signed weigh more than a latch, and outlast its reset.
        if latch := self.latch:
            yield ModeEntry(Mode.HELD, f"{latch.rule}: {latch.reason}", RESET_HERE)

    def points(self) -> list[PointView]:
        """Every point with its quality and age; stale once the equipment is silent."""
        seen = self.observed
        if seen is None:
            return []
        age_ms = max(0, self.clock.now_ms() - seen.at_ms)
        t_ms = self.clock.unix_ms() - age_ms
        quality = Quality.GOOD if age_ms <= SILENT_AFTER_MS else Quality.STALE
        return [PointView(name, value, quality, t_ms, age_ms) for name, value in self.values()]

    def latch_view(self) -> LatchView | None:
        """The latch as shown."""
        latch = self.latch
        return None if latch is None else LatchView(latch.rule, latch.reason[:TEXT_LENGTH_MAX], latch.since_unix_ms)

    def reached(self) -> None:
        """Say once that the equipment answers again."""
        self._misses = 0
        if self.link != "answers":
            self.link = "answers"
            self.records.note("link.back", self.equipment.id, "", "the equipment answers")

    def missed(self, why: str) -> None:
        """The equipment was not observed. Say once that it fell silent, when that is no accident any more."""
        self._misses += 1
        seen = self.observed
        is_old = seen is not None and self.clock.now_ms() - seen.at_ms > SILENT_AFTER_MS
        if self._misses < MISSES_TO_LOSE and not is_old:
            return
        if self.link in ("answers", "not reached yet"):
            self.records.note("link.lost", self.equipment.id, "", why)
        self.link = why
