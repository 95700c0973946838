"""One bollard under guard: scan, watch, pulse, wait for what the PLC does."""

import asyncio
from collections.abc import Callable, Iterator

from agent.guard.guarded import Guarded
from agent.guard.points import bollard_points
from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.model.command import Command, LowerBollard, RaiseBollard
from agent.model.equipment import Bollard
from agent.model.observation import BollardObserved, Scalar
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import NOTHING_SENT, Acted
from agent.safety.bollard import BollardState
from agent.safety.bollard_watch import BollardMemory, commanded, watch_bollard
from agent.safety.kernel import judge
from agent.safety.mode import Mode, ModeEntry
from agent.safety.observer import Response, react
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused, approves
from agent.safety.words import word_of
from drivers.errors import ApprovalLapsedError, DeviceNonsenseError, DeviceRefusedError, DriverError
from drivers.modbus.bollard import BollardDriver

REACTION_TIMEOUT_S = 3.0  # a PLC scans in milliseconds; the bollard must at least warn or start by then
HEARTBEAT_PERIOD_MS = 1_000  # the PLC drops remote control after 10 s without a change
RAISING = (BollardState.PREWARN, BollardState.RISING, BollardState.UP)


class BollardGuard(Guarded):
    """Owns one bollard PLC unit."""

    def __init__(
        self,
        bollard: Bollard,
        site: Site,
        driver: BollardDriver,
        records: Records,
        surroundings: Surroundings,
        clock: Clock,
    ) -> None:
        super().__init__(records, surroundings, clock)
        self._bollard = bollard
        self._site = site
        self._driver = driver
        self._observed: BollardObserved | None = None
        self._beaten_at_ms = 0
        self._is_beat_refused = False
        self._seen = asyncio.Condition()
        self._memory = BollardMemory()
        self._tripped: frozenset[tuple[str, Response]] = frozenset()

    @property
    def equipment(self) -> Bollard:
        """The commissioned facts."""
        return self._bollard

    @property
    def observed(self) -> BollardObserved | None:
        """The last observation."""
        return self._observed

    def values(self) -> Iterator[tuple[str, Scalar]]:
        """Named points of the last observation."""
        return iter(()) if self._observed is None else bollard_points(self._observed)

    def standing(self, now_ms: int) -> Standing:
        """What the kernel must know beside the observation."""
        return Standing(
            mode=self.mode(),
            local=self.local(),
            latch=self.latch,
            presence=self.surroundings.presence,
            fault_seen_at_ms=self.fault_seen_at_ms(),
        )

    def watch_anew(self) -> None:
        """Forget what was told."""
        self._tripped = frozenset()

    def holding(self) -> str:
        """A bollard is pulsed, never held."""
        return ""

    def _mode_entries(self) -> Iterator[ModeEntry]:
        yield from super()._mode_entries()
        if self._observed is not None and self._observed.local_key:
            yield ModeEntry(Mode.LOCAL, "the local key is turned at the bollard", "turning the key back")

    async def tick(self) -> None:
        """Observe once; trip if a rule is broken; keep the PLC's watchdog fed."""
        now_ms = self.clock.now_ms()
        try:
            if now_ms - self._beaten_at_ms >= HEARTBEAT_PERIOD_MS:
                self._beaten_at_ms = now_ms
                await self._beat()
            seen = await self._driver.observe()
        except DriverError as error:
            self.missed(str(error))
            return
        self.reached()
        async with self._seen:
            self._observed = seen
            self._seen.notify_all()
        self._memory, trips = watch_bollard(self._memory, seen, self._bollard)
        new = [trip for trip in trips if (trip.rule, trip.response) not in self._tripped]
        self._tripped = frozenset((trip.rule, trip.response) for trip in trips)
        if any(trip.response >= Response.RELEASE_AND_LATCH for trip in trips):
            self._fault_seen_at_ms = seen.at_ms
        if new:
            now_ms = self.clock.now_ms()
            reaction = react(tuple(new), self.standing(now_ms), now_ms, self.clock.unix_ms())
            if reaction.latch is not None:
                self.records.hold(reaction.latch)
            for trip in new:
                self.records.note("trip", self._bollard.id, trip.rule, trip.reason, dict(self.values()))
            if reaction.lower is not None:
                await self._lower(reaction.lower)

    async def _lower(self, approved: Approved[LowerBollard]) -> None:
        """Ask the PLC once for the safe direction; whether it obeys, the next samples tell."""
        self._memory = commanded(self._memory, approved.command, self._bollard)
        try:
            await self._driver.lower(approved)
        except DriverError as error:
            self.records.note("lower.failed", self._bollard.id, "", f"lowering was asked and is not confirmed: {error}")
        else:
            self.records.note("lower.asked", self._bollard.id, "", "the guard asked the PLC to lower")

    async def _beat(self) -> None:
        """Feed the PLC's watchdog. A refusal is no silence, and must not keep us from watching."""
        try:
            await self._driver.beat()
        except (DeviceRefusedError, DeviceNonsenseError) as error:
            if not self._is_beat_refused:
                text = f"the PLC does not take the heartbeat: {error}"
                self.records.note("heartbeat.refused", self._bollard.id, "", text)
            self._is_beat_refused = True
        else:
            if self._is_beat_refused:
                self.records.note("heartbeat.taken", self._bollard.id, "", "the heartbeat is taken again")
            self._is_beat_refused = False

    async def act(self, approved: Approved[Command]) -> Acted:
        """Pulse the PLC and wait until the bollard is seen to obey."""
        self._memory = commanded(self._memory, approved.command, self._bollard)
        try:
            if approves(approved, LowerBollard):
                await self._driver.lower(approved)
                return await self._await_motion("lowering", lambda seen: seen.moving_down or seen.at_bottom)
            assert approves(approved, RaiseBollard), f"the kernel approved {approved} for a bollard"
            await self._driver.raise_(approved, lambda: self._against(approved.command))
            return await self._await_motion("rising", lambda seen: not seen.at_bottom or seen.state in RAISING)
        except ApprovalLapsedError as error:
            state = f"{NOTHING_SENT}; {self.state()}"
            return Acted("refused", error.refused.reason, state, error.refused.rule)
        except DeviceRefusedError as error:
            return Acted("failed", f"the PLC refused: {error}", self.state())
        except DriverError as error:
            return Acted("unknown", f"not confirmed: {error}", "state not confirmed; the PLC keeps its own interlocks")

    def _against(self, command: Command) -> Refused | None:
        """Judge again with what is known now."""
        now_ms = self.clock.now_ms()
        verdict = judge(command, self._site, self._observed, self.standing(now_ms), now_ms)
        return verdict if isinstance(verdict, Refused) else None

    async def _await_motion(self, what: str, obeys: Callable[[BollardObserved], bool]) -> Acted:
        asked_at_ms = self.clock.now_ms()

        def seen_obeying() -> bool:
            seen = self._observed
            return seen is not None and seen.at_ms > asked_at_ms and obeys(seen)

        try:
            async with asyncio.timeout(REACTION_TIMEOUT_S), self._seen:
                await self._seen.wait_for(seen_obeying)
        except TimeoutError:
            return Acted("unknown", f"{what} was asked but not seen in {REACTION_TIMEOUT_S:.0f} s", self.state())
        return Acted("done", f"{what} was asked and seen", self.state())

    def state(self) -> str:
        """One sentence for a person."""
        seen = self._observed
        if seen is None:
            return "not observed yet"
        loops = [name for name, occupied in (("A", seen.loop_a), ("B", seen.loop_b)) if occupied]
        occupied = f", loop {' and '.join(loops)} occupied" if loops else ", loops free"
        if seen.loop_fault:
            occupied = ", loop fault"
        return f"{word_of(BollardState, seen.state)} at {seen.position_percent} %{occupied}"
