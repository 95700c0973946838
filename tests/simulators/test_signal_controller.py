"""The signal controller: modes, watchdog, plans, answers. Time is moved by hand."""

from collections.abc import Callable

import pytest

from simulators.signal_controller import oids
from simulators.signal_controller.aspects import bit
from simulators.signal_controller.controller import Mode
from simulators.signal_controller.event_log import Code
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from simulators.snmp_message import (
    GET,
    GET_BULK,
    GET_NEXT,
    SET,
    V1,
    V2C,
    Message,
    Value,
    decode,
    encode,
    integer,
    octets,
)
from tests.simulators.junction import ask, get, run, set_to

Make = Callable[..., SignalCabinet]
NULL = Value(0x05)
PATTERN = oids.SYSTEM_PATTERN_CONTROL
CHANNEL_GREENS, CHANNEL_YELLOWS, CHANNEL_REDS = ((*oids.CHANNEL_STATUS, column, 1) for column in (4, 3, 2))


def test_power_up_goes_through_yellow_and_all_red(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(started=False)
    run(cabinet, 0.5)
    assert cabinet.controller.mode is Mode.START_UP_YELLOW
    assert get(cabinet, CHANNEL_YELLOWS) == 0xFF
    assert get(cabinet, oids.UNIT_FLASH_STATUS) == 7
    run(cabinet, 3)
    assert (get(cabinet, CHANNEL_REDS), get(cabinet, CHANNEL_YELLOWS)) == (0xFF, 0)
    run(cabinet, 3)
    assert get(cabinet, CHANNEL_GREENS) == bit(2) | bit(6)
    assert get(cabinet, oids.UNIT_FLASH_STATUS) == 2


def test_sr_12_flash_is_entered_in_order_and_left_through_start_up_only(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    run(cabinet, 1)
    set_to(cabinet, PATTERN, 255)
    run(cabinet, 1)
    assert get(cabinet, CHANNEL_GREENS) == bit(2) | bit(6), "the least green comes first"
    run(cabinet, 30)
    assert get(cabinet, oids.UNIT_FLASH_STATUS) == 3
    assert get(cabinet, oids.COORD_PATTERN_STATUS) == 255
    seen = set()
    for _ in range(20):
        run(cabinet, 0.1)
        seen.add((get(cabinet, CHANNEL_REDS), get(cabinet, CHANNEL_YELLOWS), get(cabinet, CHANNEL_GREENS)))
    assert seen == {(0, 0xFF, 0), (0, 0, 0)}
    set_to(cabinet, PATTERN, 0)
    modes = []
    for _ in range(80):
        run(cabinet, 0.1)
        modes.append(cabinet.controller.mode)
    assert list(dict.fromkeys(modes)) == [Mode.START_UP_YELLOW, Mode.START_UP_RED, Mode.RUN]


def test_a_withdrawn_flash_request_starts_the_junction_again(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    run(cabinet, 8)
    set_to(cabinet, PATTERN, 255)
    run(cabinet, 2)
    set_to(cabinet, PATTERN, 0)
    run(cabinet, 30)
    assert cabinet.controller.mode is Mode.RUN
    assert get(cabinet, CHANNEL_GREENS) != 0


def test_sr_09_an_expired_backup_time_drops_every_remote_control(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(backup_s=20)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 6
    set_to(cabinet, PATTERN, 2)
    set_to(cabinet, (*oids.PHASE_CONTROL, 4, 1), 0x22)
    run(cabinet, 19)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 2
    assert get(cabinet, oids.COORD_PATTERN_STATUS) == 2
    run(cabinet, 1.5)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 4
    assert (get(cabinet, PATTERN), get(cabinet, (*oids.PHASE_CONTROL, 4, 1))) == (0, 0)
    assert get(cabinet, oids.COORD_PATTERN_STATUS) == 1, "the local plan"


def test_any_control_set_restarts_the_backup_timer_and_reading_does_not(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(backup_s=20)
    for _ in range(4):
        set_to(cabinet, PATTERN, 2)
        run(cabinet, 15)
    get(cabinet, PATTERN)
    run(cabinet, 6)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 4


def test_a_detector_set_is_no_system_control(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(backup_s=20)
    set_to(cabinet, PATTERN, 2)
    run(cabinet, 15)
    set_to(cabinet, (*oids.VEHICLE_DETECTOR_CONTROL, 1), 1)
    run(cabinet, 6)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 4


def test_released_by_hand_the_controller_stands_by(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    set_to(cabinet, PATTERN, 2)
    set_to(cabinet, PATTERN, 0)
    assert get(cabinet, oids.UNIT_CONTROL_STATUS) == 3


@pytest.mark.parametrize(("pattern", "shown", "free"), [(2, 2, 2), (77, 254, 7), (254, 254, 3)])
def test_an_unsupported_pattern_runs_free(cabinet_by_hand: Make, pattern: int, shown: int, free: int) -> None:
    cabinet = cabinet_by_hand()
    set_to(cabinet, PATTERN, pattern)
    run(cabinet, 1)
    assert get(cabinet, oids.COORD_PATTERN_STATUS) == shown
    assert get(cabinet, oids.LOCAL_FREE_STATUS) == free


def test_a_set_is_all_or_nothing_and_says_which_varbind_failed(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    good, bad = (PATTERN, integer(2)), (oids.UNIT_CONTROL, integer(1))
    answer = ask(cabinet, SET, good, good, bad)
    assert (answer.status, answer.index) == (3, 3)
    assert get(cabinet, PATTERN) == 0
    assert not cabinet.controller.control.sets


@pytest.mark.parametrize(
    ("oid", "value", "community", "v1", "v2c"),
    [
        (PATTERN, octets(b"\x02"), "dijon-write", 3, 7),
        (PATTERN, integer(256), "dijon-write", 3, 10),
        (PATTERN, integer(2), "dijon-read", 2, 6),
        (oids.UNIT_FLASH_STATUS, integer(2), "dijon-write", 2, 17),
        ((*oids.ASC, 99, 0), integer(2), "dijon-write", 2, 11),
    ],
)
def test_a_refused_set_gets_the_status_of_its_version(
    cabinet_by_hand: Make, oid: oids.Oid, value: Value, community: str, v1: int, v2c: int
) -> None:
    cabinet = cabinet_by_hand()
    for version, status in ((V1, v1), (V2C, v2c)):
        answer = ask(cabinet, SET, (oid, value), version=version, community=community)
        assert (answer.status, answer.index) == (status, 1)
    assert not cabinet.controller.control.sets


def test_a_missing_object_fails_the_whole_v1_request_and_only_itself_in_v2c(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    missing = (*oids.ASC, 99, 0)
    answer = ask(cabinet, GET, (PATTERN, NULL), (missing, NULL))
    assert (answer.status, answer.index) == (2, 2)
    answer = ask(cabinet, GET, (PATTERN, NULL), (missing, NULL), version=V2C)
    assert (answer.status, answer.varbinds[0][1], answer.varbinds[1][1].tag) == (0, integer(0), 0x81)


def test_a_walk_visits_every_object_once_in_order(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    name, seen = (1, 3), []
    while (answer := ask(cabinet, GET_NEXT, (name, NULL))).status == 0:
        name = answer.varbinds[0][0]
        seen.append(name)
    assert answer.status == 2
    assert seen == sorted(seen)
    bulk = decode(
        cabinet.responder.answer(
            encode(Message(V2C, b"dijon-read", GET_BULK, 1, (((1, 3), NULL),), status=0, index=20))
        )
        or b""
    )
    assert [oid for oid, _ in bulk.varbinds] == seen[:20]


def test_a_stranger_is_not_answered(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    request = Message(V1, b"public", GET, 1, ((PATTERN, NULL),))
    assert cabinet.responder.answer(encode(request)) is None
    assert cabinet.responder.strangers == 1


def test_a_stuck_green_output_shows_on_the_channel_and_not_on_the_phase(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand("conflict")
    cabinet.fault("stuck_green:4")
    run(cabinet, 1)
    assert get(cabinet, CHANNEL_GREENS) == bit(2) | bit(4) | bit(6)
    assert get(cabinet, (*oids.PHASE_STATUS, 4, 1)) == bit(2) | bit(6)


def test_a_dead_red_lamp_is_dark(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand("red_fail")
    cabinet.fault("red_lamp_out:4")
    run(cabinet, 1)
    assert not get(cabinet, CHANNEL_REDS) & bit(4)


def test_the_monitors_line_cannot_be_overridden_from_the_network(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand("conflict")
    cabinet.fault("stuck_green:4")
    cabinet.controller.mmu_flash = True
    run(cabinet, 1)
    for pattern in (1, 254, 0):
        set_to(cabinet, PATTERN, pattern)
        run(cabinet, 5)
        assert get(cabinet, oids.UNIT_FLASH_STATUS) == 6
        assert get(cabinet, CHANNEL_GREENS) == 0, "the relay has taken the lamps"
    assert get(cabinet, oids.UNIT_ALARM_1) & 0x10
    cabinet.controller.mmu_flash = False
    run(cabinet, 1)
    assert cabinet.controller.mode is Mode.START_UP_YELLOW


def test_a_power_cut_is_dark_and_silent_and_returns_through_start_up(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    set_to(cabinet, PATTERN, 2)
    cabinet.fault("power_cut")
    run(cabinet, 1)
    lamps = cabinet.controller.lamps()
    assert (lamps.reds, lamps.yellows, lamps.greens) == (0, 0, 0)
    cabinet.fault("power_cut", on=False)
    run(cabinet, 1)
    assert cabinet.controller.mode is Mode.START_UP_YELLOW
    assert get(cabinet, PATTERN) == 0
    assert get(cabinet, oids.UNIT_ALARM_2) & 1


def test_a_preempt_brings_its_phases_and_holds_them(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(traffic=Traffic(seed=3))
    run(cabinet, 20)
    set_to(cabinet, (*oids.PREEMPT_CONTROL, 2), 1)
    assert get(cabinet, (*oids.PREEMPT_STATE, 2)) == 4
    run(cabinet, 50)
    assert get(cabinet, (*oids.PREEMPT_STATE, 2)) == 6
    assert get(cabinet, CHANNEL_GREENS) == bit(4) | bit(7)


def test_a_force_off_clears_itself_when_its_green_has_ended(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    set_to(cabinet, PATTERN, 254)
    set_to(cabinet, (*oids.PHASE_CONTROL, 6, 1), bit(4))
    set_to(cabinet, (*oids.PHASE_CONTROL, 5, 1), bit(2) | bit(6))
    run(cabinet, 7)
    assert get(cabinet, (*oids.PHASE_CONTROL, 5, 1)) == 0


def test_sr_16_a_changed_program_changes_its_fingerprint(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    before = get(cabinet, oids.GLOBAL_SET_ID)
    cabinet.set(**{"min_green:2": 3})
    assert get(cabinet, oids.GLOBAL_SET_ID) != before
    assert get(cabinet, (*oids.PHASE_TABLE, 4, 2)) == 3


@pytest.mark.parametrize(("fault", "tag", "content"), [("wrong_value", 2, "7fffffff"), ("octet_string", 4, "02")])
def test_nonsense_is_answered_on_request(cabinet_by_hand: Make, fault: str, tag: int, content: str) -> None:
    cabinet = cabinet_by_hand()
    cabinet.fault(fault)
    answer = ask(cabinet, GET, (oids.UNIT_FLASH_STATUS, NULL))
    assert answer.varbinds[0][1] == Value(tag, bytes.fromhex(content))


def test_other_faults_of_the_answer_are_what_they_say(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    cabinet.fault("wrong_request_id")
    assert ask(cabinet, GET, (PATTERN, NULL)).request_id == 78
    cabinet.fault("refuse_set")
    assert set_to(cabinet, PATTERN, 2) == 5
    cabinet.fault("exception:5")
    assert ask(cabinet, GET, (PATTERN, NULL)).status == 5
    assert get_pattern(cabinet) == 0


def get_pattern(cabinet: object) -> int:
    return int(cabinet.controller.control.pattern)  # type: ignore[attr-defined]


def test_the_event_log_tells_each_phase_in_the_fields_codes(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand(traffic=Traffic(seed=1))
    run(cabinet, 300)
    order = [Code.GREEN_BEGIN, Code.GREEN_END, Code.YELLOW_BEGIN, Code.YELLOW_END, Code.RED_CLEAR_BEGIN, 11]
    for phase in range(1, 9):
        codes = [e.code for e in cabinet.controller.log.since(0) if e.parameter == phase and e.code in order]
        assert codes
        assert all(code == order[index % 6] for index, code in enumerate(codes)), phase


def test_the_same_seed_brings_the_same_night(cabinet_by_hand: Make) -> None:
    logs = []
    for _ in range(2):
        cabinet = cabinet_by_hand(traffic=Traffic(seed=9))
        run(cabinet, 200)
        logs.append(cabinet.controller.log.since(0))
    assert logs[0] == logs[1]


def test_a_phase_that_is_stuck_red_is_called_and_never_served(cabinet_by_hand: Make) -> None:
    cabinet = cabinet_by_hand()
    cabinet.fault("stuck_red:4")
    for _ in range(2_000):
        run(cabinet, 0.1)
        picture = cabinet.controller.picture()
        assert not (picture.greens | picture.yellows) & bit(4)
        assert not picture.reds & bit(4) or picture.vehicle_calls & bit(4)


def test_a_configuration_changed_behind_our_back_has_another_id_for_as_long_as_it_is_there(
    cabinet_by_hand: Make,
) -> None:
    cabinet = cabinet_by_hand()
    before = get(cabinet, oids.GLOBAL_SET_ID)
    cabinet.fault("config_changed")
    assert get(cabinet, oids.GLOBAL_SET_ID) == before + 1
    cabinet.fault("config_changed", on=False)
    assert get(cabinet, oids.GLOBAL_SET_ID) == before
