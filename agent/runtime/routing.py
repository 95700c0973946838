"""Which process a command is for. Routing reads what is not verified yet; the executor verifies, and believes nothing of it."""

from agent.model.equipment import Bollard, Junction
from agent.model.identity import EquipmentId
from agent.model.site import Site
from agent.process.client import PeerDownError
from agent.process.gatekeeper import Gatekeeper
from agent.runtime.guardmirror import GuardMirror
from agent.wire import envelope
from agent.wire.errors import WireError
from agent.wire.local import Failed, Rehearse, Reply, Submit
from agent.wire.messages import CommandMessage, decode


class Router:
    """Takes commands to the agent's own gate or to the guard's."""

    def __init__(self, site: Site, own: Gatekeeper, guard: GuardMirror | None) -> None:
        self._site = site
        self._own = own
        self._guard = guard

    async def submit(self, sealed: bytes) -> Reply:
        """Pass a sealed command on; whoever owns the equipment verifies and answers."""
        if self._guard is not None and self._is_guarded(_equipment_of(sealed)):
            try:
                return await self._guard.ask(Submit(sealed))
            except PeerDownError as error:
                return Failed(f"{error}. If the command had arrived, its outcome will be in the guard's log")
        return await self._own.submit(sealed)

    async def rehearse(self, request: Rehearse) -> Reply:
        """Pass a rehearsal on."""
        if self._guard is not None and self._is_guarded(request.command.equipment):
            try:
                return await self._guard.ask(request)
            except PeerDownError as error:
                return Failed(f"{error}. Nothing was done")
        return self._own.rehearse(request.command, request.role)

    def _is_guarded(self, equipment: str) -> bool:
        return isinstance(self._site.equipment.get(EquipmentId(equipment)), Junction | Bollard)


def _equipment_of(sealed: bytes) -> str:
    """The addressee as written; empty if it cannot be read, and then our own gate says why."""
    try:
        return decode(envelope.parse(envelope.split_set(sealed)[0]).payload, CommandMessage).equipment
    except WireError:
        return ""
