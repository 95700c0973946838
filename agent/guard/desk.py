"""The guard's desk: answers the local socket. Nobody it answers to is trusted with more than a question."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from agent.guard.guarded import Guarded
from agent.guard.records import STREAM, Records
from agent.guard.surroundings import Surroundings
from agent.ledger.errors import LedgerError
from agent.model.identity import EquipmentId
from agent.model.site import Site
from agent.process.clock import Clock
from agent.process.gatekeeper import Gatekeeper
from agent.process.heldkeys import HeldKeys
from agent.process.reply import REPLY_BYTES_MAX, fitting_text, newest_that_fit, page_that_fits
from agent.wire.errors import TrustError, WireError
from agent.wire.local import (
    EquipmentIs,
    EquipmentView,
    Failed,
    GetEquipment,
    GetLog,
    GetPage,
    GetSafetyRecords,
    GetStatus,
    GetWhy,
    LogIs,
    Noted,
    Rehearse,
    Reply,
    Request,
    SafetyRecords,
    Status,
    Submit,
    TellFleetSeen,
    WhyIs,
)
from agent.wire.messages import Value
from agent.wire.topics import down
from agent.wire.verbs import verbs_of

WHY_ENTRIES = 8
PAGE_LINKS_MAX = 64  # read by the thread that also writes: an export must not keep a latch from the disk


class Desk:
    """One guard's answers."""

    def __init__(
        self,
        site: Site,
        guarded: Mapping[EquipmentId, Guarded],
        gatekeeper: Gatekeeper,
        records: Records,
        surroundings: Surroundings,
        keys: HeldKeys,
        clock: Clock,
        figures: Callable[[], dict[str, Value]],
        concerns: Callable[[], Iterable[str]],
        pid: int,
    ) -> None:
        self._site = site
        self._guarded = guarded
        self._gatekeeper = gatekeeper
        self._records = records
        self._surroundings = surroundings
        self._keys = keys
        self._keys_topic = str(down(site.city, site.gateway, "keys"))
        self._clock = clock
        self._figures = figures
        self._concerns = concerns
        self._pid = pid

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            return await self._answer(request)
        except LedgerError as error:
            return Failed(fitting_text(f"the records cannot be read: {error}; the guard goes on without them"))

    async def _answer(self, request: Request) -> Reply:
        match request:
            case Submit(sealed=sealed):
                return await self._gatekeeper.submit(sealed)
            case Rehearse(command=command, role=role):
                return self._gatekeeper.rehearse(command, role)
            case GetStatus():
                return self._status()
            case GetEquipment(id=id_):
                return EquipmentIs([self._view(guarded) for key, guarded in self._guarded.items() if id_ in ("", key)])
            case GetWhy(id=id_):
                return await self._why(EquipmentId(id_))
            case GetLog(equipment=equipment, limit=limit):
                return LogIs(newest_that_fit(await self._records.log(equipment, limit)))
            case GetSafetyRecords():
                return await self._safety_records(request)
            case GetPage(stream=stream) if stream != STREAM:
                return Failed(f"the guard keeps the stream {STREAM} and no other; ask the agent")
            case GetPage(epoch=epoch, seq=seq, limit=limit):
                return page_that_fits(await self._records.page((epoch, seq), min(limit, PAGE_LINKS_MAX)))
            case TellFleetSeen(topic=topic, sealed=sealed):
                return await self._fleet_seen(topic, sealed)

    def _status(self) -> Status:
        now_ms = self._clock.now_ms()
        return Status(
            process="guard",
            gateway=self._site.gateway,
            city=self._site.city,
            name=self._site.name,
            pid=self._pid,
            uptime_ms=now_ms - self._surroundings.started_ms,
            nonce=self._gatekeeper.nonce(now_ms),
            counters=dict(self._records.counters),
            fleet=self._surroundings.fleet,
            heads=[self._records.head],
            acked=[self._records.acked],
            figures=self._figures() | {f"rejected {why}": n for why, n in self._gatekeeper.rejected.items()},
            warnings=list(self._warnings()),
        )

    def _warnings(self) -> Iterator[str]:
        yield from map(fitting_text, self._concerns())
        for guarded in self._guarded.values():
            if latch := guarded.latch:
                yield fitting_text(
                    f"{guarded.equipment.id}: latched by {latch.rule}, reset only at the open cabinet: {latch.reason}"
                )
            yield from (fitting_text(f"{guarded.equipment.id}: {concern}") for concern in guarded.concerns())
            if untold := guarded.untold():
                yield fitting_text(
                    f"{guarded.equipment.id}: the controller does not tell {', '.join(untold)}; "
                    "rules that need it see nothing"
                )
        if self._records.is_failing:
            why = self._records.last_failure
            yield fitting_text(
                f"the disk takes no records, so commands are refused; the guard still watches and trips: {why}"
            )

    def _view(self, guarded: Guarded) -> EquipmentView:
        equipment, mode = guarded.equipment, guarded.mode()
        return EquipmentView(
            id=equipment.id,
            kind=equipment.kind,
            name=equipment.name,
            latitude=equipment.position.latitude,
            longitude=equipment.position.longitude,
            parent="",
            executor="guard",
            verbs=list(verbs_of(equipment.kind)),
            mode=mode.mode.name.lower(),
            mode_cause=fitting_text(mode.cause),
            cleared_by=fitting_text(mode.cleared_by),
            latch=guarded.latch_view(),
            holding=fitting_text(guarded.holding()),
            link=fitting_text(guarded.link),
            points=guarded.points(),
        )

    async def _why(self, id_: EquipmentId) -> Reply:
        guarded = self._guarded.get(id_)
        if guarded is None:
            return Failed(fitting_text(f"this guard has no {id_}; it has {', '.join(self._guarded) or 'nothing'}"))
        mode = guarded.mode()
        holding = guarded.holding() or "its own plan"
        text = f"{guarded.state()}; {holding}; mode {mode.mode.name.lower()} because {mode.cause}"
        return WhyIs(fitting_text(text), list(reversed(await self._records.log(id_, WHY_ENTRIES))))

    async def _safety_records(self, request: GetSafetyRecords) -> SafetyRecords:
        records, total = [], 0
        for seq, sealed in await self._records.sealed_after(request.epoch, request.after_seq, request.limit):
            total += len(sealed)
            if total > REPLY_BYTES_MAX:
                break
            records.append((seq, sealed))
        return SafetyRecords(self._records.head, self._records.acked, records)

    async def _fleet_seen(self, topic: str, sealed: bytes) -> Reply:
        if topic == self._keys_topic:
            why = await self._keys.take(sealed)
            return Failed(fitting_text(why)) if why else Noted()
        try:
            ack = self._surroundings.fleet_message(topic, sealed)
        except (WireError, TrustError) as error:
            self._gatekeeper.count(error.reason)
            return Failed(fitting_text(f"not believed: {error}"))
        if ack is not None:
            await self._records.acknowledge(ack)
        return Noted()
