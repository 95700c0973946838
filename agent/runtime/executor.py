"""The agent behind the gate: lighting segments, judged by the same kernel as everything else."""

import asyncio
from collections.abc import Mapping

from agent.ledger.errors import LedgerError
from agent.model.command import Command
from agent.model.equipment import Lamp
from agent.model.identity import EquipmentId
from agent.model.observation import Quality, Scalar
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import Acted
from agent.runtime.journal import Journal
from agent.runtime.points import PointTable
from agent.runtime.recorder import DURABLE_TIMEOUT_S, Recorder
from agent.runtime.segment import SegmentControl
from agent.safety.budget import spend
from agent.safety.kernel import judge
from agent.safety.standing import Spent, Standing
from agent.safety.verdict import Approved, Refused


class AgentExecutor:
    """Implements ``agent.process.gatekeeper.Executor`` for unprotected equipment."""

    def __init__(
        self,
        site: Site,
        segments: Mapping[EquipmentId, SegmentControl],
        table: PointTable,
        journal: Journal,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._site = site
        self._segments = segments
        self._table = table
        self._journal = journal
        self._recorder = recorder
        self._clock = clock
        self._spent: Spent = ()

    @property
    def counters(self) -> dict[str, int]:
        """Issuer kid -> newest counter on disk."""
        return self._journal.counters

    async def store_counter(self, kid: str, counter: int) -> None:
        """Return only when the counter is on disk.

        Raises:
            LedgerError: it is not known to be there.
        """
        try:
            async with asyncio.timeout(DURABLE_TIMEOUT_S):
                await self._journal.store_counter(kid, counter)
        except TimeoutError as error:
            raise LedgerError("the disk has not answered yet") from error

    def judge(self, command: Command) -> Approved[Command] | Refused:
        """Ask the kernel."""
        segment = self._segments.get(command.equipment)
        if segment is not None:
            segment.spent = self._spent
            return segment.judge(command)
        equipment = self._site.equipment.get(command.equipment)
        if isinstance(equipment, Lamp):
            return Refused("SR-01", f"{equipment.id} is driven by its segment: command {equipment.segment}")
        return judge(command, self._site, None, Standing(), self._clock.now_ms())

    async def act(self, approved: Approved[Command]) -> Acted:
        """Carry out and read back; what was tried counts against its class's budget (SR-25)."""
        ended = ""
        try:
            acted = await self._segments[approved.command.equipment].act(approved)
            ended = acted.ended
        finally:
            if ended != "refused":
                self._spent = spend(self._spent, approved.command, self._clock.now_ms())
        return acted

    def state(self, equipment: EquipmentId) -> str:
        """What is known about the equipment."""
        segment = self._segments.get(equipment)
        return "nothing of it is controlled here" if segment is None else segment.state()

    def value_of(self, point: str) -> Scalar:
        """A point's present good value, or None."""
        equipment, _, name = point.partition("/")
        seen = self._table.of(EquipmentId(equipment)).get(name)
        return seen.value if seen is not None and seen.quality is Quality.GOOD else None

    async def record(self, kind: str, equipment: str, rule: str, text: str, detail: dict[str, Scalar]) -> None:
        """Seal an outcome into the audit stream.

        Raises:
            LedgerError: it is not durable, or not yet.
        """
        await self._recorder.durable_event("audit", kind, equipment, rule, text, detail)
