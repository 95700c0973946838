"""What is asked of a controller seldom, beside the observation: who waits for a green, and its configuration's id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.observation import Calls
from drivers.errors import DeviceSilentError
from drivers.ntcip import oids
from drivers.ntcip.controller import (
    CALLS_PERIOD_MS,
    SELDOM_RETRY_MS,
    SET_ID_AGE_MS_MAX,
    SET_ID_PERIOD_MS,
    SignalController,
)
from tests.drivers.ntcip.agent import Agent, honest
from tests.drivers.ntcip.test_controller import FACTS, IMPATIENT_S, JUNCTION, TIMEOUT_S, UNIT, channels

VEHICLES, PEDESTRIANS = oids.phase_status_group_vehicle_calls, oids.phase_status_group_pedestrian_calls
CALLS: dict[str, int | bytes] = {VEHICLES(1): 0x81, VEHICLES(2): 0x03, PEDESTRIANS(1): 0x22}
SHOWN = UNIT | FACTS | channels(1, 2, 4)


class Hand:
    """A clock moved by hand."""

    now_ms = 1_000_000


@asynccontextmanager
async def polled(
    values: dict[str, int | bytes], version: str = "1", timeout_s: float = TIMEOUT_S
) -> AsyncIterator[tuple[SignalController, Agent, Hand]]:
    agent, hand = Agent(dict(values)), Hand()
    async with agent.serve():
        controller = SignalController(
            agent.link(version),
            JUNCTION,
            0x0F,
            lambda: hand.now_ms,
            timeout_s,
            vehicle_calls=0x0FFF,
            pedestrian_calls=0x22,
        )
        try:
            await controller.observe()
            yield controller, agent, hand
        finally:
            await controller.close()


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_calls_come_with_the_next_observation_and_are_asked_for_every_ten_seconds(version: str) -> None:
    async with polled(SHOWN | CALLS, version) as (controller, agent, hand):
        assert (await controller.observe()).calls is None
        await controller.poll_seldom()
        assert (await controller.observe()).calls == Calls(hand.now_ms, 0x0381, 0x22)
        before = len(agent.requests)
        hand.now_ms += CALLS_PERIOD_MS - 1
        await controller.poll_seldom()
        assert len(agent.requests) == before
        hand.now_ms += 1
        agent.values[VEHICLES(1)] = 0
        await controller.poll_seldom()
        assert len(agent.requests) == before + 1
        assert (await controller.observe()).calls == Calls(hand.now_ms, 0x0300, 0x22)


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_what_a_controller_does_not_tell_of_calls_is_not_known(version: str) -> None:
    async with polled(SHOWN | {VEHICLES(1): 0x81}, version) as (controller, _, hand):
        await controller.poll_seldom()
        assert (await controller.observe()).calls == Calls(hand.now_ms, 0x81, None)
    async with polled(SHOWN, version) as (controller, _, hand):
        await controller.poll_seldom()
        assert (await controller.observe()).calls == Calls(hand.now_ms, None, None)


async def test_calls_that_are_nonsense_or_not_answered_are_none_and_the_observation_goes_on() -> None:
    async with polled(SHOWN | CALLS | {VEHICLES(1): b"\1\2\3"}, timeout_s=IMPATIENT_S) as (controller, agent, hand):
        await controller.poll_seldom()
        assert (await controller.observe()).calls is None
        agent.values[VEHICLES(1)] = 1
        hand.now_ms += SELDOM_RETRY_MS - 1
        before = len(agent.requests)
        await controller.poll_seldom()
        assert len(agent.requests) == before
        hand.now_ms += 1
        await controller.poll_seldom()
        assert (await controller.observe()).calls is not None
        agent.twist = lambda _request, _answer: []
        hand.now_ms += CALLS_PERIOD_MS
        await controller.poll_seldom()
        agent.twist = honest
        assert (await controller.observe()).calls is None


async def test_sr_16_the_configuration_is_read_at_connection_and_every_five_minutes() -> None:
    async with polled(SHOWN) as (controller, agent, hand):
        assert (await controller.observe()).configuration_id == 4711
        agent.values[oids.GLOBAL_SET_ID_PARAMETER] = 4712
        for step_ms, found in ((SET_ID_PERIOD_MS - 1, 4711), (1, 4712)):
            hand.now_ms += step_ms
            for _ in range(2):  # The calls are asked for first.
                await controller.poll_seldom()
            assert (await controller.observe()).configuration_id == found


async def test_sr_16_the_configuration_is_read_again_after_a_silence() -> None:
    async with polled(SHOWN, timeout_s=IMPATIENT_S) as (controller, agent, _hand):
        agent.twist = lambda _request, _answer: []
        with pytest.raises(DeviceSilentError):
            await controller.observe()
        agent.twist = honest
        agent.values[oids.GLOBAL_SET_ID_PARAMETER] = 4712
        for _ in range(2):
            await controller.poll_seldom()
        assert (await controller.observe()).configuration_id == 4712


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_sr_16_a_configuration_that_is_nonsense_or_gone_is_not_known(version: str) -> None:
    async with polled(SHOWN, version) as (controller, agent, hand):
        agent.values[oids.GLOBAL_SET_ID_PARAMETER] = 70_000
        hand.now_ms += SET_ID_PERIOD_MS
        for _ in range(2):
            await controller.poll_seldom()
        assert (await controller.observe()).configuration_id is None
        del agent.values[oids.GLOBAL_SET_ID_PARAMETER]
        hand.now_ms += SET_ID_PERIOD_MS
        for _ in range(2):
            await controller.poll_seldom()
        assert (await controller.observe()).configuration_id is None


async def test_sr_16_a_configuration_not_read_for_a_quarter_of_an_hour_is_not_known() -> None:
    async with polled(SHOWN) as (controller, _, hand):
        hand.now_ms += SET_ID_AGE_MS_MAX
        assert (await controller.observe()).configuration_id == 4711
        hand.now_ms += 1
        assert (await controller.observe()).configuration_id is None


@given(octets=st.binary(max_size=4) | st.integers(-(2**31), 2**31 - 1))
def test_no_answer_about_calls_raises(octets: int | bytes) -> None:
    import asyncio

    async def ask() -> None:
        async with polled(SHOWN | {VEHICLES(1): octets, oids.GLOBAL_SET_ID_PARAMETER: 1}) as (controller, _, _hand):
            await controller.poll_seldom()
            calls = (await controller.observe()).calls
            assert calls is None or calls.vehicles is None or 0 <= calls.vehicles <= 0xFF

    asyncio.run(ask())
