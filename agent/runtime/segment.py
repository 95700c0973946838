"""One lighting segment: local plan by night and day, overrides that end, every level judged by the kernel."""

from collections.abc import Awaitable, Callable

from agent.model.command import LOCAL_PLAN, Command, ReleaseLevel, SetLevel
from agent.model.equipment import Segment
from agent.model.observation import SegmentObserved
from agent.model.site import Site
from agent.process.gatekeeper import Acted
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import Lease, due, granted
from agent.safety.lighting import plan_level
from agent.safety.mode import Mode, ModeEntry, worst
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused, approves
from drivers.errors import DeviceRefusedError, DriverError
from drivers.modbus.segment import SegmentDriver

PLAN_LEASE_MS = 60_000  # the local plan asks anew each poll; the lease only has to outlive one

Event = Callable[[str, str, str, str], Awaitable[None]]
"""(kind, equipment, rule, text) -> sealed."""


class SegmentControl:
    """Owns one segment's contactor and level."""

    def __init__(self, segment: Segment, site: Site, driver: SegmentDriver, event: Event) -> None:
        self.segment = segment
        self._site = site
        self._driver = driver
        self._event = event
        self.observed: SegmentObserved | None = None
        self.lease: Lease | None = None
        self.fleet_silent = False
        self.target_percent: int | None = None
        self._complained = ""

    def mode(self) -> ModeEntry:
        """The worst mode that holds here."""
        entries = []
        if self.fleet_silent:
            entries.append(ModeEntry(Mode.AUTONOMOUS, "SR-11: the fleet is silent", "the fleet's next signed state"))
        if self.observed is not None and self.observed.local_override:
            entries.append(ModeEntry(Mode.LOCAL, "the manual switch at the contactor is on", "switching it back"))
        return worst(entries)

    def standing(self) -> Standing:
        """What the kernel must know beside the observation."""
        return Standing(mode=self.mode())

    def judge(self, command: Command, now_ms: int) -> Approved[Command] | Refused:
        """Ask the kernel."""
        return judge(command, self._site, self.observed, self.standing(), now_ms)

    async def tick(self, seen: SegmentObserved, now_ms: int, fleet_lost: bool) -> None:
        """Take a reading and bring the segment where its lease or its plan wants it."""
        self.observed = seen
        self.fleet_silent = fleet_lost
        if self.lease is not None and (why := due(self.lease, now_ms, fleet_lost)):
            self.lease = None
            await self._event("lease.end", self.segment.id, "LR-02", f"{why}; back to the local plan")
        if self.lease is not None:
            refused = may_refresh(self.lease, self._site, seen, self.standing(), now_ms)
            if refused is not None:
                self.lease = None
                await self._event(
                    "lease.end", self.segment.id, refused.rule, f"{refused.reason}; back to the local plan"
                )
        level_percent = self._wanted()
        self.target_percent = level_percent
        if self._shows(seen, level_percent):
            self._complained = ""
            return
        verdict = judge(self._plan(level_percent), self._site, seen, self.standing(), now_ms)
        if isinstance(verdict, Refused):
            await self._complain(f"{verdict.rule}: {verdict.reason}")
            return
        try:
            await self._driver.set_level(verdict)
        except DriverError as error:
            await self._complain(str(error))

    def _wanted(self) -> int:
        if self.lease is not None:
            command = self.lease.approved.command
            assert isinstance(command, SetLevel)
            return command.level_percent
        assert self.observed is not None
        return plan_level(self.segment, self.observed.dark)

    @staticmethod
    def _shows(seen: SegmentObserved, level_percent: int) -> bool:
        if level_percent == 0:
            return not seen.commanded_on
        return seen.commanded_on and seen.level_percent == level_percent

    async def _complain(self, why: str) -> None:
        """Say once why the segment is not where it should be."""
        if why != self._complained:
            self._complained = why
            await self._event("level.not-reached", self.segment.id, "", why)

    async def act(self, approved: Approved[Command], now_ms: int) -> Acted:
        """Carry out an override or its end, and read back."""
        if approves(approved, SetLevel):
            level_percent = approved.command.level_percent
            end = await self._set(approved, f"level {level_percent} % set and read back")
            if end.ended == "done":
                self.lease = granted(approved)
                self.target_percent = level_percent
            return end
        assert approves(approved, ReleaseLevel), f"the kernel approved {approved} for a segment"
        self.lease = None
        assert self.observed is not None  # No approval without one.
        level_percent = plan_level(self.segment, self.observed.dark)
        plan = judge(self._plan(level_percent), self._site, self.observed, self.standing(), now_ms)
        if isinstance(plan, Refused):
            return Acted("failed", f"released, but {plan.rule}: {plan.reason}", self.state())
        return await self._set(plan, f"back to the local plan, {level_percent} %")

    def _plan(self, level_percent: int) -> SetLevel:
        return SetLevel(self.segment.id, LOCAL_PLAN, level_percent, PLAN_LEASE_MS)

    async def _set(self, approved: Approved[SetLevel], done: str) -> Acted:
        try:
            await self._driver.set_level(approved)
        except DeviceRefusedError as error:
            return Acted("failed", f"the cabinet refused: {error}", self.state())
        except DriverError as error:
            return Acted(
                "unknown", f"not confirmed: {error}", "level not confirmed; the cabinet's watchdog fails bright"
            )
        level = approved.command.level_percent
        return Acted("done", done, f"{'off' if level == 0 else f'lit at {level} %'}")

    def holding(self) -> str:
        """The override in force, without its end (the desk adds the time)."""
        if self.lease is None:
            return ""
        command = self.lease.approved.command
        assert isinstance(command, SetLevel)
        return f"level {command.level_percent} %"

    def state(self) -> str:
        """One sentence for a person."""
        seen = self.observed
        if seen is None:
            return "not observed yet"
        lit = f"lit at {seen.level_percent} %" if seen.contactor_on else "off"
        night = {True: "night", False: "day", None: "night or day unknown, taken as night"}[seen.dark]
        return f"{lit}, {night}"
