"""Questions and answers over UDP: late, forged, torn and missing datagrams."""

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.site import Address, SnmpLink
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DeviceSilentError, DriverError, LinkDownError
from drivers.ntcip import oids
from drivers.ntcip.session import QUESTIONS_MAX, NoSuchObjectError, SnmpSession
from simulators.snmp_message import RESPONSE, Message, decode, encode, integer
from tests.drivers.ntcip.agent import Agent

TIMEOUT_S = 2.0  # patient, because a busy test machine is no controller
IMPATIENT_S = 0.1  # where no answer is expected
PATTERN = oids.SYSTEM_PATTERN_CONTROL
STATUS = oids.UNIT_CONTROL_STATUS


def renumbered(datagram: bytes, shift: int = 1) -> bytes:
    message = decode(datagram)
    return encode(replace(message, request_id=message.request_id + shift))


async def test_values_come_back_under_their_names() -> None:
    async with Agent({STATUS: 2, PATTERN: 0}).serve() as agent:
        session = SnmpSession(agent.link(), TIMEOUT_S)
        assert await session.get((STATUS, PATTERN)) == {STATUS: 2, PATTERN: 0}
        assert len(agent.requests) == 1
        await session.close()


async def test_a_write_uses_the_write_community_and_is_confirmed() -> None:
    async with Agent({PATTERN: 0}).serve() as agent:
        session = SnmpSession(agent.link("2c"), TIMEOUT_S)
        await session.set(PATTERN, 3)
        assert agent.writes == [(PATTERN, 3)]
        assert agent.requests[0].community == b"private"
        await session.close()


async def test_a_silent_agent_is_silent_after_the_time_out() -> None:
    async with Agent({}).serve() as agent:
        agent.twist = lambda _request, _answer: []
        session = SnmpSession(agent.link(), IMPATIENT_S)
        began_s = time.monotonic()
        with pytest.raises(DeviceSilentError):
            await session.get((STATUS,))
        assert IMPATIENT_S * 0.9 <= time.monotonic() - began_s < 20 * IMPATIENT_S
        assert session.counters.silences == 1
        await session.close()


async def test_a_late_answer_is_not_taken_for_the_present_one() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        held: list[bytes] = []

        def hold_back(_: Message, answer: bytes) -> list[bytes]:
            held.append(answer)
            return held[-2:-1]

        agent.twist = hold_back
        session = SnmpSession(agent.link(), IMPATIENT_S)
        for status in (2, 4, 5):
            agent.values[STATUS] = status
            with pytest.raises(DeviceSilentError):
                await session.get((STATUS,))
        assert session.counters.ignored == 2
        session._timeout_s = TIMEOUT_S
        agent.twist = lambda _, answer: [held[-1], answer]
        agent.values[STATUS] = 7
        assert await session.get((STATUS,)) == {STATUS: 7}
        await session.close()


async def test_an_answer_under_another_number_is_ignored_and_the_right_one_still_taken() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        agent.twist = lambda _, answer: [renumbered(answer)]
        session = SnmpSession(agent.link(), IMPATIENT_S)
        with pytest.raises(DeviceSilentError):
            await session.get((STATUS,))
        session._timeout_s = TIMEOUT_S
        agent.twist = lambda _, answer: [renumbered(answer), renumbered(answer, -1), answer]
        assert await session.get((STATUS,)) == {STATUS: 2}
        assert session.counters.ignored == 3
        await session.close()


async def test_noise_before_the_answer_does_not_hide_it() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        agent.twist = lambda _, answer: [b"\x00", b"\xff" * 40, answer[:-3], answer]
        session = SnmpSession(agent.link(), TIMEOUT_S)
        assert await session.get((STATUS,)) == {STATUS: 2}
        assert session.counters.nonsense == 3
        await session.close()


async def test_noise_instead_of_an_answer_is_nonsense_not_silence() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        agent.twist = lambda _, answer: [answer[:-3]]
        session = SnmpSession(agent.link(), IMPATIENT_S)
        with pytest.raises(DeviceNonsenseError):
            await session.get((STATUS,))
        await session.close()


async def test_an_answer_after_the_last_question_is_dropped() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        agent.twist = lambda _, answer: [answer, answer, b"noise"]
        session = SnmpSession(agent.link(), TIMEOUT_S)
        await session.get((STATUS,))
        async with asyncio.timeout(2):
            while session.counters.ignored < 2:  # noqa: ASYNC110 - the counter belongs to shipped code and tells nobody
                await asyncio.sleep(0.005)
        await session.close()


async def test_an_answer_about_other_objects_is_nonsense() -> None:
    async with Agent({STATUS: 2, PATTERN: 0}).serve() as agent:

        def swap(_: Message, answer: bytes) -> list[bytes]:
            message = decode(answer)
            return [encode(replace(message, varbinds=message.varbinds[::-1]))]

        agent.twist = swap
        session = SnmpSession(agent.link(), TIMEOUT_S)
        with pytest.raises(DeviceNonsenseError, match="not asked for"):
            await session.get((STATUS, PATTERN))
        await session.close()


async def test_version_1_names_the_object_it_lacks() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        session = SnmpSession(agent.link("1"), TIMEOUT_S)
        with pytest.raises(NoSuchObjectError) as caught:
            await session.get((STATUS, PATTERN))
        assert caught.value.oid == PATTERN
        await session.close()


async def test_version_2c_gives_the_rest() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        session = SnmpSession(agent.link("2c"), TIMEOUT_S)
        assert await session.get((STATUS, PATTERN)) == {STATUS: 2, PATTERN: None}
        await session.close()


@pytest.mark.parametrize(
    ("status", "word"), [(1, "tooBig"), (3, "badValue"), (5, "genErr"), (17, "notWritable"), (99, "99")]
)
async def test_an_error_status_is_a_refusal_with_its_name(status: int, word: str) -> None:
    async with Agent({PATTERN: 0}).serve() as agent:
        agent.twist = lambda request, _: [encode(replace(request, kind=RESPONSE, status=status, index=1))]
        session = SnmpSession(agent.link(), TIMEOUT_S)
        with pytest.raises(DeviceRefusedError, match=word):
            await session.set(PATTERN, 1)
        assert session.counters.refusals == 1
        await session.close()


async def test_a_write_confirmed_with_another_value_is_nonsense() -> None:
    async with Agent({PATTERN: 0}).serve() as agent:

        def confirm_9(_: Message, answer: bytes) -> list[bytes]:
            message = decode(answer)
            return [encode(replace(message, varbinds=((message.varbinds[0][0], integer(9)),)))]

        agent.twist = confirm_9
        session = SnmpSession(agent.link(), TIMEOUT_S)
        with pytest.raises(DeviceNonsenseError, match="confirmed 9 where 1"):
            await session.set(PATTERN, 1)
        await session.close()


async def test_a_port_nobody_listens_at_is_a_link_down_for_a_question() -> None:
    async with Agent({}).serve() as agent:
        link = agent.link()
    session = SnmpSession(link, 1.0)
    began_s = time.monotonic()
    with pytest.raises(LinkDownError):
        await session.get((STATUS,))
    assert time.monotonic() - began_s < 0.9  # the network said so; no need to wait
    await session.close()


async def test_a_port_nobody_listens_at_leaves_a_write_unconfirmed() -> None:
    async with Agent({}).serve() as agent:
        link = agent.link()
    session = SnmpSession(link, 1.0)
    with pytest.raises(DeviceSilentError):
        await session.set(PATTERN, 1)
    await session.close()


async def test_a_host_without_a_name_is_a_link_down() -> None:
    session = SnmpSession(SnmpLink(Address("no-such-host.invalid", 161), "1", "public", "private"), 2.0)
    with pytest.raises(LinkDownError):
        await session.get((STATUS,))
    with pytest.raises(LinkDownError):
        await session.set(PATTERN, 1)


async def test_the_session_comes_back_with_its_agent() -> None:
    agent = Agent({STATUS: 2})
    async with agent.serve():
        session = SnmpSession(agent.link(), TIMEOUT_S)
        await session.get((STATUS,))
    with pytest.raises(LinkDownError):
        await session.get((STATUS,))
    async with agent.serve(agent.address.port):
        assert await session.get((STATUS,)) == {STATUS: 2}
    await session.close()


async def test_questions_at_once_are_asked_one_after_the_other() -> None:
    async with Agent({STATUS: 2, PATTERN: 0}).serve() as agent:
        session = SnmpSession(agent.link(), TIMEOUT_S)
        answers = await asyncio.gather(*(session.get((STATUS,) if i % 2 else (PATTERN,)) for i in range(40)))
        assert all(list(answer.values()) == [2 if i % 2 else 0] for i, answer in enumerate(answers))
        await session.close()


async def test_a_cancelled_question_does_not_spoil_the_next() -> None:
    async with Agent({STATUS: 2}).serve() as agent:
        agent.twist = lambda _request, _answer: []
        session = SnmpSession(agent.link(), 5.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await session.get((STATUS,))
        agent.twist = lambda _, answer: [answer]
        assert await session.get((STATUS,)) == {STATUS: 2}
        await session.close()


async def test_questions_kept_encoded_are_bounded() -> None:
    async with Agent({f"1.3.{i}.0": i for i in range(3 * QUESTIONS_MAX)}).serve() as agent:
        session = SnmpSession(agent.link(), TIMEOUT_S)
        for i in range(3 * QUESTIONS_MAX):
            assert await session.get((f"1.3.{i}.0",)) == {f"1.3.{i}.0": i}
        assert len(session._questions) <= QUESTIONS_MAX
        await session.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=4))
def test_no_datagrams_do_more_than_fail_one_question(noise: list[bytes]) -> None:
    async def scenario() -> None:
        async with Agent({STATUS: 2}).serve() as agent:
            agent.twist = lambda _request, _answer: noise
            session = SnmpSession(agent.link(), 0.03)
            with pytest.raises(DriverError):
                await session.get((STATUS,))
            session._timeout_s = TIMEOUT_S
            agent.twist = lambda _, answer: [answer]
            assert await session.get((STATUS,)) == {STATUS: 2}
            assert session.counters.nonsense + session.counters.ignored <= len(noise)
            await session.close()

    asyncio.run(scenario())
