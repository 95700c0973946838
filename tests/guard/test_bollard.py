"""Bollards under guard, on a simulated PLC over Modbus TCP."""

import asyncio

import pytest

from agent.guard.bollard import BollardGuard
from agent.safety.bollard_watch import BollardMemory
from agent.safety.latch import Latch
from simulators.bollard_plc import GATEWAY_HEARTBEAT, RAISE, BollardPlc
from tests.guard.rig import BollardRig, bollard_rig
from tests.waiting import wait_until

B, UNIT = "bollard-vauban", 2
TRAVEL_S = 9.0  # warning and the way up


class DeafPlc(BollardPlc):
    """Takes every request and does nothing."""

    def _carry_out(self, coil: int, on: bool) -> bool:
        return True


class GreenPlc(BollardPlc):
    """Its green lamp burns whatever the bollard does."""

    def _refresh(self) -> None:
        super()._refresh()
        from simulators.modbus_frame import Table

        self.tables[Table.DISCRETES][13] = 1


async def raised(rig: BollardRig) -> None:
    outcome = await rig.ask(rig.people.technician, B, "raise")
    assert (outcome.ended, outcome.rule) == ("done", ""), outcome
    await rig.run(TRAVEL_S)
    assert rig.bollards.plcs[UNIT].state()["state"] == "UP"


async def test_a_bollard_is_raised_and_lowered_and_seen_to_obey() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        outcome = await rig.ask(rig.people.alice, B, "raise")
        assert (outcome.ended, outcome.reason) == ("done", "rising was asked and seen")
        await rig.run(TRAVEL_S)
        assert {point.name: point.value for point in (await rig.view(B)).points}["at_top"] is True
        outcome = await rig.ask(rig.people.bruno, B, "lower")
        assert (outcome.ended, outcome.reason) == ("done", "lowering was asked and seen")
        await rig.run(TRAVEL_S)
        assert rig.bollards.plcs[UNIT].state()["state"] == "DOWN"
        assert [plc.state()["state"] for unit, plc in rig.bollards.plcs.items() if unit != UNIT] == ["DOWN", "DOWN"]
        kinds = [entry.kind for entry in await rig.log("command.done", "command.refused", "trip")]
        assert kinds == ["command.done", "command.done"]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("loop_occupied:A", "loop A is occupied"),
        ("loop_occupied:B", "loop B is occupied"),
        ("loop_fault", "a loop is faulty"),
        ("pressure", "the pressure switch is tripped"),
        ("power_cut", "mains has failed"),
        ("local_key", "the local key is turned"),
        ("both_limits", "both limit switches are on"),
        ("frozen_heartbeat", "the PLC's heartbeat stands still"),
    ],
)
async def test_sr_19_a_bollard_is_not_raised_and_the_reason_names_what_was_seen(fault: str, seen: str) -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault(fault, unit=UNIT)
        await rig.run(5)
        outcome = await rig.ask(rig.people.technician, B, "raise")
        assert (outcome.ended, outcome.rule) == ("refused", "SR-19")
        # Both limits also latch a fault at the PLC, which is said first.
        assert seen in outcome.reason or (fault, outcome.reason) == ("both_limits", "the PLC has latched a fault")
        plc = rig.bollards.plcs[UNIT]
        assert (plc.raises_refused, plc.state()["cycles"]) == (0, 0)


async def test_sr_19_loops_must_be_seen_free_for_two_seconds() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.set(UNIT, loop_a=True)
        await rig.run(1)
        rig.bollards.set(UNIT, loop_a=False)
        await rig.run(1.9)
        outcome = await rig.ask_at_once(rig.people.technician, B, "raise")
        assert (outcome.rule, "the loops are free since 1800 ms" in outcome.reason) == ("SR-19", True)
        await rig.run(0.2)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"


async def test_sr_19_after_a_silence_of_the_plc_everything_must_be_seen_anew() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("exception", unit=UNIT)
        await rig.run(2)
        outcome = await rig.ask_at_once(rig.people.technician, B, "raise")
        assert outcome.ended == "refused"
        rig.bollards.fault("exception", on=False, unit=UNIT)
        await rig.run(0.3)
        outcome = await rig.ask_at_once(rig.people.technician, B, "raise")
        assert (outcome.rule, "the loops are free since" in outcome.reason) == ("SR-19", True)
        await rig.run(3)
        await raised(rig)
        assert [entry.kind for entry in await rig.log("link.lost", "link.back") if entry.equipment == B] == [
            "link.back",
            "link.lost",
            "link.back",
        ]


async def test_sr_29_under_the_local_key_not_even_lowering_is_asked() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        await raised(rig)
        rig.bollards.set(UNIT, local_key=True)
        await rig.run(1)
        outcome = await rig.ask(rig.people.alice, B, "lower")
        assert (outcome.ended, outcome.rule) == ("refused", "SR-29")
        assert (await rig.view(B)).mode == "local"


@pytest.mark.parametrize(
    ("passes_s", "latches", "rule"), [(1.2, False, "SR-19"), (0.0, True, "SR-13"), (0.0, False, "")]
)
async def test_sr_19_a_raise_is_judged_again_when_its_turn_on_the_line_has_come(
    passes_s: float, latches: bool, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.guard.bollard.REACTION_TIMEOUT_S", 0.2)
    async with bollard_rig() as rig:
        await rig.rest(5)
        sealed = await rig.sealed(rig.people.technician, B, "raise")
        rig.bollards.fault("silent", unit=1)
        line = next(iter(rig.guard.lines.values()))
        neighbour = asyncio.create_task(rig["bollard-rameau"].tick())
        await wait_until(line._turn.locked)
        task = asyncio.create_task(rig.submit(sealed))
        await wait_until(lambda: bool(line._turn._waiters))
        rig.clock.advance(passes_s)
        if latches:
            rig.guard.records.hold(Latch(rig[B].equipment.id, "SR-24", "green", rig.unix_ms(), False))
        outcome = await task
        await neighbour
        plc = rig.bollards.plcs[UNIT]
        if rule:
            assert (outcome.ended, outcome.rule) == ("refused", rule)
            assert outcome.state.startswith("nothing was sent")
            assert (plc.raises_refused, plc.state()["state"]) == (0, "DOWN")
        else:
            assert outcome.ended == "unknown"  # It was sent, and nobody looked.
            assert plc.state()["state"] == "PREWARN"


async def test_a_plc_that_refuses_the_heartbeat_is_watched_all_the_same() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("refuse_set", unit=UNIT)
        for _ in range(30):
            await rig.tick()
            seen = rig[B].observed
            assert seen is not None
            assert seen.at_ms == rig.now_ms()
        rig.bollards.fault("refuse_set", on=False, unit=UNIT)
        await rig.run(3)
        kinds = ("link.lost", "heartbeat.refused", "heartbeat.taken")
        assert [entry.kind for entry in await rig.log(*kinds)] == ["heartbeat.refused", "heartbeat.taken"]


async def test_a_pulse_that_moves_nothing_ends_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.guard.bollard.REACTION_TIMEOUT_S", 0.2)
    async with bollard_rig([BollardPlc(), DeafPlc(), BollardPlc()]) as rig:
        await rig.rest(5)
        outcome = await rig.ask(rig.people.technician, B, "raise")
        assert (outcome.ended, outcome.rule) == ("unknown", "")
        assert "was asked but not seen" in outcome.reason
        assert outcome.state.startswith("down at 0 %")
        assert [entry.kind for entry in await rig.log("command.unknown")] == ["command.unknown"]


async def test_what_was_seen_before_the_pulse_does_not_count_as_obeying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.guard.bollard.REACTION_TIMEOUT_S", 0.1)
    async with bollard_rig() as rig:
        await rig.rest(5)
        outcome = await rig.ask_at_once(rig.people.alice, B, "lower")  # It is down, and nobody looks again.
        assert (outcome.ended, outcome.rule) == ("unknown", "")


async def test_a_plc_that_says_no_ends_as_failed() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("refuse_set", unit=UNIT)
        outcome = await rig.submit(await rig.sealed(rig.people.technician, B, "raise"))
        assert (outcome.ended, outcome.rule) == ("failed", "")
        assert "the PLC refused" in outcome.reason


async def test_a_plc_that_falls_silent_under_a_command_ends_as_unknown() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("silent", unit=UNIT)
        outcome = await rig.submit(await rig.sealed(rig.people.technician, B, "lower"))
        assert (outcome.ended, outcome.rule) == ("unknown", "")
        assert "state not confirmed" in outcome.state


async def test_the_plcs_watchdog_is_fed_every_second() -> None:
    async with bollard_rig() as rig:
        beats = set()
        for _ in range(10):
            await rig.run(1.2)
            beats.add(rig.bollards.plcs[UNIT]._holding[GATEWAY_HEARTBEAT])
        assert len(beats) == 10
        assert rig.bollards.plcs[UNIT].state()["remote"] is True
        assert RAISE == 1


async def test_both_limits_at_once_are_an_alarm_once_and_no_latch() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("both_limits", unit=UNIT)
        await rig.run(10)
        (trip,) = await rig.log("trip")
        assert (trip.rule, trip.equipment) == ("SR-19", B)
        assert "both limit switches" in trip.text
        assert rig[B].latch is None


async def test_sr_24_a_green_lamp_beside_a_bollard_that_is_not_down_latches_until_reset_on_site() -> None:
    async with bollard_rig([BollardPlc(), GreenPlc(), BollardPlc()]) as rig:
        await rig.rest(5)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"
        await rig.run_until(lambda: rig[B].latch is not None, 10)
        await rig.run(TRAVEL_S)
        (trip,) = await rig.log("trip")
        assert trip.rule == "SR-24"
        assert (await rig.ask(rig.people.technician, B, "raise")).rule == "SR-13"
        rig.bollards.set(1, door_open=True, local_key=True)
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, B, "reset")).rule == "SR-13"
        assert (await rig.ask(rig.people.alice, B, "lower")).rule == "SR-29"  # Somebody works there.
        assert (await rig.ask(rig.people.technician, B, "lower")).ended == "done"  # The safe direction stays open.
        await rig.run_until(lambda: rig.bollards.plcs[UNIT].state()["state"] == "DOWN", 10)
        await rig.run(5)
        assert (await rig.ask_at_once(rig.people.technician, B, "reset")).rule == "SR-13"
        await rig.rest(10.5)
        assert (await rig.ask_at_once(rig.people.technician, B, "reset")).ended == "done"
        assert [entry.rule for entry in await rig.log("latch.reset")] == ["SR-24"]


async def seen_to(rig: BollardRig, *story: str | float) -> None:
    """Things that happen to the street, faults of the PLC (``!name``), and seconds."""
    for each in story:
        if isinstance(each, str) and each.startswith("!"):
            rig.bollards.fault(each[1:], unit=UNIT)
        elif isinstance(each, str):
            rig.bollards.set(UNIT, **{each.lstrip("-"): not each.startswith("-")})
        else:
            await rig.run(each)


RULES_FOUND = [
    (("!ignore_loops", "raise", 1, "loop_a", 4), "SR-19", "at most after a loop was hit", True),
    (("!ignore_loops", "raise", 4, "loop_b", 2), "SR-20", "goes on rising", True),
    (("!no_warning", "raise", 3), "SR-20", "after the red lamp was off", False),
    (("!red_lamp_out", "raise", 5), "SR-20", "the red lamp is off", False),
    (("!endless_reversals", "raise", 4, *("loop_a", 1, "-loop_a", 6) * 3), "SR-21", "rises again", True),
    (("!no_timeout", "!stuck_drive", "raise", 20), "SR-22", "it moves up for", True),
    (("-mains", 2, "!rise_on_power", "mains", 5), "SR-19", "nobody asked for it", True),
    (("!frozen_heartbeat", 2, "raise", 6), "SR-19", "sensor fault", True),
    (("!ignore_loops", "loop_a", 3, "efo", 3), "SR-23", "at most after a loop was hit", False),
]


@pytest.mark.parametrize(("story", "rule", "seen", "lowers"), RULES_FOUND, ids=str)
async def test_sr_19_to_23_a_plc_that_has_lost_an_interlock_latches_and_is_lowered_where_that_is_safer(
    story: tuple[str | float, ...], rule: str, seen: str, lowers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.guard.bollard.REACTION_TIMEOUT_S", 0.05)
    async with bollard_rig() as rig:
        await rig.rest(5)
        if "raise" in story:
            place = story.index("raise")
            await seen_to(rig, *story[:place])
            await rig.ask_at_once(rig.people.technician, B, "raise")  # It is sent, and nobody looks while time stands.
            story = story[place + 1 :]
        await seen_to(rig, *story)
        latch = rig[B].latch
        assert latch is not None
        assert latch.rule == rule
        assert seen in latch.reason
        assert len(await rig.log("lower.asked")) == (1 if lowers else 0)
        plc = rig.bollards.plcs[UNIT].bollard
        await rig.run(8)
        if lowers and "!stuck_drive" not in story:
            assert plc.position == 0
        assert (await rig.ask(rig.people.technician, B, "raise")).rule == "SR-13"


async def test_sr_22_a_bollard_stuck_half_way_latches() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        await raised(rig)
        rig.bollards.fault("stuck_drive", unit=UNIT)
        assert (await rig.ask(rig.people.alice, B, "lower")).ended == "done"
        await rig.run(8)
        latch = rig[B].latch
        assert latch is not None
        assert (latch.rule, latch.reason) == ("SR-22", "the PLC says that it is stuck on its way down")


async def test_sr_23_an_emergency_raise_is_told_once_and_ends_at_its_switch_alone() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.set(UNIT, efo=True)
        await rig.run(2)
        for verb in ("raise", "lower"):
            outcome = await rig.ask(rig.people.technician, B, verb)
            assert (outcome.ended, outcome.rule) == ("refused", "SR-23")
        (trip,) = await rig.log("trip")
        assert (trip.rule, trip.text) == ("SR-23", "the emergency raise (EFO) is on")
        rig.bollards.set(UNIT, efo=False)
        await rig.run(6)
        assert rig[B].latch is None
        assert (await rig.ask(rig.people.alice, B, "lower")).ended == "done"


async def test_sr_19_a_restarted_guard_knows_a_rise_that_was_asked_of_its_predecessor() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"
        guarded = rig[B]
        assert isinstance(guarded, BollardGuard)
        guarded._memory = BollardMemory()
        await rig.run(TRAVEL_S)
        assert await rig.log("trip") == []


async def test_a_lowering_that_is_not_confirmed_is_recorded_and_the_latch_stands() -> None:
    async with bollard_rig() as rig:
        await rig.rest(5)
        rig.bollards.fault("ignore_loops", unit=UNIT)
        assert (await rig.ask(rig.people.technician, B, "raise")).ended == "done"
        rig.bollards.fault("refuse_set", unit=UNIT)
        await seen_to(rig, 3, "loop_a", 2)
        assert rig[B].latch is not None
        (failed,) = await rig.log("lower.failed")
        assert "lowering was asked and is not confirmed" in failed.text
