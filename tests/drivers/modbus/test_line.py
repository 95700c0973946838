"""One endpoint among friends, liars, and the dead."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.model.site import Address
from agent.safety.verdict import Refused
from drivers.errors import (
    ApprovalLapsedError,
    DeviceNonsenseError,
    DeviceRefusedError,
    DeviceSilentError,
    DriverError,
    LinkDownError,
)
from drivers.modbus import line as line_module
from drivers.modbus.line import ModbusLine
from tests.drivers.modbus.peer import Answer, Peer, answer_to

TIMEOUT_S = 0.3


@asynccontextmanager
async def line_to(peer: Peer, timeout_s: float = TIMEOUT_S) -> AsyncIterator[ModbusLine]:
    async with peer.serve():
        line = ModbusLine(peer.address, timeout_s, seed=1)
        try:
            yield line
        finally:
            await line.close()


async def read_patiently(line: ModbusLine) -> list[int]:
    """Read two registers; a busy test machine may need more than one attempt."""
    for _ in range(50):
        line._reconnect_at_s = 0.0
        with contextlib.suppress(DeviceSilentError, LinkDownError):
            return list(await line.read(1, 3, 0, 2))
    raise AssertionError("never answered")


def registers(*words: int) -> Answer:
    pdu = bytes((3, 2 * len(words))) + b"".join(word.to_bytes(2) for word in words)
    return lambda request: answer_to(request, pdu)


async def test_registers_and_bits_arrive_as_sent() -> None:
    peer = Peer(registers(1, 0xFFFF))
    async with line_to(peer) as line:
        assert list(await line.read(1, 3, 10, 2)) == [1, 0xFFFF]
        peer.answer = lambda request: answer_to(request, bytes((2, 1, 0b101)))
        assert list(await line.read(1, 2, 0, 3))[:3] == [True, False, True]
        assert peer.requests[0][7:] == bytes.fromhex("03000a0002")
        assert peer.connections == 1


async def test_each_write_goes_out_as_the_function_it_needs() -> None:
    peer = Peer(lambda request: answer_to(request, request[7:12]))
    async with line_to(peer) as line:
        await line.write_coil(1, 3, True)
        await line.write_coil(1, 3, False)
        await line.write_registers(1, 10, [100])
        await line.write_registers(1, 10, [1, 2])
    assert [request[7:].hex() for request in peer.requests] == [
        "050003ff00",
        "0500030000",
        "06000a0064",
        "10000a00020400010002",
    ]


@pytest.mark.parametrize(
    ("code", "error", "word"),
    [
        (1, DeviceRefusedError, "illegal function"),
        (2, DeviceRefusedError, "illegal address"),
        (4, DeviceRefusedError, "device failure"),
        (6, DeviceRefusedError, "busy"),
        (0x83, DeviceRefusedError, "of the maker"),
        (0x0A, DeviceSilentError, "behind the gateway"),
        (0x0B, DeviceSilentError, "behind the gateway"),
    ],
)
async def test_an_exception_code_says_what_is_known(code: int, error: type[DriverError], word: str) -> None:
    async with line_to(Peer(lambda request: answer_to(request, bytes((request[7] | 0x80, code))))) as line:
        with pytest.raises(error, match=word):
            await line.read(1, 3, 0, 1)
        assert line.counters.refusals == (error is DeviceRefusedError)


async def test_a_unit_that_says_no_is_not_taken_for_dead() -> None:
    async with line_to(Peer(lambda request: answer_to(request, bytes((request[7] | 0x80, 2))))) as line:
        for _ in range(5):
            with pytest.raises(DeviceRefusedError):
                await line.read(1, 3, 0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
        lambda _: bytes(300),
        lambda _: b"\xff" * 2000,
        lambda request: answer_to(request, b"\x04\x02\x00\x01"),
        lambda request: answer_to(request, b"\x03\x04\x00\x01\x00\x02"),
        lambda request: answer_to(request, b"\x03\x02\x00"),
        lambda request: b"\0\0" + answer_to(request, b"\x03\x02\x00\x01")[2:],
    ],
    ids=["http", "zeros", "ones", "other function", "too many", "too few", "transaction 0"],
)
async def test_nonsense_is_told_at_once_and_the_next_request_starts_afresh(answer: Answer) -> None:
    peer = Peer(answer)
    async with line_to(peer, timeout_s=5.0) as line:
        began_s = time.monotonic()
        with pytest.raises(DeviceNonsenseError):
            await line.read(1, 3, 0, 1)
        assert time.monotonic() - began_s < 2.0
        assert line.counters.nonsense == 1
        peer.answer = registers(7)
        line._reconnect_at_s = 0.0
        assert list(await line.read(1, 3, 0, 1)) == [7]
        assert peer.connections == 2


async def test_half_an_answer_is_silence() -> None:
    async with line_to(Peer(lambda request: registers(7)(request)[:8])) as line:  # type: ignore[index]
        with pytest.raises(DeviceSilentError):
            await line.read(1, 3, 0, 1)
        assert line.counters.silences == 1


async def test_a_late_answer_is_never_taken_for_the_present_one() -> None:
    held: list[bytes] = []

    def hold_back(request: bytes) -> bytes:
        held.append(registers(len(held))(request) or b"")
        return held[-2] if len(held) > 1 else b""

    async with line_to(Peer(hold_back)) as line:
        for _ in range(2):
            with pytest.raises(DeviceSilentError):
                await line.read(1, 3, 0, 1)


async def test_a_late_answer_in_one_segment_with_the_present_one_is_skipped() -> None:
    peer = Peer(lambda _: b"")
    async with line_to(peer) as line:
        with pytest.raises(DeviceSilentError):
            await line.read(1, 3, 0, 100)
        peer.answer = lambda request: (
            (registers(*range(100))(peer.requests[0]) or b"") + (registers(*range(100, 200))(request) or b"")
        )
        assert list(await line.read(1, 3, 0, 100)) == list(range(100, 200))
        assert line.counters.late_bytes == 209


async def test_a_dead_unit_costs_the_others_two_time_outs_and_no_more() -> None:
    peer = Peer(lambda request: registers(7)(request) if request[6] == 1 else b"")
    async with line_to(peer) as line:

        async def ask(unit: int, times: int) -> Sequence[type[DriverError] | None]:
            results: list[type[DriverError] | None] = []
            for _ in range(times):
                try:
                    await line.read(unit, 3, 0, 1)
                    results.append(None)
                except DriverError as error:
                    results.append(type(error))
            return results

        began_s = time.monotonic()
        alive, dead = await asyncio.gather(ask(1, 30), ask(2, 30))
        assert time.monotonic() - began_s < 10 * TIMEOUT_S
        assert alive == [None] * 30
        assert dead == [DeviceSilentError] * 30
        assert sum(request[6] == 2 for request in peer.requests) == 2


async def test_a_probe_finds_a_unit_that_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(lambda _: b"")
    async with line_to(peer) as line:
        for _ in range(3):
            with pytest.raises(DeviceSilentError):
                await line.read(1, 3, 0, 1)
        assert len(peer.requests) == 2
        peer.answer = registers(7)
        line._breakers[1].probe_at_s = 0.0
        assert list(await line.read(1, 3, 0, 1)) == [7]


async def test_a_command_is_tried_even_on_a_unit_believed_dead() -> None:
    peer = Peer(lambda _: b"")
    async with line_to(peer) as line:
        for _ in range(3):
            with pytest.raises(DeviceSilentError):
                await line.read(1, 3, 0, 1)
        peer.answer = lambda request: answer_to(request, request[7:12])
        await line.write_coil(1, 0, True, insist=True)
        assert not line._breakers[1].is_open


async def test_without_a_listener_the_link_is_down_and_nothing_is_sent() -> None:
    peer = Peer(registers(7))
    async with peer.serve():
        address = peer.address
    line = ModbusLine(address, TIMEOUT_S, seed=1)
    for _ in range(20):
        with pytest.raises(LinkDownError):
            await line.read(1, 3, 0, 1)
    assert line.counters.connections_failed == 1  # the others were told without a new attempt
    assert line.counters.requests == 0
    await line.close()


async def test_a_host_without_a_name_is_a_link_down() -> None:
    line = ModbusLine(Address("no-such-host.invalid", 502), 2.0)
    with pytest.raises(LinkDownError):
        await line.read(1, 3, 0, 1)


async def test_attempts_to_connect_grow_rarer_and_never_stop() -> None:
    line = ModbusLine(Address("127.0.0.1", 1), TIMEOUT_S, seed=1)
    pauses = []
    for _ in range(10):
        line._reconnect_at_s = 0.0
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(LinkDownError):
            await line.read(1, 3, 0, 1)
        pauses.append(line._reconnect_at_s - before_s)
    assert all(0.09 <= pause <= line_module.RECONNECT_S_MAX + 0.1 for pause in pauses)
    assert pauses[0] < 0.3
    assert pauses[-1] >= 2.5


async def test_the_line_comes_back_with_its_peer() -> None:
    peer = Peer(registers(7))
    line = ModbusLine(Address("127.0.0.1", 0), TIMEOUT_S, seed=1)
    async with peer.serve():
        line.address = peer.address
        await line.read(1, 3, 0, 1)
    async with asyncio.timeout(5):
        while True:  # ends when the hang-up has arrived
            try:
                await line.read(1, 3, 0, 1)
            except LinkDownError:
                break
            except DeviceSilentError:
                continue
    async with peer.serve(line.address.port), asyncio.timeout(5):
        while True:  # ends with the first attempt after the pause
            try:
                assert list(await line.read(1, 3, 0, 1)) == [7]
                break
            except LinkDownError:
                await asyncio.sleep(0.01)
    assert line.counters.connections == 2
    await line.close()


async def test_a_peer_that_hangs_up_instead_of_answering_is_no_crash() -> None:
    async with line_to(Peer(lambda _: None)) as line:
        for _ in range(3):
            line._reconnect_at_s = 0.0
            with pytest.raises(DeviceSilentError):
                await line.read(1, 3, 0, 1)
        assert not line._breaker(1).is_open  # the link failed, not the unit


async def test_a_request_cancelled_half_way_does_not_spoil_the_next() -> None:
    peer = Peer(lambda _: b"")
    async with line_to(peer, timeout_s=5.0) as line:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await line.read(1, 3, 0, 1)
        peer.answer = lambda request: (registers(6)(peer.requests[0]) or b"") + (registers(7)(request) or b"")
        assert list(await line.read(1, 3, 0, 1)) == [7]


@pytest.mark.parametrize(("unit", "fc"), [(256, 3), (-1, 3), (1, 5), (1, 0)])
async def test_what_only_we_can_get_wrong_is_our_error(unit: int, fc: int) -> None:
    async with line_to(Peer(registers(7))) as line:
        with pytest.raises(ValueError):
            await line.read(unit, fc, 0, 1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=600),
        st.binary(max_size=260).map(lambda pdu: b"tail" + pdu),
        st.tuples(st.sampled_from([b"\x03", b"\x83", b"\x04", b"\x00"]), st.binary(max_size=255)).map(b"".join),
    ),
    st.booleans(),
)
def test_no_bytes_from_a_peer_do_more_than_fail_one_request(noise: bytes, framed: bool) -> None:
    async def scenario() -> None:
        peer = Peer(lambda request: answer_to(request, noise) if framed and noise else noise)
        async with line_to(peer, timeout_s=0.03) as line:
            try:
                answer = await line.read(1, 3, 0, 2)
                assert len(answer) == 2
            except DriverError:
                counters = line.counters
                assert counters.nonsense + counters.silences + counters.refusals == 1
            peer.answer = registers(1, 2)
            assert await read_patiently(line) == [1, 2]

    asyncio.run(scenario())


class CancellingLine(ModbusLine):
    """Cancels the task that reads at the very moment its answer comes in."""

    reader: "asyncio.Task[Sequence[int]] | None" = None

    def _watch(self, sending: bool, data: bytes) -> bytes:
        if not sending and self.reader is not None:
            asyncio.get_running_loop().call_soon(self.reader.cancel)
        return super()._watch(sending, data)


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost() -> None:
    peer = Peer(registers(1, 2))
    async with peer.serve():
        line = CancellingLine(peer.address, TIMEOUT_S, seed=1)
        assert list(await line.read(1, 3, 0, 2)) == [1, 2]
        line.reader = asyncio.create_task(line.read(1, 3, 0, 2))
        with pytest.raises(asyncio.CancelledError):
            await line.reader
        line.reader = None
        assert list(await line.read(1, 3, 0, 2)) == [1, 2]
        assert peer.connections == 1
        await line.close()


async def test_a_write_is_judged_again_when_its_turn_has_come_and_nothing_goes_out_if_it_is_refused() -> None:
    async with line_to(Peer(lambda _: b"")) as line:  # It never answers.
        order: list[str] = []

        def recheck() -> Refused:
            order.append("judged again")
            return Refused("SR-19", "loop A is occupied")

        async def ask_the_dead() -> None:
            with contextlib.suppress(DeviceSilentError):
                await line.read(2, 3, 0, 2)
            order.append("the neighbour's time-out")

        async with asyncio.TaskGroup() as group:
            group.create_task(ask_the_dead())
            await asyncio.sleep(0)
            with pytest.raises(ApprovalLapsedError, match="SR-19: loop A is occupied") as lapsed:
                await line.write_coil(1, 0, True, insist=True, recheck=recheck)
        assert lapsed.value.refused.rule == "SR-19"
        assert order == ["the neighbour's time-out", "judged again"]
        with pytest.raises(ApprovalLapsedError):
            await line.write_registers(1, 0, [1], recheck=recheck)
        assert line.counters.requests == 1
