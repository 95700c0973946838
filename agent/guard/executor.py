"""The guard behind the gate: kernel, equipment, records."""

from collections.abc import Mapping
from dataclasses import replace

from agent.guard.flashes import FLASH_EVENT
from agent.guard.guarded import Guarded
from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.model.command import Command, RequestFlash, ResetLatch
from agent.model.identity import EquipmentId
from agent.model.observation import Quality, Scalar
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import NOTHING_SENT, Acted
from agent.safety.kernel import judge
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused


class GuardExecutor:
    """Implements ``agent.process.gatekeeper.Executor`` for protected equipment."""

    def __init__(
        self,
        site: Site,
        guarded: Mapping[EquipmentId, Guarded],
        records: Records,
        surroundings: Surroundings,
        clock: Clock,
    ) -> None:
        self._site = site
        self._guarded = guarded
        self._records = records
        self._surroundings = surroundings
        self._clock = clock

    @property
    def counters(self) -> dict[str, int]:
        """Issuer kid -> newest counter on disk."""
        return self._records.counters

    async def store_counter(self, kid: str, counter: int) -> None:
        """Return only when the counter is on disk."""
        await self._records.store_counter(kid, counter)

    def judge(self, command: Command) -> Approved[Command] | Refused:
        """Ask the kernel."""
        now_ms = self._clock.now_ms()
        guarded = self._guarded.get(command.equipment)
        if guarded is None:
            if command.equipment in self._site.equipment:
                return Refused("SR-01", f"{command.equipment} is not the guard's to move")
            return judge(command, self._site, None, Standing(), now_ms)
        standing = replace(guarded.standing(now_ms), spent=self._surroundings.spent)
        return judge(command, self._site, guarded.observed, standing, now_ms)

    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out and read back."""
        guarded = self._guarded[approved.command.equipment]
        if isinstance(approved.command, ResetLatch):
            latch = guarded.latch
            if latch is None:
                return Acted("done", "nothing was latched", guarded.state())
            who = ", ".join(approved.command.origin.subjects)
            text = f"reset on site by {who}"
            if why := await self._records.clear_latch(latch, text, lambda: guarded.is_over_since(approved.at_ms)):
                return Acted("failed", why, guarded.state())
            guarded.watch_anew()
            return Acted("done", f"{latch.rule} reset on site", guarded.state())
        if isinstance(approved.command, RequestFlash) and not await self._is_flash_on_disk(approved.command):
            return Acted("failed", "the disk did not take the flash request", f"{NOTHING_SENT}; {guarded.state()}")
        ended = ""
        try:
            acted = await guarded.act(approved)
            ended = acted.ended
        finally:
            if ended != "refused":  # What ended badly was tried all the same.
                self._surroundings.spend(approved.command, self._clock.now_ms())
        return acted

    async def _is_flash_on_disk(self, command: RequestFlash) -> bool:
        """SR-14: a restart must not make the next request possible, so each is on disk before it is sent."""
        who = ", ".join(command.origin.subjects)
        return await self._records.event(FLASH_EVENT, command.equipment, "SR-14", f"flash is requested by {who}")

    def state(self, equipment: EquipmentId) -> str:
        """What is known about the equipment."""
        guarded = self._guarded.get(equipment)
        return "no such equipment under guard" if guarded is None else guarded.state()

    def value_of(self, point: str) -> Scalar:
        """A point's present good value, or None."""
        equipment, _, name = point.partition("/")
        guarded = self._guarded.get(EquipmentId(equipment))
        if guarded is None:
            return None
        return next(
            (view.value for view in guarded.points() if view.name == name and view.quality == Quality.GOOD), None
        )

    async def record(self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar]) -> None:
        """Seal an outcome into the safety stream; the records count a disk that does not take it."""
        await self._records.event(kind, equipment, rule, text, detail)
