"""One junction under guard: scan, watch, trip, keep the lease."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import cast

from agent.guard import foreign
from agent.guard.flashes import OBSERVER_FLASH_EVENT
from agent.guard.guarded import Guarded
from agent.guard.points import CONTROL_WORDS, aspects, junction_points
from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.model.command import LOCAL_PLAN, Command, ReleaseJunction, RequestFlash, SelectPlan
from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved, Scalar
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import NOTHING_SENT, Acted
from agent.safety.junction import configuration_words, refresh_period_ms
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import Lease, Leased, due, granted
from agent.safety.matrix import FLASH_NONE, FlashStatus
from agent.safety.observer import JunctionMemory, Response, Trip, react, watch
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused, approves
from agent.safety.words import word_of
from drivers.errors import DeviceRefusedError, DriverError
from drivers.ntcip.controller import SignalController

REFRESH_RETRY_MS = 2_000  # a refresh that was not confirmed is repeated well within the controller's watchdog


class JunctionGuard(Guarded):
    """Owns one signal controller. The only object in the system that can write to it."""

    def __init__(
        self,
        junction: Junction,
        site: Site,
        controller: SignalController,
        records: Records,
        surroundings: Surroundings,
        clock: Clock,
        default_secret: str = "",
    ) -> None:
        super().__init__(records, surroundings, clock)
        self._junction = junction
        self._site = site
        self._controller = controller
        self._memory = JunctionMemory()
        self._foreign = foreign.ForeignHand()
        self._observed: JunctionObserved | None = None
        self._lease: Lease | None = None
        self._refreshed_at_ms = 0
        self._is_refreshed = True
        self._default_secret = default_secret
        self._is_secret_told = False
        self._writing = asyncio.Lock()  # a request and its read-back are one; held for a few answers at most

    @property
    def equipment(self) -> Junction:
        """The commissioned facts."""
        return self._junction

    @property
    def observed(self) -> JunctionObserved | None:
        """The last observation."""
        return self._observed

    def values(self) -> Iterator[tuple[str, Scalar]]:
        """Named points of the last observation."""
        return iter(()) if self._observed is None else junction_points(self._observed, self._junction)

    def standing(self, now_ms: int) -> Standing:
        """What the kernel must know beside the observation."""
        return Standing(
            mode=self.mode(),
            local=self.local(),
            latch=self.latch,
            presence=self.surroundings.presence,
            flash_requested_at_ms=self.surroundings.flash_at_ms(self._junction.id),
            fault_seen_at_ms=self.fault_seen_at_ms(),
            spent=self.surroundings.spent,
            default_secret=self._default_secret,
        )

    def fault_seen_at_ms(self) -> int | None:
        """When a fault was last seen: what lasts trips once, and counts for as long as it is there."""
        tripped_ms, lasting_ms = super().fault_seen_at_ms(), self._memory.fault_at_ms
        if tripped_ms is None or lasting_ms is None:
            return tripped_ms
        return max(tripped_ms, lasting_ms)

    def watch_anew(self) -> None:
        """Forget the faults that were told; the times of greens and yellows stay."""
        self._memory = self._memory.anew()

    def untold(self) -> tuple[str, ...]:
        """Objects the controller did not tell when it was last observed."""
        return self._controller.untold

    def concerns(self) -> tuple[str, ...]:
        """SR-16, SR-17 and SR-31: what stands against taking control, and what to do about it."""
        found = [f"SR-17: {self._known_secret()}"] if self._default_secret else []
        commissioned = self._junction.configuration_id
        seen = None if self._observed is None else self._observed.configuration_id
        if commissioned is not None and self._observed is not None and seen != commissioned:
            words = "have it looked at on site, then commission what was found right"
            found.append(f"SR-16: {configuration_words(seen)}; commissioned: {commissioned}; {words}")
        if self._foreign.is_sure:
            words = "change the write community and look for who else is on the cabinet's network"
            found.append(f"{foreign.RULE}: {self._foreign.words()} is requested by somebody else; {words}")
        return tuple(found)

    def _known_secret(self) -> str:
        return f"its {self._default_secret} is a default everybody knows; control is refused until it is changed"

    def holding(self) -> str:
        """The lease in force."""
        if self._lease is None:
            return ""
        left_s = max(0, self._lease.ends_at_ms - self.clock.now_ms()) // 1000
        match self._lease.approved.command:
            case SelectPlan(plan=plan):
                return f"plan {plan} for another {left_s} s"
            case _:
                return f"flash for another {left_s} s"

    async def tick(self) -> None:
        """Observe once; trip if a rule is broken; keep or end the lease."""
        self._tell_secret()
        try:
            seen = await self._controller.observe()
        except DriverError as error:
            self.missed(str(error))
            return
        self.reached()
        self._observed = seen
        self._memory, trips = watch(self._memory, seen, self._junction)
        if trips:
            await self._trip(trips)
        await self._heed_foreign(seen)
        await self._keep_lease()
        if not trips and self._memory.conflict_at_ms != seen.at_ms:  # The second sample must not wait.
            await self._controller.poll_seldom()

    async def _heed_foreign(self, seen: JunctionObserved) -> None:
        """SR-31: tell of somebody else's request; over our own, give ours back instead of fighting."""
        if told := self._foreign.see(seen.foreign_request, seen.at_ms):
            self.records.note("trip", self._junction.id, foreign.RULE, told, self._inputs())
        if self._foreign.is_sure and self._lease is not None:
            await self._end_lease(self._lease, f"{foreign.RULE}: somebody else requested {self._foreign.words()}")

    def _tell_secret(self) -> None:
        """SR-17: say once after each start that everybody knows how to control this controller."""
        if self._default_secret and not self._is_secret_told:
            self._is_secret_told = True
            self.records.note("trip", self._junction.id, "SR-17", self._known_secret())

    async def _trip(self, trips: tuple[Trip, ...]) -> None:
        """SR-02's order: latch in memory, release, sealed record; flash once when a second sample confirms.

        Latched first, so that no command approved meanwhile slips in behind the release. The disk begins to write the
        latch before the release is sent, and nothing here waits for it: the second sample must come in time.
        """
        now_ms = self.clock.now_ms()
        if any(trip.response >= Response.RELEASE_AND_LATCH for trip in trips):
            self._fault_seen_at_ms = now_ms
        reaction = react(trips, self.standing(now_ms), now_ms, self.clock.unix_ms())
        if reaction.latch is not None:
            self.records.hold(reaction.latch)
        released = ""
        if reaction.release is not None:
            async with self._writing:
                self._lease = None
                released = await self._attempt("release", self._controller.release(reaction.release))
        for trip in trips:
            self.records.note("trip", self._junction.id, trip.rule, trip.reason, self._inputs(released))
        if reaction.flash is not None:
            self.surroundings.spend(reaction.flash.command, now_ms)
            async with self._writing:
                requested = await self._attempt("flash request", self._controller.flash(reaction.flash))
            self.records.note(OBSERVER_FLASH_EVENT, self._junction.id, trips[0].rule, requested, self._inputs())

    async def _attempt(self, what: str, sending: Awaitable[None]) -> str:
        try:
            await sending
        except DriverError as error:
            return f"{what} not confirmed: {error}"
        return f"{what} confirmed"

    def _inputs(self, released: str = "") -> dict[str, Scalar]:
        """What was seen, kept with each decision."""
        seen = self._observed
        if seen is None:
            return {}
        detail: dict[str, Scalar] = {
            "aspects": aspects(seen, self._junction),
            "greens": seen.greens,
            "yellows": seen.yellows,
            "pattern": seen.pattern,
            "flash": word_of(FlashStatus, seen.flash_status),
        }
        if released:
            detail["release"] = released
        return detail

    async def _keep_lease(self) -> None:
        """Judge what is held again with each sample; refresh at a third of the watchdog; release when it is due."""
        lease, now_ms = self._lease, self.clock.now_ms()
        if lease is None:
            return
        fleet_silent, command = self.surroundings.fleet == "silent", lease.approved.command
        if why := due(lease, now_ms, fleet_silent) or self.surroundings.revoked(command):
            await self._end_lease(lease, why)
            return
        if self._foreign.request is not None:
            return  # Whose doing it is must be known first: with the next sample. Nothing is refreshed meanwhile.
        if refused := may_refresh(lease, self._site, self._observed, self.standing(now_ms), now_ms):
            await self._end_lease(lease, f"{refused.rule}: {refused.reason}")
            return
        if now_ms - self._refreshed_at_ms < refresh_period_ms(self._junction):
            return
        await self._refresh(lease)

    async def _refresh(self, lease: Lease) -> None:
        """Feed the controller's watchdog; say once when that is not confirmed, and try again soon."""
        async with self._writing:
            if self._lease is not lease:
                return  # Released or replaced while we waited.
            try:
                await self._controller.refresh(cast("Approved[SelectPlan] | Approved[RequestFlash]", lease.approved))
            except DriverError as error:
                self._refreshed_at_ms = self.clock.now_ms() - refresh_period_ms(self._junction) + REFRESH_RETRY_MS
                if self._is_refreshed:
                    self.records.note("lease.unconfirmed", self._junction.id, "", f"refresh not confirmed: {error}")
                self._is_refreshed = False
                return
        self._refreshed_at_ms = self.clock.now_ms()
        self._is_refreshed = True

    def _hold(self, approved: Approved[Leased]) -> None:
        self._lease = granted(approved)
        self._refreshed_at_ms = self.clock.now_ms()
        self._is_refreshed = True

    async def _end_lease(self, lease: Lease, why: str) -> None:
        async with self._writing:
            if self._lease is not lease:
                return  # Released or replaced while we waited.
            self._lease = None
            command = ReleaseJunction(self._junction.id, LOCAL_PLAN)
            now_ms = self.clock.now_ms()
            verdict = judge(command, self._site, self._observed, self.standing(now_ms), now_ms)
            assert isinstance(verdict, Approved)
            released = await self._attempt("release", self._controller.release(verdict))
        self.records.note("lease.end", self._junction.id, "", f"{why}; {released}")

    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out a plan, a flash or a release and read it back."""
        async with self._writing:
            before = None if approves(approved, ReleaseJunction) else self._lease
            now_ms = self.clock.now_ms()
            # Judged again: a fault may have latched, or somebody come to the cabinet, while we waited for our turn.
            verdict = judge(approved.command, self._site, self._observed, self.standing(now_ms), now_ms)
            if isinstance(verdict, Refused):
                return Acted("refused", verdict.reason, f"{NOTHING_SENT}; {self.state()}", verdict.rule)
            try:
                return await self._send(verdict)
            except DeviceRefusedError as error:
                self._lease = before
                return Acted("failed", f"the controller refused: {error}", self.state())
            except DriverError as error:
                self._lease = before
                state = "state not confirmed; the controller runs on by itself"
                return Acted("unknown", f"not confirmed: {error}", state)

    async def _send(self, approved: Approved[Command]) -> Acted:
        """Held from before it is sent: should we be stopped in between, the release at the end covers it."""
        if approves(approved, SelectPlan):
            self._hold(approved)
            await self._controller.select_plan(approved)
            return Acted("done", f"plan {approved.command.plan} requested and read back", self.state())
        if approves(approved, RequestFlash):
            self._hold(approved)
            await self._controller.flash(approved)
            return Acted("done", "flash requested and read back", self.state())
        assert approves(approved, ReleaseJunction), f"the kernel approved {approved} for a junction"
        self._lease = None
        await self._controller.release(approved)
        return Acted("done", "released and read back", self.state())

    def state(self) -> str:
        """One sentence for a person."""
        seen = self._observed
        if seen is None:
            return "not observed yet"
        control = CONTROL_WORDS.get(seen.control_status, "unknown")
        flash = "" if seen.flash_status == FLASH_NONE else f", flash: {word_of(FlashStatus, seen.flash_status)}"
        hand = f", {self._foreign.words()} requested by somebody else" if self._foreign.is_sure else ""
        return f"aspects {aspects(seen, self._junction)}, pattern {seen.pattern}, {control}{flash}{hand}"

    async def release(self) -> None:
        """End a lease in order before the process stops, and let go of the controller."""
        if self._lease is not None:
            await self._end_lease(self._lease, "the guard stops")
        await self._controller.close()
