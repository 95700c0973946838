"""A malicious PLC, or somebody on its line: no bollard is raised on a lie, and nothing is believed done that was not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from drivers.modbus import breaker as breaker_module
from drivers.modbus import line as line_module
from simulators.bollard_plc import BollardPlc, Bollards
from simulators.clock import ManualClock
from simulators.modbus_frame import Frame
from tests.attack.wire_liar import HARMLESS, LIES, Pieces, WireRelay, framed
from tests.guard.rig import START_S, BollardRig, furnish, home_folder

B, UNIT = "bollard-vauban", 2
WRITE_COIL = 5
IMPATIENT_S = 0.03


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the line waits for by the wall clock, shortened."""
    monkeypatch.setattr(line_module, "RECONNECT_S_MIN", 0.005)
    monkeypatch.setattr(line_module, "RECONNECT_S_MAX", 0.02)
    monkeypatch.setattr(breaker_module, "PAUSE_S_MIN", 0.01)
    monkeypatch.setattr(breaker_module, "PAUSE_S_MAX", 0.02)


class LyingRig(BollardRig):
    """Three bollards whose answers pass through somebody else's hands."""

    relay: WireRelay

    def be_patient(self, patient: bool) -> None:
        """How long each answer is waited for; where none comes, not long."""
        for line in self.guard.lines.values():
            line._timeout_s = 2.0 if patient else IMPATIENT_S
            line._drop()

    @property
    def plc(self) -> BollardPlc:
        return self.bollards.plcs[UNIT]


@asynccontextmanager
async def lying_rig() -> AsyncIterator[LyingRig]:
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        bollards = Bollards([BollardPlc() for _ in range(3)], clock)
        await stack.enter_async_context(bollards.server.serve(0))
        await stack.enter_async_context(bollards.stand.run(None))
        relay = await stack.enter_async_context(WireRelay.serve(bollards.port))
        site, people = furnish(home, "gw-liberation", {"bollards": relay.port})
        rig = LyingRig(site, people, clock)
        rig.bollards, rig.relay = bollards, relay
        await stack.enter_async_context(rig.guarding())
        rig.be_patient(True)
        yield rig


async def told(rig: LyingRig) -> list[str]:
    return [entry.kind for entry in await rig.log("link.lost", "link.back") if entry.equipment == B]


@pytest.mark.parametrize("name", sorted(LIES))
async def test_a_lie_raises_no_bollard_is_told_once_and_over_when_it_is_over(name: str) -> None:
    async with lying_rig() as rig:
        await rig.rest(5)
        rig.relay.lie = LIES[name]
        rig.be_patient(False)
        for _ in range(8):
            await rig.tick(0.5)
        assert rig.relay.told
        outcome = await rig.ask_at_once(rig.people.technician, B, "raise")
        assert outcome.ended == "refused"
        assert rig.plc.state()["cycles"] == 0
        assert (await told(rig))[1:] == ["link.lost"]
        rig.relay.lie = None
        rig.be_patient(True)
        await rig.run_until(lambda: rig[B].link == "answers")
        await rig.rest(5)
        assert (await told(rig))[1:] == ["link.lost", "link.back"]
        assert rig[B].latch is None
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"


@pytest.mark.parametrize("name", sorted(HARMLESS))
async def test_the_truth_is_found_however_it_is_cut(name: str) -> None:
    async with lying_rig() as rig:
        rig.relay.lie = HARMLESS[name]
        await rig.run(5)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"
        assert await told(rig) == ["link.back"]


@pytest.mark.parametrize("name", sorted(LIES))
async def test_a_lie_about_a_pulse_is_never_a_bollard_believed_raised(name: str) -> None:
    """The readings are true, so the command is approved; what answers the pulse lies, and the PLC has not moved."""
    async with lying_rig() as rig:
        await rig.rest(5)

        def lie(relay: WireRelay, question: Frame, answer: Frame) -> Pieces:
            return LIES[name](relay, question, answer) if question.pdu[0] == WRITE_COIL else [answer.encode()]

        rig.relay.lie = lie
        rig.be_patient(False)
        outcome = await rig.ask(rig.people.technician, B, "raise")
        rig.be_patient(True)
        state = rig.plc.state()["state"]
        if outcome.ended == "done":
            assert state != "DOWN", "believed only because it was seen"
        else:
            assert outcome.ended in {"unknown", "failed", "refused"}


async def test_a_pulse_confirmed_and_never_carried_out_is_not_done() -> None:
    async with lying_rig() as rig:
        await rig.rest(5)

        def lie(_relay: WireRelay, question: Frame, answer: Frame) -> Pieces:
            return [framed(answer, question.pdu)] if question.pdu[0] == WRITE_COIL else [answer.encode()]

        rig.bollards.fault("refuse_set", unit=UNIT)
        rig.relay.lie = lie
        outcome = await rig.ask(rig.people.technician, B, "raise")
        assert outcome.ended in {"failed", "unknown"}
        assert rig.plc.state()["state"] == "DOWN"
        rig.relay.lie = None
        rig.bollards.fault("refuse_set", on=False, unit=UNIT)
        await rig.rest(5)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"


async def test_loops_that_are_said_free_only_in_torn_answers_do_not_count_as_seen() -> None:
    """Every second answer is noise: two seconds of free loops never come together."""
    async with lying_rig() as rig:
        await rig.rest(5)
        rig.bollards.set(UNIT, loop_a=True)
        await rig.run(1)
        rig.bollards.set(UNIT, loop_a=False)
        rig.be_patient(False)
        for turn in range(12):
            rig.relay.lie = LIES["noise"] if turn % 2 else None
            await rig.tick(0.5)
            outcome = await rig.ask_at_once(rig.people.technician, B, "raise")
            assert outcome.ended == "refused"
        assert rig.plc.state()["cycles"] == 0
