"""What each gateway shall keep to until the fleet says otherwise: signed here, judged there, compared with what is reported.

A change makes a whole new document under the next generation; none is ever given out twice, also not after this database
was lost, because the gateways tell the generation they keep to. The broker keeps nothing: a gateway that is behind gets
the newest document when it is born, and again while its heartbeats say that it has not got it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog
from sqlalchemy import Connection

from agent.model.identity import GatewayId
from agent.wire import sealing, topics
from agent.wire.fleetlog import DESIRED, other_entry
from agent.wire.messages import (
    DESIRED_SETTINGS_MAX,
    SCHEMA,
    Birth,
    Desired,
    DesiredReport,
    DesiredSetting,
    Heartbeat,
)
from fleet import desired_rows
from fleet.desired_answers import DesiredAnswer, DesiredRequest, SettingAnswer, VersionAnswer
from fleet.desired_rows import Document, Settings, nested
from fleet.errors import AskError, SigningError, StoreError
from fleet.merkle_log import digest_of
from fleet.registry import UP

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom

AGAIN_MS = 30_000
"""A gateway whose heartbeats do not say that it has the newest document is sent it again this often."""
GENERATION_MAX = 2**63 - 1
NOT_REPORTED = "not-reported"
READ_S = 10.0

T = TypeVar("T")


@dataclass(slots=True)
class _Told:
    """What one gateway said of its desired state, and what was done about it.

    Args:
        at_ms: when it said so, by our clock. sent_ms: when the newest document was last sent to it; 0 if never.
    """

    report: DesiredReport
    at_ms: int
    sent_ms: int = 0


class DesiredStates:
    """The desired states of all gateways."""

    def __init__(self, room: "ControlRoom", unix_ms: Callable[[], int]) -> None:
        self._room = room
        self._unix_ms = unix_ms
        self._told: dict[str, _Told] = {}
        self._complained: dict[str, bytes] = {}
        self._due: dict[str, bool] = {}  # gateway -> whether it must be sent now, whatever was sent before.
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._log = structlog.get_logger("desired")

    def told(self, message: Birth | Heartbeat) -> None:
        """A gateway has told, durably, what it keeps to."""
        report = message.desired
        if report is None or message.conn != self._room.registry.gateway(message.gateway).conn:
            return
        before = self._told.get(message.gateway)
        self._told[message.gateway] = _Told(report, self._unix_ms(), before.sent_ms if before else 0)
        is_birth = isinstance(message, Birth)
        self._due[message.gateway] = is_birth or self._due.get(message.gateway, False)
        self._wake.set()

    async def run(self) -> None:
        """Send gateways that are behind what they lack, as long as the manager."""
        while True:  # As long as the manager runs.
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            try:
                newest = await asyncio.to_thread(self._room.store.read, desired_rows.newest_of_all)
            except StoreError as error:
                self._log.warning("desired.not-read", reason=str(error))
                continue
            for gateway, is_birth in due.items():
                if (document := newest.get(gateway)) is not None:
                    await self._compare(document, is_birth=is_birth)
            await asyncio.sleep(1)  # A whole city's heartbeats cost one reading a second.

    async def change(self, gateway: str, request: DesiredRequest) -> DesiredAnswer:
        """Make, sign, store and send a new document: the one in force with the changes asked for.

        Raises:
            AskError: it has no addressee, changes nothing, or is not stored. The one in force stays.
        """
        room = self._room
        if refusal := room.leading.refusal():
            raise AskError(503, refusal)
        room.operators.named(request.operator)
        known = room.registry.gateways.get(gateway)
        if known is None:
            raise AskError(404, f"no gateway {gateway!r} was ever heard; GET /api/gateways lists them")
        if missing := [each for each in request.settings if each not in known.cards]:
            raise AskError(404, f"{gateway} has no equipment {missing[0]!r}; it has {', '.join(known.cards)[:400]}")
        async with self._turn:
            before = await self._read_one(gateway)
            settings = _changed(dict(before.settings) if before else {}, request)
            if before is not None and settings == before.settings:
                raise AskError(409, f"generation {before.generation} says so already; nothing was changed")
            document = self._signed(gateway, before, settings, request.operator)
            if request.dry_run:
                return self._answer(gateway, document, is_dry_run=True)
            await self._store(document)
        await room.notices.record(gateway, "desired.set", _summary(document, before), document.t_ms)
        told = self._told.get(gateway)
        if told is not None and known.link(self._unix_ms()) == UP:
            self._send(document, told)
        return self._answer(gateway, document)

    async def show(self, gateway: str) -> DesiredAnswer:
        """One gateway's desired state beside the reported one.

        Raises:
            AskError: the gateway is unknown.
        """
        if gateway not in self._room.registry.gateways:
            raise AskError(404, f"no gateway {gateway!r} was ever heard; GET /api/gateways lists them")
        return self._answer(gateway, await self._read_one(gateway))

    async def show_all(self) -> list[DesiredAnswer]:
        """Every gateway's that has one or has reported one."""
        newest = await self._read(desired_rows.newest_of_all)
        reported = {gateway for gateway, told in self._told.items() if told.report.generation}
        return [self._answer(gateway, newest.get(gateway)) for gateway in sorted({*newest, *reported})]

    async def history(self, gateway: str, limit: int) -> list[VersionAnswer]:
        """The newest generations of one gateway, newest first."""
        rows = await self._read(lambda connection: desired_rows.versions(connection, gateway, limit))
        return [
            VersionAnswer(row.generation, row.operator, row.t_ms, nested(row.settings), row.digest.hex())
            for row in rows
        ]

    async def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            async with asyncio.timeout(READ_S):
                return await asyncio.to_thread(self._room.store.read, work)
        except (StoreError, TimeoutError) as error:
            raise AskError(503, f"the database does not answer: {str(error) or 'too slow'}; try again") from error

    async def _read_one(self, gateway: str) -> Document | None:
        rows = await self._read(lambda connection: desired_rows.versions(connection, gateway, 1))
        return rows[0] if rows else None

    def _signed(self, gateway: str, before: Document | None, settings: Settings, operator: str) -> Document:
        told = self._told.get(gateway)
        newest = max(before.generation if before else 0, told.report.generation if told else 0)
        if newest >= GENERATION_MAX:
            raise AskError(409, f"{gateway} keeps to generation {newest}; there is none above. Set the gateway up anew")
        now_ms = self._unix_ms()
        message = Desired(
            SCHEMA, gateway, newest + 1, now_ms, [DesiredSetting(*key, value) for key, value in settings.items()]
        )
        topic = topics.down(self._room.city, GatewayId(gateway), "desired")
        try:
            sealed = sealing.seal_message(self._room.trust.director, topic, message)
        except SigningError as error:
            raise AskError(503, f"nothing was changed: {error}") from error
        return Document(gateway, newest + 1, operator, now_ms, settings, digest_of(sealed), sealed)

    async def _store(self, document: Document) -> None:
        def work(connection: Connection) -> None:
            desired_rows.add(connection, document)
            standing = self._room.ingest.standing
            entry = other_entry(
                DESIRED, document.t_ms, document.digest, gateway=document.gateway, number=document.generation,
                who=document.operator,
            )  # fmt: skip
            standing.log.append(entry, standing.link_no, f"{DESIRED} {document.gateway}")

        try:
            await self._room.writer.transact(work)
        except StoreError as error:
            raise AskError(503, f"nothing was changed, because it could not be recorded: {error}") from error

    async def _compare(self, document: Document, *, is_birth: bool) -> None:
        told = self._told[document.gateway]
        report, now_ms = told.report, self._unix_ms()
        if report.generation < document.generation:
            if is_birth or now_ms - told.sent_ms >= AGAIN_MS:
                self._send(document, told)
        elif report.hash != document.digest and self._complained.get(document.gateway) != report.hash:
            self._complained[document.gateway] = report.hash
            text = f"it keeps to generation {report.generation}, which is not from this database; set it anew"
            await self._room.notices.record(document.gateway, "desired.foreign", text, now_ms)

    def _send(self, document: Document, told: _Told) -> None:
        if self._room.leading.is_leading:
            told.sent_ms = self._unix_ms()
            self._room.send(document.gateway, "desired", document.sealed)

    def _answer(self, gateway: str, document: Document | None, *, is_dry_run: bool = False) -> DesiredAnswer:
        told, now_ms = self._told.get(gateway), self._unix_ms()
        known = self._room.registry.gateways[gateway]
        report = told.report if told else DesiredReport(0, b"", [])
        is_reached = document is not None and report.hash == document.digest
        reports = {(each.equipment, each.setting): each for each in report.settings} if is_reached else {}
        settings = []
        for (equipment, setting), value in (document.settings if document else {}).items():
            said = reports.get((equipment, setting))
            status, rule, reason = (said.status, said.rule, said.reason) if said else (NOT_REPORTED, "", "")
            settings.append(SettingAnswer(equipment, setting, value, status, rule, reason))
        return DesiredAnswer(
            gateway=gateway,
            generation=document.generation if document else 0,
            operator=document.operator if document else "",
            t_ms=document.t_ms if document else 0,
            age_ms=max(0, now_ms - document.t_ms) if document else 0,
            is_reached=is_reached,
            reported_generation=report.generation,
            reported_age_ms=max(0, now_ms - told.at_ms) if told else None,
            link=known.link(now_ms),
            settings=settings,
            is_dry_run=is_dry_run,
            text=_sentence(document, told, known.link(now_ms), now_ms, is_dry_run=is_dry_run),
        )


def _changed(settings: Settings, request: DesiredRequest) -> Settings:
    for equipment, wanted in request.settings.items():
        for setting, value in wanted.items():
            settings.pop((equipment, setting), None)
            if value is not None:
                settings[equipment, setting] = value
    if len(settings) > DESIRED_SETTINGS_MAX:
        raise AskError(400, f"{len(settings)} settings; a gateway takes at most {DESIRED_SETTINGS_MAX}")
    return dict(sorted(settings.items()))


def _summary(document: Document, before: Document | None) -> str:
    """What a generation changes, for the events."""
    old = before.settings if before else {}
    keys = sorted({key for key in {*old, *document.settings} if old.get(key) != document.settings.get(key)})
    words = [
        f"{equipment} {name} {document.settings.get((equipment, name), 'as commissioned')}" for equipment, name in keys
    ]
    return f"generation {document.generation} by {document.operator}: {', '.join(words)}"


def _sentence(
    document: Document | None, told: _Told | None, link: str, now_ms: int, *, is_dry_run: bool = False
) -> str:
    """Desired beside reported."""
    if is_dry_run and document is not None:
        return f"would become generation {document.generation}; nothing was changed. The verdict on each line is the cabinet's"
    heard = f"{max(0, now_ms - told.at_ms) // 1000} s ago" if told else ""
    if document is None:
        kept = told.report.generation if told else 0
        return f"nothing was set here; it keeps to generation {kept}, heard {heard}" if kept else "nothing was set"
    set_ = f"generation {document.generation}, set {max(0, now_ms - document.t_ms) // 1000} s ago"
    if told is None:
        return f"{set_}; the gateway has not told what it keeps to ({'it is ' + link if link != UP else 'wait for a heartbeat'})"
    if told.report.hash == document.digest:
        counts = Counter(each.status for each in told.report.settings)
        states = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "as commissioned"
        return f"{set_}, is kept to: {states} (heard {heard})"
    later = "it is sent when it connects" if link != UP else "it has been sent"
    return f"{set_}; the gateway keeps to {told.report.generation or 'none'} (heard {heard}), {later}"
