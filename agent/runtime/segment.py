"""One lighting segment: local plan by night and day, overrides that end, every level judged by the kernel."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.model.command import LOCAL_PLAN, Command, ReleaseLevel, SetLevel
from agent.model.equipment import Segment
from agent.model.observation import SegmentObserved
from agent.model.site import Site
from agent.process.gatekeeper import NOTHING_SENT, Acted
from agent.runtime.arbitration import RANK, Rank, arbitrate, is_outranked, return_offset_ms
from agent.runtime.daylight import Daylight
from agent.safety.authority import OBSERVATION_AGE_MS_MAX
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import Lease, due, granted
from agent.safety.lighting import night_or_doubt, plan_level
from agent.safety.mode import Mode, ModeEntry, worst
from agent.safety.standing import Spent, Standing
from agent.safety.verdict import Approved, Refused, approves
from drivers.base import NowMs
from drivers.errors import DeviceRefusedError, DriverError
from drivers.modbus.segment import SegmentDriver

PLAN_LEASE_MS = 60_000  # the local plan asks anew each poll; the lease only has to outlive one

LINK_LOST_MS = (
    60_000  # a cabinet's watchdog has fallen back to its safe position by then, with all its segments at once
)

Event = Callable[[str, str, str, str], None]
"""(kind, equipment, rule, text): sealed soon. Control never waits for a disk."""


@dataclass(frozen=True, slots=True)
class Returning:
    """A segment that waits for its turn to return to the local plan (LR-05)."""

    level_percent: int
    until_ms: int


class SegmentControl:
    """Owns one segment's contactor and level.

    The polls and the commands come from different tasks: one writes after the other, or each would take the other's
    level for its own.
    """

    def __init__(
        self,
        segment: Segment,
        site: Site,
        driver: SegmentDriver,
        event: Event,
        now_ms: NowMs,
        daylight: Daylight | None = None,
        revoked: Callable[[Command], str] = lambda _command: "",
    ) -> None:
        self._revoked = revoked
        self._daylight = daylight
        self._daylight_why = ""
        self._returning: Returning | None = None
        self.segment = segment
        self._site = site
        self._driver = driver
        self._event = event
        self._now_ms = now_ms
        self.observed: SegmentObserved | None = None
        self.lease: Lease | None = None
        self.fleet_silent = False
        self.target_percent: int | None = None
        self.spent: Spent = ()
        self._complained: set[str] = set()
        self._disagreed = False
        self._night_percent: int | None = None
        self._planned = segment
        self.night_refusal: Refused | None = None
        self._turn = asyncio.Lock()

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
        return Standing(mode=self.mode(), spent=self.spent)

    def judge(self, command: Command) -> Approved[Command] | Refused:
        """Ask the kernel."""
        return judge(command, self._site, self.observed, self.standing(), self._now_ms())

    @property
    def is_night_level_desired(self) -> bool:
        """True while the local plan by night is the one last asked for with ``want_night_level``."""
        return self._night_percent is not None and self._planned.night_level_percent == self._night_percent

    def want_night_level(self, level_percent: int | None) -> None:
        """Have another level in the local plan by night, as soon as the kernel lets it; None for the commissioned one.

        It is no override: it has no lease, holds from the next reading on, and every use of it is judged once more.
        """
        self._night_percent, self._planned, self.night_refusal = level_percent, self.segment, None
        if self.observed is not None:
            self._plan_anew(self.observed)

    def _plan_anew(self, seen: SegmentObserved) -> None:
        """Judged as by night, whenever it is: a level that must not be used by night is of no use by day."""
        level_percent = self._night_percent
        if level_percent is None or self.is_night_level_desired:
            return
        verdict = judge(
            self._plan(level_percent), self._site, replace(seen, dark=True), self.standing(), self._now_ms()
        )
        self.night_refusal = verdict if isinstance(verdict, Refused) else None
        if self.night_refusal is None:
            self._planned = replace(self.segment, night_level_percent=level_percent)

    async def tick(self, seen: SegmentObserved, fleet_lost: bool) -> None:
        """Take a reading and bring the segment where its lease or its plan wants it."""
        async with self._turn:  # bounded: whoever holds it makes a few exchanges, each with its time-out
            seen = self._with_daylight(seen)
            if self.observed is not None and seen.at_ms - self.observed.at_ms > LINK_LOST_MS:
                self._return_later(seen)
            self.observed = seen
            self.fleet_silent = fleet_lost
            self._end_lease(seen)
            self._plan_anew(seen)
            await self._approach(seen)

    def _with_daylight(self, seen: SegmentObserved) -> SegmentObserved:
        """LR-06: put what is believed in the place of what the photocell says; tell once when that changes."""
        if self._daylight is None:
            return seen
        judged = self._daylight.judge(seen)
        cause = judged.why.split(" min ")[0].rstrip("0123456789 ")
        if cause != self._daylight_why:
            text = f"{judged.why}; {judged.by} counts" if judged.why else "the photocell is believed again"
            self._event("daylight", self.segment.id, "LR-06", text)
        self._daylight_why = cause
        return replace(seen, dark=judged.dark)

    def _return_later(self, seen: SegmentObserved) -> None:
        """LR-05: stay as it is until this segment's turn comes."""
        self._returning = Returning(seen.level_percent, self._now_ms() + return_offset_ms(self.segment.id, self._site))

    def _end_lease(self, seen: SegmentObserved) -> None:
        if self.lease is None:
            return
        now_ms = self._now_ms()
        rule, why = "LR-02", due(self.lease, now_ms, self.fleet_silent)
        if why is None and (revoked := self._revoked(self.lease.approved.command)):
            rule, why = "SR-25", revoked
        if why is None:
            refused = may_refresh(self.lease, self._site, seen, self.standing(), now_ms)
            if refused is None:
                return
            rule, why = refused.rule, refused.reason
        self._return_later(seen)
        self.lease = None
        self._event("lease.end", self.segment.id, rule, f"{why}; back to the local plan")

    async def _approach(self, seen: SegmentObserved) -> None:
        level_percent = self._wanted(seen)
        self.target_percent = level_percent
        if self._shows(seen, level_percent):
            self._check_contactor(seen)
            return
        verdict = judge(self._plan(level_percent), self._site, seen, self.standing(), self._now_ms())
        if isinstance(verdict, Refused):
            self._complain(verdict.rule, f"{verdict.rule}: {verdict.reason}")
            return
        try:
            await self._driver.set_level(verdict)
        except DriverError as error:
            self._complain(type(error).__name__, str(error))

    def _check_contactor(self, seen: SegmentObserved) -> None:
        """A contactor takes a moment to follow; one that disagrees in two readings does not follow."""
        if seen.contactor_on == seen.commanded_on or seen.local_override:
            self._disagreed = False
            self._complained.clear()
            return
        if self._disagreed:
            words = ("closed", "open") if seen.contactor_on else ("open", "closed")
            self._complain("contactor", f"the contactor is {words[0]} and is commanded {words[1]}")
        self._disagreed = True

    def _wanted(self, seen: SegmentObserved) -> int:
        """LR-07. The manual switch is not asked here: under it the kernel refuses whatever is wanted."""
        floor_percent = self.segment.level_floor_percent if night_or_doubt(seen) else 0
        wishes = {Rank.PROGRAM: plan_level(self._planned, seen), Rank.SAFETY: floor_percent}
        if (later := self._returning) and (self._now_ms() >= later.until_ms or later.level_percent < floor_percent):
            self._returning = None
        if self.lease is not None:
            wishes[RANK[self.lease.approved.command.origin.role]] = _level(self.lease)
        elif self._returning is not None:
            wishes[Rank.PROGRAM] = self._returning.level_percent
        return wishes[arbitrate(wishes)]

    @staticmethod
    def _shows(seen: SegmentObserved, level_percent: int) -> bool:
        if level_percent == 0:
            return not seen.commanded_on
        return seen.commanded_on and seen.level_percent == level_percent

    def _complain(self, kind: str, why: str) -> None:
        """Say why the segment is not where it should be: once for each kind of reason, until it is there."""
        if kind not in self._complained:
            self._complained.add(kind)
            self._event("level.not-reached", self.segment.id, "", why)

    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out an override or its end, and read back."""
        async with self._turn:  # bounded: as in ``tick``
            if approves(approved, SetLevel):
                verdict = self.judge(approved.command)  # Again, as of its turn.
                if isinstance(verdict, Refused):
                    return Acted("refused", verdict.reason, f"{NOTHING_SENT}; {self.state()}", verdict.rule)
                assert approves(verdict, SetLevel)
                held = self.lease.approved.command if self.lease is not None else verdict.command
                assert isinstance(held, SetLevel)
                if refused := is_outranked(verdict.command, held):
                    return Acted("refused", refused.reason, f"{NOTHING_SENT}; {self.state()}", refused.rule)
                return await self._override(verdict)
            assert approves(approved, ReleaseLevel), f"the kernel approved {approved} for a segment"
            return await self._release()

    async def _override(self, approved: Approved[SetLevel]) -> Acted:
        level_percent = approved.command.level_percent
        end = await self._set(approved, f"level {level_percent} % set and read back")
        if end.ended == "done":
            self.lease, self._returning = granted(approved), None
            self.target_percent = level_percent
        return end

    async def _release(self) -> Acted:
        """End the override, also of a segment that cannot be seen: its plan follows when it can."""
        self.lease = self._returning = None
        seen = self.observed
        if seen is None:
            return Acted("done", "no override is held; the local plan follows with the first reading", self.state())
        level_percent = plan_level(self._planned, seen)
        self.target_percent = level_percent
        plan = judge(self._plan(level_percent), self._site, seen, self.standing(), self._now_ms())
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
        return f"level {_level(self.lease)} %"

    def state(self) -> str:
        """One sentence for a person; it says so if it is old."""
        seen = self.observed
        if seen is None:
            return "not observed yet"
        lit = f"lit at {seen.level_percent} %" if seen.commanded_on else "lit, not by command"
        night = {True: "night", False: "day", None: "night or day unknown, taken as night"}[seen.dark]
        text = f"{lit if seen.contactor_on else 'off'}, {night}"
        age_ms = self._now_ms() - seen.at_ms
        return text if age_ms <= OBSERVATION_AGE_MS_MAX else f"{age_ms // 1000} s ago: {text}; not known now"


def _level(lease: Lease) -> int:
    command = lease.approved.command
    assert isinstance(command, SetLevel)
    return command.level_percent
