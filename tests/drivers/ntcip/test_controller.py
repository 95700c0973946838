"""A junction's controller: seen in one question, asked for plans, flash and release, and nothing else."""

import ast
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent.model.command import LOCAL_PLAN, ReleaseJunction, RequestFlash, SelectPlan
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import JunctionObserved
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DeviceSilentError
from drivers.ntcip import oids
from drivers.ntcip.controller import UNSUPPORTED_FOR_MS, SignalController
from simulators.snmp_message import SET, Message, decode, encode, integer
from tests.drivers.approvals import approve
from tests.drivers.ntcip.agent import Agent, honest

JUNCTION = EquipmentId("darcy")
OTHER = EquipmentId("republique")
MASK_12 = 0x0FFF
TIMEOUT_S = 1.0  # patient, because a busy test machine is no controller
IMPATIENT_S = 0.3  # where no answer is expected
DRIVER = Path(__file__).parents[3] / "drivers" / "ntcip"

PLAN_3 = SelectPlan(JUNCTION, LOCAL_PLAN, PlanNumber(3), 60_000)
FLASH = RequestFlash(JUNCTION, LOCAL_PLAN, 60_000)
RELEASE = ReleaseJunction(JUNCTION, LOCAL_PLAN)


def channels(greens: int, yellows: int, reds: int) -> dict[str, int | bytes]:
    values: dict[str, int | bytes] = {}
    for group in (1, 2):
        for column, mask in (
            (oids.channel_status_group_greens, greens),
            (oids.channel_status_group_yellows, yellows),
            (oids.channel_status_group_reds, reds),
        ):
            values[column(group)] = mask >> 8 * (group - 1) & 0xFF
    return values


def phases(greens: int, yellows: int, reds: int) -> dict[str, int | bytes]:
    return {
        oids.phase_status_group_greens(1): greens,
        oids.phase_status_group_yellows(1): yellows,
        oids.phase_status_group_reds(1): reds,
    }


UNIT: dict[str, int | bytes] = {
    oids.UNIT_CONTROL_STATUS: 2,
    oids.UNIT_FLASH_STATUS: 2,
    oids.COORD_PATTERN_STATUS: 254,
    oids.UNIT_BACKUP_TIME: 60,
    oids.SYSTEM_PATTERN_CONTROL: 0,
}
FACTS: dict[str, int | bytes] = {
    oids.GLOBAL_SET_ID_PARAMETER: 4711,
    oids.MAX_PHASES: 8,
    oids.MAX_PHASE_GROUPS: 1,
    oids.MAX_CHANNEL_STATUS_GROUPS: 2,
}


@asynccontextmanager
async def controller_of(agent: Agent, version: str = "1", group_mask: int = MASK_12) -> AsyncIterator[SignalController]:
    async with agent.serve():
        controller = SignalController(agent.link(version), JUNCTION, group_mask, lambda: 12_345, TIMEOUT_S)
        try:
            yield controller
        finally:
            await controller.close()


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_everything_is_seen_in_one_question(version: str) -> None:
    agent = Agent(UNIT | FACTS | channels(0x0022, 0x0800, 0x07DD))
    async with controller_of(agent, version) as controller:
        facts = await controller.connect()
        assert (facts.backup_time_s, facts.set_id, facts.phases_max, facts.by_channel) == (60, 4711, 8, True)
        assert (facts.phase_groups_max, facts.channel_groups_max) == (1, 2)
        before = len(agent.requests)
        seen = await controller.observe()
        assert len(agent.requests) == before + 1
        assert len(agent.requests[-1].varbinds) <= 12
        expected = JunctionObserved(JUNCTION, 12_345, 0x0022, 0x0800, 0x07DD, 2, 2, 254, 60, configuration_id=4711)
        assert seen == expected


async def test_observing_connects_first() -> None:
    async with controller_of(Agent(UNIT | channels(1, 2, 4))) as controller:
        assert (await controller.observe()).greens == 1
        assert controller.facts is not None


async def test_only_groups_with_commissioned_members_are_read() -> None:
    agent = Agent(UNIT | channels(0x22, 0, 0xDD))
    async with controller_of(agent, group_mask=0xFF) as controller:
        await controller.observe()
        asked = {".".join(map(str, oid)) for request in agent.requests for oid, _ in request.varbinds}
        assert oids.channel_status_group_greens(1) in asked
        assert oids.channel_status_group_greens(2) not in asked


async def test_greens_outside_the_commissioned_groups_are_reported_too() -> None:
    async with controller_of(Agent(UNIT | channels(0x8001, 0, 0))) as controller:
        assert (await controller.observe()).greens == 0x8001


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_without_channels_the_phases_are_read(version: str) -> None:
    agent = Agent(UNIT | FACTS | phases(0x22, 0x08, 0xD5))
    async with controller_of(agent, version, group_mask=0xFF) as controller:
        seen = await controller.observe()
        assert (seen.greens, seen.yellows, seen.reds) == (0x22, 0x08, 0xD5)
        assert controller.facts is not None
        assert not controller.facts.by_channel


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_groups_told_nowhere_are_not_guessed(version: str) -> None:
    async with controller_of(Agent(UNIT | phases(0x22, 0x08, 0xD5)), version) as controller:
        with pytest.raises(DeviceRefusedError, match="neither by channel nor by phase"):
            await controller.observe()


async def test_what_a_version_1_controller_lacks_is_left_out_from_then_on() -> None:
    values = UNIT | channels(1, 0, 0)
    for missing in (oids.UNIT_CONTROL_STATUS, oids.COORD_PATTERN_STATUS, oids.UNIT_BACKUP_TIME):
        del values[missing]
    agent = Agent(values)
    async with controller_of(agent) as controller:
        seen = await controller.observe()
        assert (seen.control_status, seen.flash_status, seen.pattern, seen.backup_time_s) == (1, 2, 0, None)
        before = len(agent.requests)
        await controller.observe()
        assert len(agent.requests) == before + 1
        assert oids.COORD_PATTERN_STATUS in controller.unsupported


async def test_what_a_controller_lacked_for_a_moment_is_asked_for_again_after_a_while() -> None:
    flash = {oids.UNIT_FLASH_STATUS: UNIT[oids.UNIT_FLASH_STATUS]}
    agent = Agent(UNIT | FACTS | channels(1, 0, 0))
    now_ms = 0
    async with agent.serve():
        controller = SignalController(agent.link(), JUNCTION, MASK_12, lambda: now_ms, TIMEOUT_S)
        await controller.observe()
        del agent.values[oids.UNIT_FLASH_STATUS]
        assert (await controller.observe()).flash_status == 1
        assert controller.untold == ("unitFlashStatus",)
        agent.values |= flash
        now_ms = UNSUPPORTED_FOR_MS - 1
        assert (await controller.observe()).flash_status == 1
        now_ms = UNSUPPORTED_FOR_MS
        assert (await controller.observe()).flash_status == 2
        assert controller.untold == ()
        await controller.close()


async def test_what_a_controller_lacked_is_asked_for_again_after_a_silence() -> None:
    flash = {oids.UNIT_FLASH_STATUS: UNIT[oids.UNIT_FLASH_STATUS]}
    agent = Agent({oid: value for oid, value in (UNIT | FACTS | channels(1, 0, 0)).items() if oid not in flash})
    async with agent.serve():
        controller = SignalController(agent.link(), JUNCTION, MASK_12, lambda: 0, IMPATIENT_S)
        assert (await controller.observe()).flash_status == 1
        agent.values |= flash
        agent.twist = lambda request, answer: []
        with pytest.raises(DeviceSilentError):
            await controller.observe()
        agent.twist = honest
        assert (await controller.observe()).flash_status == 2
        await controller.close()


async def test_what_a_version_2c_controller_lacks_is_unknown() -> None:
    values = UNIT | channels(1, 0, 0)
    del values[oids.UNIT_FLASH_STATUS], values[oids.UNIT_BACKUP_TIME]
    async with controller_of(Agent(values), "2c") as controller:
        seen = await controller.observe()
        assert (seen.flash_status, seen.backup_time_s) == (1, None)


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_lamps_that_vanish_are_an_error_never_dark(version: str) -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent, version) as controller:
        await controller.observe()
        del agent.values[oids.channel_status_group_greens(1)]
        for _ in range(2):
            with pytest.raises((DeviceRefusedError, DeviceNonsenseError)):
                await controller.observe()


@pytest.mark.parametrize("nonsense", [256, -1, 0x7FFFFFFF, b"", b"\x00\x01"])
@pytest.mark.parametrize("oid", [oids.channel_status_group_greens(1), oids.UNIT_FLASH_STATUS])
async def test_nonsense_in_one_object_makes_the_whole_observation_nonsense(oid: str, nonsense: int | bytes) -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        await controller.observe()
        agent.values[oid] = nonsense
        with pytest.raises(DeviceNonsenseError):
            await controller.observe()


async def test_masks_as_octet_strings_are_understood() -> None:
    values: dict[str, int | bytes] = {
        oid: bytes((value,)) for oid, value in channels(0x0122, 0, 0).items() if isinstance(value, int)
    }
    async with controller_of(Agent(UNIT | values)) as controller:
        assert (await controller.observe()).greens == 0x0122


async def test_a_plan_flash_and_release_are_written_and_read_back() -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        await controller.select_plan(approve(PLAN_3))
        await controller.refresh(approve(PLAN_3))
        await controller.flash(approve(FLASH))
        await controller.refresh(approve(FLASH))
        await controller.release(approve(RELEASE))
    assert agent.writes == [(oids.SYSTEM_PATTERN_CONTROL, value) for value in (3, 3, 255, 255, 0)]
    assert len(agent.requests) == 10


async def test_a_request_that_does_not_stand_is_told() -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        agent.twist = lambda request, answer: [answer if request.kind == SET else _saying(answer, 9)]
        with pytest.raises(DeviceNonsenseError, match="written 3 and reads 9"):
            await controller.select_plan(approve(PLAN_3))


def _saying(answer: bytes, value: int) -> bytes:
    message = decode(answer)
    return encode(replace(message, varbinds=((message.varbinds[0][0], integer(value)),)))


async def test_one_lost_datagram_costs_neither_the_request_nor_a_second_write_that_is_not_needed() -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    lost: list[Message] = []

    def lose_first_confirmation(request: Message, answer: bytes) -> list[bytes]:
        if request.kind == SET and not lost:
            lost.append(request)
            return []
        return [answer]

    async with controller_of(agent) as controller:
        agent.twist = lose_first_confirmation
        await controller.flash(approve(FLASH))
        assert agent.writes == [(oids.SYSTEM_PATTERN_CONTROL, 255)]
        lost.clear()
        agent.values[oids.SYSTEM_PATTERN_CONTROL] = 0

        def lose_first_write(request: Message, answer: bytes) -> list[bytes]:
            if request.kind == SET and not lost:
                lost.append(request)
                agent.values[oids.SYSTEM_PATTERN_CONTROL] = 0
                return []
            return [answer]

        agent.twist = lose_first_write
        await controller.flash(approve(FLASH))
        assert agent.values[oids.SYSTEM_PATTERN_CONTROL] == 255


async def test_a_controller_that_refuses_keeps_its_own_plan() -> None:
    agent = Agent(
        {oid: value for oid, value in (UNIT | channels(1, 0, 0)).items() if oid != oids.SYSTEM_PATTERN_CONTROL}
    )
    async with controller_of(agent) as controller:
        with pytest.raises(DeviceRefusedError):
            await controller.select_plan(approve(PLAN_3))


async def test_a_wrong_write_community_is_silence_and_changes_nothing() -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with agent.serve():
        link = replace(agent.link(), write_community="wrong")
        controller = SignalController(link, JUNCTION, MASK_12, lambda: 0, IMPATIENT_S)
        with pytest.raises(DeviceSilentError):
            await controller.flash(approve(FLASH))
        assert agent.values[oids.SYSTEM_PATTERN_CONTROL] == 0
        assert sum(request.kind == SET for request in agent.requests) == 2
        await controller.close()


@pytest.mark.parametrize("plan", [0, 254, 255, 256, -1])
async def test_free_flash_and_standby_cannot_be_had_by_calling_them_a_plan(plan: int) -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        with pytest.raises(ValueError, match=r"plan 1\.\.253"):
            await controller.select_plan(approve(replace(PLAN_3, plan=PlanNumber(plan))))
        assert agent.requests == []


async def test_an_approval_for_another_junction_is_not_carried_out() -> None:
    agent = Agent(UNIT | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        for attempt in (
            controller.select_plan(approve(replace(PLAN_3, equipment=OTHER))),
            controller.refresh(approve(replace(PLAN_3, equipment=OTHER))),
            controller.flash(approve(replace(FLASH, equipment=OTHER))),
            controller.release(approve(replace(RELEASE, equipment=OTHER))),
        ):
            with pytest.raises(ValueError, match="approved for republique"):
                await attempt
        assert agent.requests == []


async def test_the_fingerprint_of_the_configuration_can_be_read_again() -> None:
    agent = Agent(UNIT | FACTS | channels(1, 0, 0))
    async with controller_of(agent) as controller:
        assert await controller.read_set_id() == 4711
        del agent.values[oids.GLOBAL_SET_ID_PARAMETER]
        assert await controller.read_set_id() is None


@pytest.mark.parametrize("mask", [0, 1 << 64])
def test_a_mask_without_groups_or_beyond_64_is_our_error(mask: int) -> None:
    with pytest.raises(ValueError, match="group mask"):
        SignalController(Agent({}).link(), JUNCTION, mask, lambda: 0)


def calls_in_driver(wanted: Callable[[ast.Call], bool]) -> list[tuple[str, ast.Call]]:
    return [
        (path.name, node)
        for path in sorted(DRIVER.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and wanted(node)
    ]


def test_sr_01_the_only_object_ever_written_is_system_pattern_control() -> None:
    writes = calls_in_driver(lambda call: isinstance(call.func, ast.Attribute) and call.func.attr == "set")
    assert {(name, ast.unparse(call.args[0])) for name, call in writes} == {
        ("controller.py", "oids.SYSTEM_PATTERN_CONTROL")
    }
    encoders = calls_in_driver(lambda call: isinstance(call.func, ast.Attribute) and call.func.attr == "encode_set")
    assert [name for name, _ in encoders] == ["session.py"]
    requests = calls_in_driver(lambda call: isinstance(call.func, ast.Attribute) and "SetRequest" in call.func.attr)
    assert [name for name, _ in requests] == ["message.py"]


def test_sr_01_the_driver_does_not_even_know_the_objects_that_move_phases() -> None:
    names = {name: value for name, value in vars(oids).items() if isinstance(value, str)}
    phase_control, ring_control, preempt_control = (f"{oids.ASC}{branch}" for branch in (".1.5", ".7.5", ".6.3"))
    for name, value in names.items():
        assert not value.startswith((phase_control, ring_control, preempt_control)), name
    source = "".join(path.read_text(encoding="utf-8") for path in DRIVER.glob("*.py"))
    assert ".1.5.1" not in source
    assert "phase_control" not in source.lower()
