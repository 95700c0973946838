"""The agent process: wire everything together, run it, stop in order."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from agent.ledger.errors import LedgerError
from agent.model.command import Command
from agent.model.equipment import Bollard, Equipment, Junction, Meter, Points, Segment
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.model.site import Address, Cabinet, ModbusLink
from agent.process.client import LocalClient
from agent.process.clock import Clock, host_clock
from agent.process.gatekeeper import Gatekeeper
from agent.process.heldkeys import KEY_LIST, REFUSED, HeldKeys
from agent.process.liveness import Liveness, notify
from agent.process.reply import fitting_text
from agent.process.server import LocalServer, group_of
from agent.process.stopping import stop_all
from agent.process.timekeeper import Timekeeper, words
from agent.process.trustfiles import Trust, read_trust
from agent.runtime.behind import PointsBehind, SegmentBehind
from agent.runtime.daylight import Daylight
from agent.runtime.desired import DesiredState
from agent.runtime.desk import Desk
from agent.runtime.errors import AgentSetupError
from agent.runtime.executor import AgentExecutor
from agent.runtime.gatewaykeys import GatewayKeys
from agent.runtime.guardmirror import GuardMirror
from agent.runtime.journal import Journal, JournalEndedError
from agent.runtime.points import PointTable
from agent.runtime.polling import Behind, UnitPoll
from agent.runtime.principal import Principal
from agent.runtime.recorder import Recorder
from agent.runtime.routing import Router
from agent.runtime.segment import SegmentControl
from agent.runtime.uplink import Uplink
from agent.wire.commissioning import why_unsigned
from agent.wire.errors import TrustError
from agent.wire.gate import CommandGate, Nonces, revoked
from agent.wire.local import Status
from agent.wire.messages import Value
from agent.wire.topics import down
from drivers.errors import ProfileError
from drivers.modbus.line import ModbusLine
from drivers.modbus.profile import load_profile
from drivers.modbus.segment import HEARTBEAT, SegmentDriver
from drivers.modbus.unit import ModbusUnit

WATCHDOG_PERIOD_S = 3.0
CURRENT = "segment_current"
LOOP_DEADLINE_MS = 15_000
UNIT_SILENCE_MS = 2_000  # what each silent unit may cost the others on its line, the first time
STOP_TIMEOUT_S = 5.0


class Agent:
    """One running agent."""

    def __init__(self, cabinet: Cabinet, home: Path, clock: Clock, trust: Trust, journal: Journal) -> None:
        self._cabinet = cabinet
        self._site = cabinet.site
        self._clock = clock
        self._profiles = home / cabinet.profiles
        self._journal = journal
        self._started_ms = clock.now_ms()
        clock.raise_floor(journal.floor_ms)
        state = home / cabinet.state
        self.table = PointTable()
        self.recorder = Recorder(journal, clock)
        self.segments: dict[EquipmentId, SegmentControl] = {}
        self.lines: dict[Address, ModbusLine] = {}
        self.polls: dict[EquipmentId, UnitPoll] = {}
        self.units = list(self._units())
        guarded = tuple(each for each in self._site.equipment.values() if isinstance(each, Junction | Bollard))
        questions, commands, self._carrying = (
            LocalClient(home / cabinet.guards_folder / "guard.sock") for _ in range(3)
        )
        self.guard = (
            GuardMirror(questions, commands, guarded, self.table, self.recorder, clock, cabinet.poll_ms)
            if guarded
            else None
        )
        executor = AgentExecutor(self._site, self.segments, self.table, journal, self.recorder, clock)
        self._unsigned = why_unsigned(trust.ring, cabinet, home) if self.segments else ""
        gate = CommandGate(trust.ring, Nonces(os.urandom, clock.now_ms()))
        self.keys = HeldKeys(state / "keys", trust, clock, asyncio.to_thread, self._note_keys)
        self.keys.users.append(gate.use)
        keys_topic = down(self._site.city, self._site.gateway, "keys")
        self.gateway_keys = GatewayKeys(self.keys, self.guard, keys_topic, clock)
        self.gatekeeper = Gatekeeper(self._site.city, self._site.gateway, gate, trust.signer, executor, clock)
        router = Router(self._site, self.gatekeeper, self.guard)
        told = (self.guard, self.keys, clock, self.status)
        self.desk = Desk(self._site, self.segments, self._link_of, self.table, router, journal, *told)
        self.server = LocalServer(state / "agent.sock", self.desk.answer, group_of(state))
        place = (state / "desired.sealed", journal, self._site)
        self.desired = DesiredState(*place, lambda: self.keys.ring, self.segments, self.recorder, clock, self._beat)
        known = (self.recorder, self._modes, clock, self.desired, self.gateway_keys)
        principal = Principal(self._site, self.gatekeeper, router, self.guard, journal, *known)
        way = (self._carrying if guarded else None, principal, clock, state / "checkpoints")
        self.uplink = Uplink(cabinet, trust.signer, self.keys, journal, *way, tls=state / "tls")
        self.keys.users.append(lambda _ring: self._beat())  # The fleet is told at once who goes by which.
        self.liveness = Liveness()

    def _units(self) -> Iterator[UnitPoll]:
        """One poll per unit, with everything that stands behind it."""
        groups: dict[tuple[Address, int, str], list[tuple[Equipment, ModbusLink]]] = defaultdict(list)
        for equipment in self._site.equipment.values():
            link = self._cabinet.links.get(equipment.id)
            if isinstance(link, ModbusLink) and isinstance(equipment, Segment | Meter | Points):
                groups[link.address, link.unit, link.profile].append((equipment, link))
        names = {profile_name for _, _, profile_name in groups}
        profiles = {name: load_profile(self._profiles, name) for name in sorted(names)}  # Each read and kept once.
        for (address, unit_id, profile_name), members in groups.items():
            profile = profiles[profile_name]
            if address not in self.lines:
                self.lines[address] = ModbusLine(address)
            unit = ModbusUnit(self.lines[address], unit_id, profile, now_ms=self._clock.now_ms)
            behind = [self._behind(equipment, link, unit) for equipment, link in members]
            heartbeat = HEARTBEAT if any(isinstance(each, Segment) for each, _ in members) else ""
            poll = UnitPoll(
                unit, behind, self.table, self.recorder, self._clock, self._cabinet.poll_ms, heartbeat=heartbeat
            )
            for equipment, _ in members:
                self.polls[equipment.id] = poll
            yield poll

    def _behind(self, equipment: Equipment, link: ModbusLink, unit: ModbusUnit) -> Behind:
        if isinstance(equipment, Segment):
            driver = SegmentDriver(unit, link.channel, equipment.id)
            cell = equipment.photocell
            daylight = None if cell is None else Daylight(cell, equipment.position, self._clock)
            control = SegmentControl(
                equipment, self._site, driver, self._event, self._clock.now_ms, daylight, self._revoked
            )
            self.segments[equipment.id] = control
            current = unit.profile.points[CURRENT].key(link.channel) if CURRENT in unit.profile.points else ""
            return SegmentBehind(
                control, driver, self.table, self.recorder, self._clock, self._is_fleet_silent, current
            )
        assert isinstance(equipment, Meter | Points)
        return PointsBehind(equipment, unit.profile, self.table, self.recorder, self._clock)

    def _event(self, kind: str, equipment: str, rule: str, text: str) -> None:
        self.recorder.event("audit", kind, equipment, rule, text)

    def _note_keys(self, kind: str, text: str) -> None:
        self.recorder.event("alarm" if kind == REFUSED else "audit", kind, "", "", fitting_text(text))

    def _revoked(self, command: Command) -> str:
        time = self._clock.read()
        return revoked(self.keys.ring, command, self._site.gateway, time.known_ms, time.earliest_ms)

    def _beat(self) -> None:
        self.uplink.beat()

    def _note_time(self, kind: str, text: str, detail: dict[str, Scalar]) -> None:
        self.recorder.event("audit", kind, "", "", text, detail)

    def _is_fleet_silent(self) -> bool:
        return self.uplink.fleet(self._started_ms) == "silent"

    def _link_of(self, equipment: EquipmentId) -> str:
        poll = self.polls.get(equipment)
        return "" if poll is None else poll.link_of(equipment)

    def _modes(self) -> dict[str, str]:
        """The mode of everything that can be commanded, for the heartbeat."""
        modes = {str(key): segment.mode().mode.name.lower() for key, segment in self.segments.items()}
        if self.guard is not None:
            modes |= self.guard.modes()
        return modes

    def status(self) -> Status:
        """The status page."""
        now_ms = self._clock.now_ms()
        warnings = []
        if self.guard is not None and not self.guard.is_up:
            warnings.append("the guard does not answer; controllers and bollards run by themselves")
        if (damage := self._journal.damage) is not None:
            text = f"the journal was damaged and begun anew; the old one is {damage.aside.name}: {damage.reason}"
            warnings.append(fitting_text(text))
        if concern := self.keys.concern():
            warnings.append(fitting_text(concern))
        if self._unsigned:
            text = (
                f"the floors of the lighting are not commissioned: {self._unsigned}; they are kept as the file has them"
            )
            warnings.append(fitting_text(text))
        if unsigned := self.recorder.unsigned:
            text = f"records are {unsigned}; they wait in memory, and commands are answered unsigned"
            warnings.append(fitting_text(text))
        elif self.recorder.is_failing:
            warnings.append("the disk takes no records; they wait in memory, and commands are refused")
        return Status(
            process="agent",
            gateway=self._site.gateway,
            city=self._site.city,
            name=self._site.name,
            pid=os.getpid(),
            uptime_ms=now_ms - self._started_ms,
            nonce=self.gatekeeper.nonce(now_ms),
            counters=dict(self._journal.counters),
            fleet=self.uplink.fleet(self._started_ms),
            heads=list(self._journal.heads.values()),
            acked=list(self._journal.acked.values()),
            figures=self._figures(),
            warnings=warnings,
        )

    def _figures(self) -> dict[str, Value]:
        figures: dict[str, Value] = {"polls": sum(poll.polls for poll in self.units), KEY_LIST: self.keys.ring.version}
        figures["clock"] = words(self._clock.read())
        if self.keys.refused:
            figures["key lists refused"] = self.keys.refused
        if generation := self.desired.report().generation:
            figures["desired state"] = f"generation {generation}"
        figures |= self.uplink.figures()
        figures |= {f"rejected {why}": count for why, count in self.gatekeeper.rejected.items()}
        figures |= {f"socket {why}": count for why, count in self.server.rejected.items() if count}
        if self.recorder.failures or self.recorder.dropped:
            figures |= {"disk failures": self.recorder.failures, "records dropped": self.recorder.dropped}
        if self.recorder.is_failing:
            figures["records waiting"] = self.recorder.held
        return figures

    async def run(self) -> None:
        """Poll, control, carry and answer until SIGTERM."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        self.recorder.event("audit", "agent.start", "", "", f"pid {os.getpid()}")
        try:
            async with self.gatekeeper.working(), self.server.serving(), asyncio.TaskGroup() as group:
                recording = group.create_task(self.recorder.run(), name="recorder")
                work = [group.create_task(each, name=name) for name, each in self._work()]
                await stop.wait()
                await stop_all(work)
                self.recorder.event("audit", "agent.stop", "", "", "stopped in order")
                self.recorder.stop()
                await asyncio.wait((recording,), timeout=STOP_TIMEOUT_S)
                await stop_all([recording])
        finally:
            await self.close()

    def _work(self) -> Iterator[tuple[str, Coroutine[None, None, None]]]:
        """Everything that runs until the agent stops. What polls must come round, or systemd restarts us."""
        deadline_ms = LOOP_DEADLINE_MS + len(self.units) * UNIT_SILENCE_MS
        for poll in self.units:
            yield str(poll), poll.run(self._expect(str(poll), deadline_ms))
        if self.guard is not None:
            yield "guard mirror", self.guard.run(self._expect("guard mirror", deadline_ms), self.uplink.beat)
        yield "gateway's keys", self.gateway_keys.run()
        yield "key list", self.keys.run()
        yield "uplink", self.uplink.run()
        yield "desired state", self.desired.run()
        yield "clock", Timekeeper(self._clock, self._note_time, self._journal.keep_floor).run()
        yield "journal", self._journal.watch(self._expect("journal", LOOP_DEADLINE_MS))
        yield "watchdog", self._feed_watchdog()

    def _expect(self, name: str, deadline_ms: int) -> Callable[[], None]:
        self.liveness.register(name, deadline_ms, self._clock.now_ms())
        return lambda: self.liveness.beat(name, self._clock.now_ms())

    async def close(self) -> None:
        """Let go of every connection; nothing is sent."""
        for line in self.lines.values():
            await line.close()
        await self._carrying.close()
        if self.guard is not None:
            await self.guard.close()

    async def _feed_watchdog(self) -> None:
        notify("READY=1")
        while True:  # As long as the process.
            late = self.liveness.late(self._clock.now_ms())
            notify(f"STATUS=late: {', '.join(late)}" if late else "WATCHDOG=1")
            await self.server.look()
            await asyncio.sleep(WATCHDOG_PERIOD_S)


async def run(cabinet: Cabinet, home: Path) -> None:
    """Run the agent of one cabinet.

    Args:
        home: the site file's folder; the file's relative paths start there.

    Raises:
        AgentSetupError: keys, profiles or journal cannot be used; nothing was sent to any equipment. Or the journal's
            writer ended.
    """
    clock = host_clock()
    state = home / cabinet.state
    site = cabinet.site
    try:
        trust = read_trust(state / "keys", "agent", site.city)
        async with Journal(state / "agent.db", trust.signer, site.city, site.gateway, clock) as journal:
            try:
                await Agent(cabinet, home, clock, trust, journal).run()
            except* JournalEndedError as group:
                raise AgentSetupError(f"{journal.end}; it must be started anew") from group
    except (TrustError, ProfileError, LedgerError) as error:
        raise AgentSetupError(str(error)) from error
