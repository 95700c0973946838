"""From changes to sealed links: collected for a moment, then stored together; nothing is lost to a disk that stalls.

Nobody who polls or controls ever waits for the disk: what happens is taken into memory at once, and one task for each
stream carries it to the journal. A disk that refuses is asked again; the order stays, the memory is bounded, and what
it could not hold is counted.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from agent.ledger.errors import LedgerError, UnsealableError, UnsignedError
from agent.model.observation import PointValue, Quality, Scalar
from agent.process.clock import Clock
from agent.runtime.journal import Journal
from agent.wire.messages import EVENTS_PER_BATCH_MAX, Event

SAMPLES_HELD_MAX = 20_000  # while the disk does not take them: some minutes of a large cabinet
EVENTS_HELD_MAX = 2_000  # a cabinet has some dozens on its worst day
GROUP_MAX = EVENTS_PER_BATCH_MAX
RETRY_S = 1.0
DURABLE_TIMEOUT_S = 3.0  # an SD card has been seen to take 0.5 s for a commit
TEXT_LENGTH_MAX = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long records of one stream may wait for company (sync.md 3.4)."""

    wait_s: float
    count: int


PACES = {"state": Pace(0.25, 100), "tele": Pace(5.0, 100)}
AT_ONCE = Pace(0.0, 1)
EVENT_STREAMS = ("alarm", "audit")


@dataclass(frozen=True, slots=True)
class Noted:
    """An event that happened at ``at_ms`` (monotonic), with who waits for it to be durable."""

    event: Event
    at_ms: int
    durable: "asyncio.Future[None] | None" = None

    def end(self, error: LedgerError | None) -> None:
        """Tell whoever waits."""
        if self.durable is None or self.durable.done():
            return
        if error is None:
            self.durable.set_result(None)
        else:
            self.durable.set_exception(error)


class Lane(Generic[T]):
    """What one stream holds until the disk has taken it, oldest first.

    Args:
        write: returns when a group is durable, raises LedgerError if nothing of it is stored.
    """

    def __init__(self, pace: Pace, held_max: int, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._pace = pace
        self._held_max = held_max
        self._write = write
        self._held: deque[T] = deque()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._stopping = False
        self._writing: tuple[int, float] | None = None  # How many, since when.
        self.dropped = 0
        self.failures = 0
        self.is_failing = False
        self.unsigned = ""  # Why, while it fails because the key does not sign.

    @property
    def held(self) -> int:
        """How many wait."""
        return len(self._held)

    @property
    def unsealed(self) -> int:
        """How many wait because the disk refuses them or does not answer; those that wait for company do not count."""
        count, since_s = self._writing or (0, math.inf)
        is_stuck = asyncio.get_running_loop().time() - since_s > DURABLE_TIMEOUT_S
        return count + len(self._held) if self.is_failing or is_stuck else 0

    def take(self, records: Sequence[T], *, urgent: bool = False) -> None:
        """Hold records; beyond the bound the oldest are dropped and counted."""
        self._held.extend(records)
        self._shorten()
        self._some.set()
        if urgent or len(self._held) >= self._pace.count:
            self._enough.set()

    def stop(self) -> None:
        """Let ``run`` end once what is held is stored, or the disk refuses it."""
        self._stopping = True
        self._some.set()
        self._enough.set()

    async def run(self) -> None:
        """Store what is held, until stopped."""
        while True:  # As long as the process; ``stop`` ends it.
            await self._some.wait()
            await self._gather()
            is_stored = await self.flush()
            if self._stopping and not (is_stored and self._held):
                return
            if not is_stored:
                await asyncio.sleep(RETRY_S)

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(self._pace.wait_s):
                await self._enough.wait()
        except TimeoutError:
            pass  # Company enough.

    async def flush(self) -> bool:
        """Store the oldest group; False if the disk did not take it and it is still held.

        No time-out: what the journal was given once may be stored at any later moment, and must not be given twice.
        """
        group = [self._held.popleft() for _ in range(min(GROUP_MAX, len(self._held)))]
        self._enough.clear()
        self._writing = (len(group), asyncio.get_running_loop().time())
        left = await self._store(group) if group else group
        self._writing = None
        self._held.extendleft(reversed(left))
        self._shorten()
        if left or len(self._held) >= self._pace.count:
            self._enough.set()  # It has waited long enough, or is company enough: nothing need be added to it.
        if self._held or self._stopping:
            self._some.set()
        else:
            self._some.clear()
        return not left

    async def _store(self, group: list[T]) -> list[T]:
        """Store a group, in halves if something in it can never be sealed; return what is still to be stored."""
        try:
            await self._write(group)
        except UnsealableError:
            if len(group) == 1:
                self.dropped += 1
                return []
            middle = len(group) // 2
            if left := await self._store(group[:middle]):
                return left + group[middle:]
            return await self._store(group[middle:])
        except LedgerError as error:
            self.failures += 1
            self.is_failing = True
            self.unsigned = str(error) if isinstance(error, UnsignedError) else ""
            return group
        self.is_failing, self.unsigned = False, ""
        return []

    def _shorten(self) -> None:
        while len(self._held) > self._held_max:
            self._held.popleft()
            self.dropped += 1


class Recorder:
    """Takes changes and events of the whole agent to its journal."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._samples = {stream: self._sample_lane(stream, pace) for stream, pace in PACES.items()}
        self._events = {stream: self._event_lane(stream) for stream in EVENT_STREAMS}

    @property
    def _lanes(self) -> "list[Lane[PointValue] | Lane[Noted]]":
        return [*self._samples.values(), *self._events.values()]

    @property
    def dropped(self) -> int:
        """Records lost because the disk did not take them for too long, or never can."""
        return sum(lane.dropped for lane in self._lanes)

    @property
    def is_failing(self) -> bool:
        """Whether the disk refused the newest records of some stream."""
        return any(lane.is_failing for lane in self._lanes)

    @property
    def unsigned(self) -> str:
        """Why some stream's newest records could not be signed; empty unless that is why they wait."""
        return next((lane.unsigned for lane in self._lanes if lane.unsigned), "")

    @property
    def failures(self) -> int:
        """How often the disk refused."""
        return sum(lane.failures for lane in self._lanes)

    @property
    def unsealed(self) -> int:
        """Records that the disk does not take: nobody but we knows of them."""
        return sum(lane.unsealed for lane in self._lanes)

    @property
    def held(self) -> int:
        """Records that wait for the disk."""
        return sum(lane.held for lane in self._lanes)

    def changes(self, stream: str, samples: Sequence[PointValue]) -> None:
        """Take changed points; sealed within the stream's pace, and without delay when they cease to be believed."""
        if samples:
            urgent = any(sample.quality >= Quality.STALE for sample in samples)
            self._samples[stream].take(samples, urgent=urgent)

    def event(
        self,
        stream: str,
        kind: str,
        equipment: str,
        rule: str,
        text: str,
        detail: dict[str, Scalar] | None = None,
    ) -> None:
        """Take one event; it is sealed at once, or as soon as the disk takes it."""
        event = Event(0, kind, equipment, rule, text[:TEXT_LENGTH_MAX], detail or {})
        self._events[stream].take([Noted(event, self._clock.now_ms())])

    async def durable_event(
        self, stream: str, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar]
    ) -> None:
        """Take one event and wait until it is durable.

        Raises:
            LedgerError: it is not, or not yet; it is held and tried again.
        """
        event = Event(0, kind, equipment, rule, text[:TEXT_LENGTH_MAX], detail)
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events[stream].take([Noted(event, self._clock.now_ms(), durable)])
        try:
            async with asyncio.timeout(DURABLE_TIMEOUT_S):
                await durable
        except TimeoutError as error:
            raise LedgerError("the disk has not answered yet") from error

    async def run(self) -> None:
        """Seal what is held, until stopped."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run(), name="recorder")

    def stop(self) -> None:
        """Let ``run`` end once everything is stored, or the disk refuses it."""
        for lane in self._lanes:
            lane.stop()

    def _sample_lane(self, stream: str, pace: Pace) -> Lane[PointValue]:
        async def write(samples: list[PointValue]) -> None:
            await self._journal.append_samples(stream, samples)

        return Lane(pace, SAMPLES_HELD_MAX, write)

    def _event_lane(self, stream: str) -> Lane[Noted]:
        async def write(noted: list[Noted]) -> None:
            now_ms = self._clock.now_ms()
            events = [msgspec.structs.replace(each.event, dt_ms=each.at_ms - now_ms) for each in noted]
            try:
                await self._journal.append_events(stream, events)
            except LedgerError as error:
                if len(noted) == 1 or not isinstance(error, UnsealableError):  # Else the others may still be sealed.
                    for each in noted:
                        each.end(error)
                raise
            for each in noted:
                each.end(None)

        return Lane(AT_ONCE, EVENTS_HELD_MAX, write)
