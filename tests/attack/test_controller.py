"""A malicious controller: it lies in every way there is, and at worst we let go of it.

Never a flash that two true samples did not ask for, never a command believed done that was not, one word when the link
is lost and one when it is back, and everything as before once it behaves.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from agent.guard.junction import JunctionGuard
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.snmp_message import decode, encode, integer
from tests.attack.liar import HARMLESS, LIES, PATTERN, Relay, greens
from tests.guard.rig import FLASH, START_S, JunctionRig, furnish, home_folder
from tests.referee import judged

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 3_000}
IMPATIENT_S = 0.03
CONFLICT = 0b00000110  # channels 2 and 3


class LyingRig(JunctionRig):
    """A junction whose answers pass through somebody else's hands."""

    relay: Relay

    def be_patient(self, patient: bool) -> None:
        """How long each answer is waited for; where none comes, not long."""
        guarded = self[J]
        assert isinstance(guarded, JunctionGuard)
        guarded._controller._session._timeout_s = 2.0 if patient else IMPATIENT_S

    async def lied_to(self, seconds: float) -> None:
        """Scan while no answer may be believed."""
        self.be_patient(False)
        for _ in range(round(2 * seconds)):
            await self.tick(0.5)


@asynccontextmanager
async def lying_rig() -> AsyncIterator[LyingRig]:
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        signals = await stack.enter_async_context(SignalCabinet.serve(clock=clock, started=True))
        stack.enter_context(judged(signals))
        cabinet = await stack.enter_async_context(Cabinet.serve(clock=clock))
        relay = await stack.enter_async_context(Relay.serve(signals.port))
        site, people = furnish(home, "gw-republique", {"signals": relay.port, "presence": cabinet.port})
        rig = LyingRig(site, people, clock)
        rig.signals, rig.cabinet, rig.relay = signals, cabinet, relay
        await stack.enter_async_context(rig.guarding())
        rig.be_patient(True)
        yield rig


async def told(rig: JunctionRig, *kinds: str) -> list[str]:
    return [entry.kind for entry in await rig.log(*kinds)]


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_not_believed_told_once_and_over_when_it_is_over(name: str) -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        rig.relay.lie = LIES[name]
        await rig.lied_to(1)
        assert rig.relay.told
        outcome = await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)
        if outcome.ended == "done":  # A lie that leaves single objects alone: then it was done.
            assert rig.signals.controller.control.pattern == 2
        await rig.lied_to(3.5)
        outcome = await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)
        assert outcome.ended != "done"
        assert FLASH not in rig.patterns
        assert (await told(rig, "link.lost", "link.back"))[1:] == ["link.lost"]
        rig.relay.lie = None
        rig.be_patient(True)
        await rig.run(1)
        assert (await told(rig, "link.lost", "link.back"))[1:] == ["link.lost", "link.back"]
        assert rig[J].latch is None
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        assert set(rig.patterns) <= {2}


@pytest.mark.parametrize("name", HARMLESS)
async def test_the_truth_is_found_among_other_datagrams(name: str) -> None:
    async with lying_rig() as rig:
        rig.relay.lie = HARMLESS[name]
        await rig.run(5)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        await rig.run(5)
        assert await told(rig, "link.lost", "trip", "lease.end") == []
        assert rig[J].latch is None


@pytest.mark.parametrize("name", sorted(LIES.keys() - {"the objects in another order"}))
async def test_a_lie_about_a_write_is_never_a_command_done(name: str) -> None:
    """The observation is true, so the command is approved; only what answers the write and its reading back lies."""
    async with lying_rig() as rig:
        await rig.run(1)

        def lie(relay: Relay, data: bytes) -> list[bytes]:
            return LIES[name](relay, data) if _is_about_the_write(data) else [data]

        rig.relay.lie = lie
        rig.be_patient(False)
        outcome = await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)
        rig.be_patient(True)
        assert outcome.ended in {"unknown", "failed"}, outcome
        assert "not confirmed" in outcome.reason or "refused" in outcome.reason
        rig.relay.lie = None
        await rig.run(1)
        assert (await rig.view(J)).holding == "", "what was not confirmed is not held"
        assert FLASH not in rig.patterns


def _is_about_the_write(data: bytes) -> bool:
    """One object alone: the write's confirmation or its reading back."""
    return [oid for oid, _ in decode(data).varbinds] == [PATTERN]


async def test_a_write_confirmed_and_never_done_is_found_by_reading_it_back() -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        rig.signals.fault("refuse_set")

        def lie(_relay: Relay, data: bytes) -> list[bytes]:
            message = decode(data)
            if not message.status:
                return [data]
            return [encode(replace(message, status=0, index=0, varbinds=((PATTERN, integer(2)),)))]

        rig.relay.lie = lie
        outcome = await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)
        assert outcome.ended == "unknown"
        assert "was written 2 and reads 0" in outcome.reason
        assert rig.patterns == []


async def test_one_forged_conflict_releases_and_latches_and_brings_no_flash() -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        rig.relay.lie = greens(CONFLICT)
        await rig.tick()
        rig.relay.lie = None
        await rig.run(30)
        assert rig.patterns == [2, 0]
        assert (await rig.view(J)).mode == "held"
        latch = rig[J].latch
        assert latch is not None
        assert latch.rule == "SR-02"


async def test_forged_conflicts_further_apart_than_200_ms_bring_no_flash() -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        for _ in range(20):
            rig.relay.lie = greens(CONFLICT)
            await rig.tick()
            rig.relay.lie = None
            await rig.run(0.3)
        assert rig.patterns == [0]


async def test_a_controller_that_flaps_between_truth_and_silence_is_told_of_seldom() -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        for turn in range(60):
            rig.relay.lie = LIES["nothing"] if turn % 2 else None
            rig.be_patient(not turn % 2)
            await rig.tick()
        rig.be_patient(True)
        assert await told(rig, "link.lost") == [], "single losses are no loss of the link"
        assert set(rig.patterns) <= {2, 0}
        assert FLASH not in rig.patterns


async def test_a_lease_under_lies_ends_at_the_latest_by_the_controllers_own_watchdog() -> None:
    async with lying_rig() as rig:
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        rig.relay.lie = LIES["negative numbers"]
        await rig.lied_to(2)
        rig.clock.advance(61.0)
        await rig.lied_to(0.5)
        assert rig.signals.controller.control.pattern == 0
        assert set(rig.patterns) <= {2, 0}
