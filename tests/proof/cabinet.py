"""A guard's one junction as memory and disk, every action a row of steps between which the power may fail.

Kernel, observer, leases and the gate are the real ones; the order of the steps between them is the guard's, written anew
and in one thread. What is begun to be written is on disk once the disk has caught up; what is written first is waited for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from agent.model.command import LOCAL_PLAN, Command, ReleaseJunction, RequestFlash, ResetLatch, SelectPlan
from agent.model.observation import ClockQuality, JunctionObserved, Presence
from agent.safety.budget import spend
from agent.safety.junction import refresh_period_ms
from agent.safety.kernel import judge, may_refresh
from agent.safety.latch import Latch
from agent.safety.lease import Lease, due, granted
from agent.safety.mode import Mode, ModeEntry, worst
from agent.safety.observer import JunctionMemory, Response, Trip, react, watch
from agent.safety.standing import Spent, Standing
from agent.safety.verdict import Approved, Refused
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.trust import KeyRing
from tests.proof.gate_campaign import TOPIC
from tests.safety.facts import JUNCTION, SITE, J
from tests.wire.party import T0_MS

SILENCE_MS = SITE.fleet_silence_ms
Send = Callable[[str, Command], None]


@dataclass
class Disk:
    """What is there after a power cut, and what was begun and is not there yet, in order."""

    latch: Latch | None = None
    counters: dict[str, int] = field(default_factory=dict)
    flashes_ms: list[int] = field(default_factory=list)
    begun: list[Callable[[], None]] = field(default_factory=list)
    caught_up: Callable[[], None] = field(default=lambda: None)
    """Told whenever everything begun is there."""

    def catch_up(self) -> None:
        """Everything begun is on disk."""
        while self.begun:
            self.begun.pop(0)()
        self.caught_up()

    def write(self, work: Callable[[], None]) -> None:
        """Wait until this, and all that was begun before it, is on disk."""
        self.begun.append(work)
        self.catch_up()

    def set_latch(self, latch: Latch | None) -> None:
        """Hold or clear."""
        self.latch = latch


class Cabinet:
    """A guard and its disk.

    Args:
        send: what reaches the controller.
        entropy: of the nonces.
    """

    def __init__(self, ring: KeyRing, send: Send, entropy: Callable[[int], bytes]) -> None:
        self.ring, self.send, self.entropy = ring, send, entropy
        self.disk = Disk()
        self.now_ms = 1_000_000
        self.heard_at_ms = self.now_ms
        self.door_open = self.local_key = False
        self.restart()

    def restart(self) -> None:
        """Memory is lost, and what was begun and not on disk with it."""
        self.disk.begun.clear()
        self.started_ms = self.now_ms
        self.memory = JunctionMemory()
        self.observed: JunctionObserved | None = None
        self.presence: Presence | None = None
        self.lease: Lease | None = None
        self.refreshed_at_ms = 0
        self.latch = self.disk.latch
        self.fault_at_ms = self.now_ms if self.latch else None
        self.flash_at_ms = max(self.disk.flashes_ms, default=None)
        self.spent: Spent = ()
        for at_ms in self.disk.flashes_ms:
            self.spent = spend(self.spent, RequestFlash(J, LOCAL_PLAN, 0), at_ms)
        self.gate = CommandGate(self.ring, Nonces(self.entropy, self.now_ms))

    @property
    def is_fleet_silent(self) -> bool:
        """Nothing heard for the site's time."""
        return self.now_ms - self.heard_at_ms > SILENCE_MS

    def standing(self) -> Standing:
        """What the kernel must know beside the observation."""
        entries = [ModeEntry(Mode.HELD, "latched", "reset")] if self.latch else []
        if self.presence is not None and self.presence.local_key:
            entries.append(ModeEntry(Mode.LOCAL, "key", "key"))
        if self.is_fleet_silent:
            entries.append(ModeEntry(Mode.AUTONOMOUS, "silence", "a word"))
        fault_ms = [each for each in (self.fault_at_ms, self.memory.fault_at_ms) if each is not None]
        return Standing(
            mode=worst(entries),
            latch=self.latch,
            presence=self.presence,
            flash_requested_at_ms=self.flash_at_ms,
            fault_seen_at_ms=max(fault_ms) if self.fault_at_ms is not None else None,
            spent=self.spent,
        )

    def look(self, seen: JunctionObserved) -> Iterator[str]:
        """One sample: what it trips, then what is held."""
        self.presence = Presence(self.now_ms, self.door_open, self.local_key)
        self.observed = seen
        self.memory, trips = watch(self.memory, seen, JUNCTION)
        if trips:
            yield from self.trip(trips)
        yield from self._keep()

    def trip(self, trips: tuple[Trip, ...]) -> Iterator[str]:
        """Latch, release, flash; nothing waits for the disk."""
        if any(each.response >= Response.RELEASE_AND_LATCH for each in trips):
            self.fault_at_ms = self.now_ms
        reaction = react(trips, self.standing(), self.now_ms, T0_MS + self.now_ms)
        if reaction.latch is not None:
            self.latch = reaction.latch
            self.keep_latch(reaction.latch)
            yield "latched in memory"
        if reaction.release is not None:
            self.lease = None
            self.send("release", reaction.release.command)
            yield "released"
        if reaction.flash is not None:
            self._note_flash()
            self.disk.begun.append(lambda at_ms=self.now_ms: self.disk.flashes_ms.append(at_ms))  # type: ignore[misc]
            self.send("observer's flash", reaction.flash.command)
            yield "flash asked"

    def keep_latch(self, latch: Latch) -> None:
        """Begin to write it."""
        self.disk.begun.append(lambda: self.disk.set_latch(latch))

    def _note_flash(self) -> None:
        self.flash_at_ms = self.now_ms
        self.spent = spend(self.spent, RequestFlash(J, LOCAL_PLAN, 0), self.now_ms)

    def _keep(self) -> Iterator[str]:
        lease = self.lease
        if lease is None:
            return
        refused = may_refresh(lease, SITE, self.observed, self.standing(), self.now_ms)
        if due(lease, self.now_ms, self.is_fleet_silent) or refused:
            self.lease = None
            verdict = judge(ReleaseJunction(J, LOCAL_PLAN), SITE, self.observed, self.standing(), self.now_ms)
            assert isinstance(verdict, Approved)
            self.send("release", verdict.command)
            yield "the hold is over"
        elif self.now_ms - self.refreshed_at_ms >= refresh_period_ms(JUNCTION):
            self.refreshed_at_ms = self.now_ms
            self.send("refresh", lease.approved.command)
            yield "refreshed"

    def submit(self, sealed: bytes) -> Iterator[str]:
        """A sealed command, as far as it gets."""
        unix_ms = T0_MS + self.now_ms
        admitted = self.gate.admit(sealed, TOPIC, self.disk.counters, self.now_ms, unix_ms, ClockQuality.NETWORK)
        if not isinstance(admitted, Admitted):
            return
        yield from self.count(admitted)
        command = admitted.command({}.get)
        if isinstance(command, Refused):
            return
        yield from self._carry_out(command)

    def count(self, admitted: Admitted) -> Iterator[str]:
        """The counter is on disk before anything is done."""
        self.disk.write(lambda: self.disk.counters.update({admitted.kid: admitted.counter}))
        yield "counted"

    def _carry_out(self, command: Command) -> Iterator[str]:
        verdict = judge(command, SITE, self.observed, self.standing(), self.now_ms)
        if isinstance(verdict, Refused):
            return
        yield "judged"
        match command:
            case ReleaseJunction():
                self.lease = None
                self.send("release", command)
            case SelectPlan() | RequestFlash():
                yield from self._hold(verdict)
            case ResetLatch():
                yield from self._reset(command)
        yield "carried out"

    def _hold(self, verdict: Approved[Command]) -> Iterator[str]:
        if isinstance(verdict.command, RequestFlash):
            self._note_flash()
            self.remember_flash()
            yield "noted on disk"
        else:
            self.spent = spend(self.spent, verdict.command, self.now_ms)
        self.lease = granted(verdict)  # type: ignore[arg-type]
        self.refreshed_at_ms = self.now_ms
        self.send("flash" if isinstance(verdict.command, RequestFlash) else "plan", verdict.command)

    def remember_flash(self) -> None:
        """What a person asked for is on disk before it is sent."""
        self.disk.write(lambda: self.disk.flashes_ms.append(self.now_ms))

    def _reset(self, command: Command) -> Iterator[str]:
        if self.latch is None:
            return
        yield "approved"
        self.disk.write(lambda: self.disk.set_latch(None))
        self.latch = None
        self.memory = self.memory.anew()
        self.send("reset", command)


class LosesLatch(Cabinet):
    """Planted fault: latches are kept in memory only."""

    def keep_latch(self, latch: Latch) -> None:
        """Does not."""


class CountsLate(Cabinet):
    """Planted fault: the counter is only begun to be written."""

    def count(self, admitted: Admitted) -> Iterator[str]:
        """Does not wait."""
        self.disk.begun.append(lambda: self.disk.counters.update({admitted.kid: admitted.counter}))
        yield "counted"


class CountsLateAndGuessed(CountsLate):
    """Planted fault: and its nonces are always the same."""

    def __init__(self, ring: KeyRing, send: Send, _entropy: Callable[[int], bytes]) -> None:
        super().__init__(ring, send, bytes)


class HoldsOn(Cabinet):
    """Planted fault: a trip does not end what is held, and nobody judges it again."""

    def trip(self, trips: tuple[Trip, ...]) -> Iterator[str]:
        """Keeps the lease."""
        lease = self.lease
        yield from super().trip(trips)
        self.lease = lease
        self.latch = None if self.latch is None else replace(self.latch)
        if lease is not None:
            self.send("refresh", lease.approved.command)


class ForgetsFlash(Cabinet):
    """Planted fault: a flash asked for by people is remembered until the next restart."""

    def remember_flash(self) -> None:
        """Does not."""
