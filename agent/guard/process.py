"""The guard process: wire everything together, scan on a fixed beat, stop in order."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.guard.beat import Beat
from agent.guard.bollard import BollardGuard
from agent.guard.commissioned import Commissioning
from agent.guard.desk import Desk
from agent.guard.executor import GuardExecutor
from agent.guard.flashes import recall_flashes
from agent.guard.guarded import Guarded
from agent.guard.presence import PresenceWatch
from agent.guard.realtime import Lack, claim, settle
from agent.guard.records import STREAM, Records
from agent.guard.surroundings import Surroundings
from agent.ledger.errors import LedgerError
from agent.ledger.ledger import Ledger
from agent.model.equipment import Bollard, Junction
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.model.site import Address, Cabinet, ModbusLink, Realtime, SnmpLink
from agent.process.clock import Clock, host_clock
from agent.process.gatekeeper import Gatekeeper
from agent.process.heldkeys import KEY_LIST, HeldKeys
from agent.process.liveness import Liveness, notify, watchdog_period_s
from agent.process.server import LocalServer, group_of
from agent.process.stopping import stop_all
from agent.process.timekeeper import Timekeeper
from agent.process.trustfiles import read_trust
from agent.safety.latch import Latch
from agent.safety.secret import defaults_among
from agent.wire.errors import TrustError
from agent.wire.gate import CommandGate, Nonces
from agent.wire.messages import Value
from agent.wire.trust import KeyRing
from drivers.errors import ProfileError
from drivers.modbus.bollard import BollardDriver
from drivers.modbus.line import ModbusLine
from drivers.modbus.profile import load_profile
from drivers.modbus.unit import ModbusUnit

SCAN_DEADLINE_MS = 5_000  # a scan loop that has not come round by then is stuck, and systemd restarts us
WATCHDOG_PERIOD_S = 3.0
STOP_TIMEOUT_S = 5.0
KEY_IN_FILE = (
    "the guard takes none, because a token that is slow or gone must never hold up a scan or a latch; "
    "make the guard's key a file by `armoire enrol` (the agent's may be in a token)"
)


class GuardSetupError(Exception):
    """The guard cannot start; the reason is for the person who installs it."""


class Guard:
    """One running guard."""

    def __init__(self, cabinet: Cabinet, home: Path, clock: Clock) -> None:
        self._cabinet = cabinet
        self._clock = clock
        self._profiles = home / cabinet.profiles
        state = home / cabinet.guards_folder
        site = cabinet.site
        try:
            trust = read_trust(state / "keys", "guard", site.city, no_token=KEY_IN_FILE)
        except TrustError as error:
            raise GuardSetupError(str(error)) from error
        self.records = Records(
            lambda: Ledger(state / "guard.db", trust.signer, site.city, site.gateway, (STREAM,), clock), clock.now_ms
        )
        self.surroundings = Surroundings(site, trust.ring, clock, fleet_expected=cabinet.broker is not None)
        self.commissioning = Commissioning(cabinet, home, trust.ring)
        self.surroundings.uncommissioned = self.commissioning.why_not
        self.lines: dict[Address, ModbusLine] = {}
        self.presence = self._presence()
        self.guarded: Mapping[EquipmentId, Guarded] = dict(self._guarded())
        executor = GuardExecutor(site, self.guarded, self.records, self.surroundings, clock)
        gate = CommandGate(trust.ring, Nonces(os.urandom, clock.now_ms()))
        self.gatekeeper = Gatekeeper(site.city, site.gateway, gate, trust.signer, executor, clock)
        self.keys = HeldKeys(state / "keys", trust, clock, self.records.beside, self._note_keys)
        self.keys.users += [gate.use, self.surroundings.use, self._judge_facts]
        told = (self.figures, self.concerns, os.getpid())
        desk = Desk(site, self.guarded, self.gatekeeper, self.records, self.surroundings, self.keys, clock, *told)
        self.server = LocalServer(state / "guard.sock", desk.answer, group_of(state))
        self.beat = Beat()
        self.lacks: tuple[Lack, ...] = ()
        self.liveness = Liveness()

    def _line(self, address: Address) -> ModbusLine:
        if address not in self.lines:
            self.lines[address] = ModbusLine(address)
        return self.lines[address]

    def _unit(self, link: ModbusLink) -> ModbusUnit:
        profile = load_profile(self._profiles, link.profile)
        return ModbusUnit(self._line(link.address), link.unit, profile, now_ms=self._clock.now_ms)

    def _presence(self) -> PresenceWatch | None:
        inputs = self._cabinet.presence
        if inputs is None:
            return None
        unit = self._unit(inputs.link).narrowed(inputs.points)
        return PresenceWatch(inputs, unit, self.surroundings, self.records)

    def _guarded(self) -> Iterator[tuple[EquipmentId, Guarded]]:
        for equipment in self._cabinet.site.equipment.values():
            match equipment, self._cabinet.links.get(equipment.id):
                case Junction(), SnmpLink() as link:
                    yield equipment.id, self._junction(equipment, link)
                case Bollard(), ModbusLink() as link:
                    yield equipment.id, self._bollard(equipment, link)
                case _:
                    pass  # The agent's.

    def _junction(self, junction: Junction, link: SnmpLink) -> Guarded:
        from agent.guard.junction import JunctionGuard  # SNMP costs 10 MB: only where there is a junction.
        from drivers.ntcip.controller import SignalController

        mask = sum(group.bit for group in junction.groups)
        controller = SignalController(
            link,
            junction.id,
            mask,
            now_ms=self._clock.now_ms,
            vehicle_calls=junction.call_phases(of_pedestrians=False),
            pedestrian_calls=junction.call_phases(of_pedestrians=True),
        )
        secrets = {"read community": link.read_community, "write community": link.write_community}
        known = defaults_among(secrets)
        return JunctionGuard(
            junction, self._cabinet.site, controller, self.records, self.surroundings, self._clock, known
        )

    def _bollard(self, bollard: Bollard, link: ModbusLink) -> Guarded:
        driver = BollardDriver(self._unit(link), bollard.id)
        return BollardGuard(bollard, self._cabinet.site, driver, self.records, self.surroundings, self._clock)

    async def run(self) -> None:
        """Scan and answer until SIGTERM; then release what is held."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        self.take(claim(self._cabinet.realtime, self._cabinet.realtime_priority))
        await self.records.open()
        self._clock.raise_floor(self.records.floor_ms)
        self.hold_what_may_be_lost()
        await recall_flashes(self._cabinet.site, self.records, self.surroundings, self._clock)
        await self.records.event("guard.start", "", "", f"pid {os.getpid()}, observing")
        self.commissioning.tell(self.records)
        for lack in self.lacks:
            self.records.note("guard.health", "", "", str(lack))
        settle()
        self.beat.watch_collector()
        try:
            async with self.gatekeeper.working(), self.server.serving(), asyncio.TaskGroup() as group:
                scans = [group.create_task(self._scan(key, each), name=key) for key, each in self.guarded.items()]
                if self.presence is not None:
                    scans.append(group.create_task(self.presence.run(), name="presence"))
                scans.append(group.create_task(self._feed_watchdog(), name="watchdog"))
                scans.append(group.create_task(self.records.run(), name="records"))
                scans.append(group.create_task(self.keys.run(), name="key list"))
                timekeeper = Timekeeper(self._clock, self._note_time, self.records.keep_floor)
                scans.append(group.create_task(timekeeper.run(), name="clock"))
                await stop.wait()
                notify("STOPPING=1")
                await stop_all(scans)
            await self._release()
        finally:
            self.beat.leave_collector()
            for line in self.lines.values():
                await line.close()
            await self.records.close()

    def take(self, lacks: tuple[Lack, ...]) -> None:
        """Take note of what the kernel did not grant.

        Raises:
            GuardSetupError: the site file says that the guard must not run without.
        """
        if lacks and self._cabinet.realtime is Realtime.REQUIRED:
            raise GuardSetupError("; ".join(f"guard.realtime is required: {lack}" for lack in lacks))
        self.lacks = lacks

    def hold_what_may_be_lost(self) -> None:
        """A damaged ledger may have held latches: hold everything until somebody has looked at it on site."""
        if self.records.are_latches_known:
            return
        reason = "the guard's ledger was damaged, and a latched fault may be lost with it"
        self.records.hold_in_doubt(
            Latch(id_, "SR-13", reason, self._clock.unix_ms(), flash_requested=False)
            for id_ in self.guarded.keys() - self.records.latches.keys()
        )

    async def _scan(self, name: str, guarded: Guarded) -> None:
        """Tick on a fixed monotonic beat; a missed slot is skipped and counted, never made up in a burst."""
        period_ms = self._cabinet.observe_ms
        self.liveness.register(name, SCAN_DEADLINE_MS, self._clock.now_ms())
        next_ms = self._clock.now_ms()
        while True:  # As long as the process: this is the guard.
            await asyncio.sleep(max(0, next_ms - self._clock.now_ms()) / 1000)
            self.beat.begun(self._clock.now_ms() - next_ms)
            await guarded.tick()
            now_ms = self._clock.now_ms()
            self.liveness.beat(name, now_ms)
            next_ms = self.beat.next_ms(next_ms, now_ms, period_ms)

    async def _feed_watchdog(self) -> None:
        notify("READY=1")
        while True:  # As long as the process.
            late = self.liveness.late(self._clock.now_ms())
            notify(f"STATUS=late: {', '.join(late)}" if late else "WATCHDOG=1")
            await self.server.look()
            await asyncio.sleep(watchdog_period_s(WATCHDOG_PERIOD_S))

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                for guarded in self.guarded.values():
                    await guarded.release()
                await self.records.event("guard.stop", "", "", "stopped in order; controls released")
        except TimeoutError:
            return  # The controllers' own watchdogs drop what we could not.

    def _judge_facts(self, ring: KeyRing) -> None:
        if self.commissioning.judge(ring):
            self.surroundings.uncommissioned = self.commissioning.why_not
            self.commissioning.tell(self.records)

    def _note_keys(self, kind: str, text: str) -> None:
        self.records.note(kind, "", "", text)

    def _note_time(self, kind: str, text: str, detail: dict[str, Scalar]) -> None:
        self.records.note(kind, "", "", text, detail)

    def concerns(self) -> Iterator[str]:
        """What of the process itself a technician should know."""
        if why := self.commissioning.why_not:
            yield f"site not commissioned: {why}; observing only, every control is refused (SR-30)"
        if concern := self.keys.concern():
            yield concern
        yield from map(str, self.lacks)

    def figures(self) -> dict[str, Value]:
        """Counters for the status page."""
        figures = self.beat.figures() | {KEY_LIST: self.keys.ring.version}
        if self.keys.refused:
            figures["key lists refused"] = self.keys.refused
        if self.records.failures:
            figures["disk failures"] = self.records.failures
            figures["last disk failure"] = self.records.last_failure
        if self.records.unsealed:
            figures["records not on disk"] = self.records.unsealed
        return figures | {f"socket {why}": n for why, n in self.server.rejected.items() if n}


async def run(cabinet: Cabinet, home: Path) -> None:
    """Run the guard of one cabinet.

    Args:
        home: the site file's folder; the file's relative paths start there.

    Raises:
        GuardSetupError: keys, profiles or ledger cannot be used; nothing was sent to any equipment.
    """
    try:
        guard = Guard(cabinet, home, host_clock())
        await guard.run()
    except (ProfileError, LedgerError) as error:
        raise GuardSetupError(str(error)) from error
