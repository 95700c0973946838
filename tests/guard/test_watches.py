"""What the guard finds out about a junction beside its greens: lost and stuck reds, changed stores, known secrets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.guard.flashes import FLASH_EVENT, LOG_WHOLE, recall_flashes
from agent.ledger.errors import LedgerError
from agent.model.identity import EquipmentId
from agent.model.observation import ClockQuality
from agent.process.clock import Clock
from agent.wire.demotrust import sign_demo_site
from agent.wire.local import LogEntry
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.aspects import bit
from simulators.signal_controller.traffic import Traffic
from tests.guard.rig import FLASH, UNIX_MS, JunctionRig, junction_rig

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 600}
FLASH_ARGS = {"lease_s": 60}
MINUTE_MS = 60_000
NETWORK = int(ClockQuality.NETWORK)
ALARMS = ("trip", "trip.flash", "latch.set", "lease.end")


def saying(*changes: tuple[str, str]) -> Callable[[Path], None]:
    """The site file, changed and signed again."""

    def change(site: Path) -> None:
        text = site.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        site.write_text(text)
        sign_demo_site(site.parent / "trust", site, UNIX_MS)

    return change


async def trips(rig: JunctionRig) -> list[tuple[str, str]]:
    return [(entry.rule, entry.text) for entry in await rig.log("trip")]


def is_red(rig: JunctionRig, channel: int) -> bool:
    return bool(rig.signals.controller.lamps().reds & bit(channel))


# SR-03


async def test_sr_03_a_dead_red_lamp_is_released_and_latched_within_a_second() -> None:
    async with junction_rig(verdict="red_fail") as rig:
        await rig.run_until(lambda: is_red(rig, 4) and is_red(rig, 8))
        rig.signals.fault("red_lamp_out:4")
        began_ms = rig.now_ms()
        await rig.run_until(lambda: rig[J].latch is not None)
        assert 800 <= rig.now_ms() - began_ms <= 1_000
        assert await trips(rig) == [("SR-03", "dark for 800 ms: 4")]
        assert rig.patterns == [0]
        await rig.run(30)
        assert FLASH not in rig.patterns
        rig.stand_at_the_cabinet()
        await rig.run(1)
        await rig.run_until(lambda: rig.signals.controller.picture().reds & bit(4) != 0)
        await rig.run(2)
        assert (await rig.ask_at_once(rig.people.technician, J, "reset")).rule == "SR-13"
        rig.signals.fault("red_lamp_out:4", on=False)
        await rig.run(11)
        assert (await rig.ask_at_once(rig.people.technician, J, "reset")).ended == "done"


async def test_sr_03_a_pedestrians_red_counts_where_there_is_one() -> None:
    line = 'number = 10, name = "Crossing east", kind = "pedestrian",'
    for before, rules in ((saying(), ["SR-03"]), (saying((line, f"{line} has_red = false,")), [])):
        async with junction_rig(before=before, verdict="red_fail") as rig:
            await rig.run_until(lambda: is_red(rig, 10))
            rig.signals.fault("red_lamp_out:10")
            await rig.run(3)
            assert [rule for rule, _ in await trips(rig)] == rules


# SR-07


async def test_sr_07_a_red_that_stays_although_asked_for_alarms_once_and_releases_nothing() -> None:
    async with junction_rig(before=saying(("backup_time_s = 60", "backup_time_s = 60\nred_max_s = 80"))) as rig:
        await rig.run_until(lambda: is_red(rig, 4) and is_red(rig, 8))
        rig.signals.fault("stuck_red:4")
        await rig.run(200)
        ((rule, text),) = await trips(rig)
        assert (rule, text) == ("SR-07", "red for 80 s although asked for, stuck: 4")
        assert rig[J].latch is None
        assert rig.patterns == []


async def test_sr_07_busy_traffic_and_an_empty_street_raise_no_alarm() -> None:
    for traffic in (Traffic(7, pedestrians_per_hour=200.0), None):
        async with junction_rig(traffic) as rig:
            await rig.run(200)
            assert await rig.log(*ALARMS) == []


# SR-16


async def test_sr_16_a_changed_configuration_nobody_commissioned_latches_until_a_reset_on_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.ntcip.controller.SET_ID_PERIOD_MS", 5_000)
    async with junction_rig() as rig:
        await rig.run(6)
        rig.signals.fault("config_changed")
        await rig.run(6)
        reason = "the controller's configuration id is 2, it was 1, and nothing here changes it"
        assert await trips(rig) == [("SR-16", reason)]
        assert rig.patterns == [0]
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).rule == "SR-13"
        await rig.vanish()
        async with rig.guarding():
            rig.stand_at_the_cabinet()
            await rig.run(11)
            assert rig[J].latch is not None
            assert (await rig.ask_at_once(rig.people.technician, J, "reset")).ended == "done"
            rig.stand_at_the_cabinet(False)
            await rig.run(11)
            assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"


async def test_sr_16_a_hold_ends_when_the_configuration_is_not_the_commissioned_one_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.ntcip.controller.SET_ID_PERIOD_MS", 5_000)
    commissioned = saying(("backup_time_s = 60", "backup_time_s = 60\nconfiguration_id = 1"))
    async with junction_rig(before=commissioned) as rig:
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        rig.signals.set(**{"yellow:2": 2.5})
        await rig.run(6)
        reason = "the controller's configuration id is 2; commissioned: 1"
        assert (await trips(rig))[0] == ("SR-16", reason)
        (end,) = await rig.log("lease.end")
        assert end.text == f"SR-16: {reason}; release confirmed"
        assert rig.patterns[-1] == 0
        refused = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (refused.ended, refused.rule, refused.reason) == ("refused", "SR-16", reason)
        assert (await rig.ask(rig.people.technician, J, "release")).ended == "done"


async def test_sr_16_another_configuration_is_told_and_refused_from_the_first_sample() -> None:
    commissioned = saying(("backup_time_s = 60", "backup_time_s = 60\nconfiguration_id = 4711"))
    async with junction_rig(before=commissioned) as rig:
        await rig.run(5)
        assert await trips(rig) == [("SR-16", "the controller's configuration id is 1; commissioned: 4711")]
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).rule == "SR-16"
        assert rig.patterns == []
        (warning,) = (await rig.status()).warnings
        assert warning.startswith(f"{J}: SR-16: the controller's configuration id is 1; commissioned: 4711; have it")


# SR-17


async def test_sr_17_a_default_community_is_told_at_the_start_and_no_control_is_taken() -> None:
    known = saying(('"dijon-read"', '"public"'), ('"dijon-write"', '"Private"'))
    async with junction_rig(before=known, communities=Communities("public", "Private"), verdict="brief") as rig:
        await rig.run(2)
        text = "its read community and write community is a default everybody knows"
        assert await trips(rig) == [("SR-17", f"{text}; control is refused until it is changed")]
        outcome = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-17")
        assert (await rig.status()).warnings == [f"{J}: SR-17: {text}; control is refused until it is changed"]
        assert (await rig.ask(rig.people.technician, J, "release")).ended == "done"
        rig.signals.fault("stuck_green:4")
        await rig.run_until(lambda: FLASH in rig.patterns)  # It still watches and trips.


# SR-14


async def flash(rig: JunctionRig) -> tuple[str, str]:
    outcome = await rig.ask_at_once(rig.people.technician, J, "flash", FLASH_ARGS)
    return outcome.ended, outcome.rule


async def test_sr_14_a_restart_makes_no_second_flash_request_possible() -> None:
    async with junction_rig() as rig:
        rig.stand_at_the_cabinet()
        await rig.run(1)
        assert await flash(rig) == ("done", "")
        (asked,) = await rig.log(FLASH_EVENT)
        assert (asked.rule, asked.text) == ("SR-14", "flash is requested by gw-republique/tech")
        await rig.ask_at_once(rig.people.technician, J, "release")
        await rig.rest(60)
        await rig.vanish()
        async with rig.guarding():
            await rig.run(2)
            assert await flash(rig) == ("refused", "SR-14")
            await rig.rest(538)
            assert await flash(rig) == ("done", "")


async def test_sr_14_a_flash_request_the_disk_did_not_take_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with junction_rig() as rig:
        rig.stand_at_the_cabinet()
        await rig.run(1)
        event = rig.guard.records.event

        async def failing(kind: str, *words: str, **detail: object) -> bool:
            return kind != FLASH_EVENT and await event(kind, *words, **detail)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.guard.records, "event", failing)
        outcome = await rig.ask_at_once(rig.people.technician, J, "flash", FLASH_ARGS)
        assert (outcome.ended, outcome.reason) == ("failed", "the disk did not take the flash request")
        assert outcome.state.startswith("nothing was sent")
        assert rig.patterns == []


@pytest.mark.parametrize(
    ("unix_ms", "asked_ago_ms", "remembered"),
    [
        (UNIX_MS, 599_999, 599_999),
        (UNIX_MS, 600_000, 600_000),
        (UNIX_MS, -1, 0),  # A clock that went back: as if asked at this start.
        (5_000, 60_000, 0),  # A clock that lost its battery.
    ],
)
async def test_sr_14_a_request_whose_time_is_not_known_counts_from_the_start(
    monkeypatch: pytest.MonkeyPatch, unix_ms: int, asked_ago_ms: int, remembered: int
) -> None:
    async with junction_rig() as rig:
        entry = LogEntry(max(0, unix_ms - asked_ago_ms), "safety", 1, FLASH_EVENT, J, "SR-14", "", {}, NETWORK)

        async def log(_equipment: str, _limit: int) -> list[LogEntry]:
            return [entry]

        monkeypatch.setattr(rig.guard.records, "log", log)
        clock = Clock(rig.now_ms, lambda: unix_ms)
        surroundings = rig.guard.surroundings
        await recall_flashes(rig.guard._cabinet.site, rig.guard.records, surroundings, clock)
        assert surroundings.flash_at_ms(EquipmentId(J)) == rig.now_ms() - remembered


@pytest.mark.parametrize("off_ms", [20 * MINUTE_MS, -20 * MINUTE_MS])
@pytest.mark.parametrize("unkept", ["now", "then"])
async def test_sr_14_a_clock_nobody_keeps_does_not_make_a_flash_request_older(unkept: str, off_ms: int) -> None:
    """Asked a minute ago: 20 minutes fast now, or slow then, it would look 21 minutes old."""
    async with junction_rig() as rig:
        await rig.vanish()
        nobodys, networks = (60 * MINUTE_MS + off_ms, False), (60 * MINUTE_MS, True)  # All above the floor.
        rig.wall_ms, rig.is_kept = nobodys if unkept == "then" else networks
        async with rig.guarding():
            rig.stand_at_the_cabinet()
            await rig.run(1)
            assert await flash(rig) == ("done", "")
            await rig.ask_at_once(rig.people.technician, J, "release")
            await rig.rest(60)
        rig.wall_ms, rig.is_kept = nobodys if unkept == "now" else networks
        async with rig.guarding():
            assert rig.guard.surroundings.flash_at_ms(EquipmentId(J)) == rig.now_ms()
            await rig.run(2)
            assert await flash(rig) == ("refused", "SR-14")


@pytest.mark.parametrize("why", ["unreadable", "too long a log", "a damaged ledger"])
async def test_sr_14_records_that_do_not_tell_count_as_a_request_at_the_start(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    async with junction_rig() as rig:

        async def log(_equipment: str, _limit: int) -> list[LogEntry]:
            if why == "unreadable":
                raise LedgerError("not read")
            count = LOG_WHOLE if why == "too long a log" else 0
            return [LogEntry(rig.unix_ms() - 1_000, "safety", 1, "link.back", J, "", "", {})] * count

        monkeypatch.setattr(rig.guard.records, "log", log)
        monkeypatch.setattr(rig.guard.records, "are_latches_known", why != "a damaged ledger")
        assert rig.guard.surroundings.flash_at_ms(EquipmentId(J)) is None
        await recall_flashes(rig.guard._cabinet.site, rig.guard.records, rig.guard.surroundings, rig.guard._clock)
        assert rig.guard.surroundings.flash_at_ms(EquipmentId(J)) == rig.now_ms()
        rig.stand_at_the_cabinet()
        await rig.run(1)
        assert await flash(rig) == ("refused", "SR-14")


# SR-29


async def test_sr_29_an_operators_hold_ends_with_the_sample_after_the_key_is_turned() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.alice, J, "select-plan", PLAN_2)).ended == "done"
        rig.stand_at_the_cabinet()
        await rig.run(0.7)  # The key is read twice a second.
        (end,) = await rig.log("lease.end")
        assert end.text.startswith("SR-29: somebody works there")
        assert rig.patterns[-1] == 0
