"""The agent's desk: the technician's local API. What belongs to the guard is asked there."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from agent.ledger.errors import LedgerError
from agent.model.equipment import Equipment, Lamp
from agent.model.identity import EquipmentId
from agent.model.observation import Quality
from agent.model.site import Site
from agent.process.client import PeerDownError
from agent.process.clock import Clock
from agent.process.heldkeys import HeldKeys
from agent.process.reply import fitting_text, newest_that_fit, page_that_fits
from agent.runtime.guardmirror import GuardMirror
from agent.runtime.journal import STREAMS, Journal
from agent.runtime.points import PointTable
from agent.runtime.routing import Router
from agent.runtime.segment import SegmentControl
from agent.safety.mode import SUPERVISED
from agent.wire.errors import WireError
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
    LogEntry,
    LogIs,
    Noted,
    PointView,
    Rehearse,
    Reply,
    Request,
    Status,
    Submit,
    TellFleetSeen,
    WhyIs,
)
from agent.wire.messages import EquipmentCard
from agent.wire.topics import down
from agent.wire.verbs import verbs_of

WHY_ENTRIES = 8
PAGE_LINKS_MAX = 64  # read by the thread that also writes


class Desk:
    """One agent's answers."""

    def __init__(
        self,
        site: Site,
        segments: Mapping[EquipmentId, SegmentControl],
        links: Callable[[EquipmentId], str],
        table: PointTable,
        router: Router,
        journal: Journal,
        guard: GuardMirror | None,
        keys: HeldKeys,
        clock: Clock,
        status: Callable[[], Status],
    ) -> None:
        self._site = site
        self._segments = segments
        self._links = links
        self._table = table
        self._router = router
        self._journal = journal
        self._guard = guard
        self._keys = keys
        self._keys_topic = str(down(site.city, site.gateway, "keys"))
        self._clock = clock
        self._status = status

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        try:
            match request:
                case Submit(sealed=sealed):
                    return await self._router.submit(sealed)
                case Rehearse():
                    return await self._router.rehearse(request)
                case GetStatus():
                    return self._status()
                case GetEquipment(id=id_):
                    return self._equipment(id_)
                case GetWhy(id=id_):
                    return await self._why(EquipmentId(id_))
                case GetLog():
                    return await self._log(request)
                case TellFleetSeen(topic=topic, sealed=sealed) if topic == self._keys_topic:
                    why = await self._keys.take(sealed)
                    return Failed(fitting_text(why)) if why else Noted()
                case GetPage():
                    return await self._page(request)
                case GetSafetyRecords() | TellFleetSeen():
                    return Failed("ask the guard itself: guard.sock")
        except PeerDownError as error:
            return Failed(fitting_text(f"{error}; the equipment under guard runs its own plan"))
        except (LedgerError, WireError) as error:
            return Failed(fitting_text(f"the records cannot be read: {error}; control goes on without them"))

    def _equipment(self, id_: str) -> EquipmentIs:
        chosen = [each for key, each in self._site.equipment.items() if id_ in ("", key)]
        return EquipmentIs([self.view(each) for each in chosen])

    def view(self, equipment: Equipment) -> EquipmentView:
        """One piece of equipment as the agent knows it."""
        guarded = None if self._guard is None else self._guard.views.get(equipment.id)
        if guarded is not None and self._guard is not None and self._guard.is_up:
            return guarded
        segment = self._segments.get(equipment.id)
        mode = SUPERVISED if segment is None else segment.mode()
        card = card_of(equipment)
        return EquipmentView(
            id=equipment.id,
            kind=equipment.kind,
            name=equipment.name,
            latitude=card.latitude,
            longitude=card.longitude,
            parent=card.parent,
            executor=card.executor,
            verbs=card.verbs,
            mode=mode.mode.name.lower() if card.executor != "guard" else "unknown",
            mode_cause=mode.cause if card.executor != "guard" else "the guard does not answer",
            cleared_by=mode.cleared_by,
            latch=None if guarded is None else guarded.latch,
            holding=self._holding(segment),
            link="the guard does not answer" if card.executor == "guard" else fitting_text(self._links(equipment.id)),
            points=self._points(equipment.id),
        )

    def _holding(self, segment: SegmentControl | None) -> str:
        if segment is None or segment.lease is None:
            return ""
        left_s = max(0, segment.lease.ends_at_ms - self._clock.now_ms()) // 1000
        return f"{segment.holding()} for another {left_s} s"

    def _points(self, id_: EquipmentId) -> list[PointView]:
        unix_ms = self._clock.unix_ms()
        return [
            PointView(name, seen.value, Quality(seen.quality), seen.source_ms, max(0, unix_ms - seen.source_ms))
            for name, seen in self._table.of(id_).items()
        ]

    async def _why(self, id_: EquipmentId) -> Reply:
        if id_ not in self._site.equipment:
            return Failed(f"this cabinet has no {id_}; see armoire equipment")
        if self._guard is not None and card_of(self._site.equipment[id_]).executor == "guard":
            return await self._guard.ask(GetWhy(id_))
        equipment = self._site.equipment[id_]
        if isinstance(equipment, Lamp):
            id_ = equipment.segment
        segment = self._segments.get(id_)
        if segment is None:
            text = f"{equipment.name} is only read; {self._links(id_) or 'it is not read here'}"
            return WhyIs(fitting_text(text), await self._newest(id_))
        mode = segment.mode()
        holding = self._holding(segment) or f"the local plan wants {segment.target_percent} %"
        text = f"{segment.state()}; {holding}; mode {mode.mode.name.lower()} because {mode.cause}"
        return WhyIs(fitting_text(text), await self._newest(id_))

    async def _newest(self, id_: str) -> list[LogEntry]:
        return list(reversed(await self._journal.log(id_, WHY_ENTRIES)))

    async def _page(self, request: GetPage) -> Reply:
        if request.stream not in STREAMS:
            return Failed(f"the agent keeps the streams {', '.join(STREAMS)}; ask the guard for its own")
        after = request.epoch, request.seq
        return page_that_fits(await self._journal.page(request.stream, after, min(request.limit, PAGE_LINKS_MAX)))

    async def _log(self, request: GetLog) -> Reply:
        entries = await self._journal.log(request.equipment, request.limit)
        if self._guard is not None and self._guard.is_up:
            with suppress(PeerDownError):  # Our own half is better than none.
                answer = await self._guard.ask(request)
                if isinstance(answer, LogIs):
                    entries = sorted((*entries, *answer.entries), key=lambda entry: entry.t_ms)[-request.limit :]
        return LogIs(newest_that_fit(entries))


def card_of(equipment: Equipment) -> EquipmentCard:
    """The birth's row for one piece of equipment."""
    verbs = list(verbs_of(equipment.kind))
    executor = "" if not verbs else "guard" if equipment.kind in ("junction", "bollard") else "agent"
    return EquipmentCard(
        id=equipment.id,
        kind=equipment.kind,
        name=equipment.name,
        latitude=equipment.position.latitude,
        longitude=equipment.position.longitude,
        executor=executor,
        verbs=verbs,
        parent=equipment.segment if isinstance(equipment, Lamp) else "",
    )
