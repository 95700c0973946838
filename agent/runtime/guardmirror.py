"""The guard as the agent sees it: mirrored observations, its safety stream for the courier, commands passed through.

The agent is a courier here. What the guard says of itself is shown as the guard's word; nothing is decided on it.
"""

import asyncio
from collections.abc import Callable

from agent.model.equipment import Kind, Protected
from agent.model.identity import EquipmentId
from agent.model.observation import Quality
from agent.process.client import LocalClient, PeerDownError
from agent.process.clock import Clock
from agent.runtime.points import PointTable
from agent.runtime.recorder import Recorder
from agent.wire.local import EquipmentIs, EquipmentView, GetEquipment, GetStatus, Reply, Request, Status, Submit

MIRROR_TIMEOUT_S = 2.0
QUESTION_TIMEOUT_S = 5.0  # a question is answered from memory or from the disk
START_MS = 10_000  # guard and agent start together; not to find it at once is no alarm
OWN_NAMES = ("mode", "holding", "latch")
NAMES = {
    Kind.JUNCTION: ("aspects", "control", "flash", "pattern", *OWN_NAMES),
    Kind.BOLLARD: ("state", "position_percent", *OWN_NAMES),
}


class GuardMirror:
    """Asks the guard on every poll; remembers its last answer and how old it is.

    Args:
        questions, commands: two connections, because a bollard takes its time and the mirror must not wait for it.
    """

    def __init__(
        self,
        questions: LocalClient,
        commands: LocalClient,
        guarded: tuple[Protected, ...],
        table: PointTable,
        recorder: Recorder,
        clock: Clock,
        period_ms: int,
    ) -> None:
        self._questions = questions
        self._commands = commands
        self._guarded = guarded
        self._table = table
        self._recorder = recorder
        self._clock = clock
        self._period_ms = period_ms
        self.views: dict[EquipmentId, EquipmentView] = {}
        self.status: Status | None = None
        self.seen_at_ms: int | None = None
        self.is_up = False
        self._started_ms = clock.now_ms()
        self._is_loss_told = False

    async def ask(self, request: Request) -> Reply:
        """Pass a request to the guard.

        Raises:
            PeerDownError: it does not answer.
        """
        if isinstance(request, Submit):
            return await self._commands.ask(request)
        return await self._questions.ask(request, QUESTION_TIMEOUT_S)

    def modes(self) -> dict[str, str]:
        """Mode by equipment, as the guard last said; unknown while it does not answer."""
        return {
            str(each.id): self.views[each.id].mode if self.is_up and each.id in self.views else "unknown"
            for each in self._guarded
        }

    async def close(self) -> None:
        """Close both connections."""
        await self._questions.close()
        await self._commands.close()

    async def run(self, came_round: Callable[[], None], met: Callable[[], None]) -> None:
        """Mirror for as long as the process lasts.

        Args:
            came_round: called after each look. met: called when a guard answers where none or another one did: its
                nonces are news to the fleet.
        """
        next_ms = self._clock.now_ms()
        while True:
            if await self.look():
                met()
            came_round()
            now_ms = self._clock.now_ms()
            next_ms += self._period_ms * max(1, -(-(now_ms - next_ms) // self._period_ms))
            await asyncio.sleep(max(0, next_ms - self._clock.now_ms()) / 1000)

    async def look(self) -> bool:
        """Ask once; return True if a guard answers where none or another one did."""
        try:
            status = await self._questions.ask(GetStatus(), MIRROR_TIMEOUT_S)
            answer = await self._questions.ask(GetEquipment(""), MIRROR_TIMEOUT_S)
        except PeerDownError as error:
            self._lost(str(error))
            return False
        if not isinstance(status, Status) or not isinstance(answer, EquipmentIs):
            self._lost("the guard answers something else")
            return False
        is_met = not self.is_up or self.status is None or self.status.pid != status.pid
        self.status = status
        self.seen_at_ms = self._clock.now_ms()
        if not self.is_up:
            self.is_up = True
            self._is_loss_told = False
            self._recorder.event("alarm", "guard.back", "", "", f"the guard answers, pid {status.pid}")
        for view in answer.equipment:
            self._take(view)
        return is_met

    def _take(self, view: EquipmentView) -> None:
        key = EquipmentId(view.id)
        self.views[key] = view
        points = [(point.name, point.value, Quality(point.quality), point.t_ms) for point in view.points]
        points.append(("mode", view.mode, Quality.GOOD, self._clock.unix_ms()))
        points.append(("holding", view.holding.split(" for another")[0], Quality.GOOD, self._clock.unix_ms()))
        latch = "" if view.latch is None else f"{view.latch.rule}: {view.latch.reason}"
        points.append(("latch", latch, Quality.GOOD, self._clock.unix_ms()))
        self._recorder.changes("state", self._table.take_view(key, points))

    def _lost(self, why: str) -> None:
        is_starting = self.seen_at_ms is None and self._clock.now_ms() - self._started_ms < START_MS
        self.is_up = False
        if not self._is_loss_told and not is_starting:
            self._is_loss_told = True
            self._recorder.event("alarm", "guard.lost", "", "", why)
        for equipment in self._guarded:
            names = NAMES[equipment.kind]
            self._recorder.changes("state", self._table.silence(equipment.id, names, self._clock.unix_ms()))
