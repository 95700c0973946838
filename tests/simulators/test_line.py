"""The line that goes wrong on purpose: it does what it is told, changes no byte and leaks nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulators.line import Line
from tests.waiting import wait_until

LONG_S = 0.3


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            while data := await reader.read(1_000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*talks)
        await server.wait_closed()


@asynccontextmanager
async def through() -> AsyncIterator[tuple[Line, asyncio.StreamReader, asyncio.StreamWriter]]:
    async with echo() as port, Line.serve(port) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        try:
            yield line, reader, writer
        finally:
            writer.close()


async def said(reader: asyncio.StreamReader, count: int, timeout_s: float = 5.0) -> bytes:
    async with asyncio.timeout(timeout_s):
        return await reader.readexactly(count)


async def test_a_good_line_changes_nothing_and_passes_the_end_on() -> None:
    async with through() as (line, reader, writer):
        data = bytes(range(256)) * 1_000
        writer.write(data)
        assert await said(reader, len(data)) == data
        assert line.up.passed == line.down.passed == len(data)
        writer.write_eof()
        assert await reader.read() == b""
        await wait_until(lambda: line.open == 0)


@pytest.mark.parametrize("way", ["up", "down", "both"])
async def test_a_silent_way_delivers_nothing_until_it_speaks_again(way: str) -> None:
    async with through() as (line, reader, writer):
        for each in (line.up, line.down) if way == "both" else (getattr(line, way),):
            each.silence(on=True)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await said(reader, 1, LONG_S)
        line.heal()
        assert await said(reader, 5) == b"hello"


async def test_a_silent_line_takes_in_no_more_than_a_network_would() -> None:
    async with through() as (line, _reader, writer):
        line.silence(on=True)
        writer.write(bytes(20_000_000))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LONG_S):
                await writer.drain()
        assert line.up.passed == 0


async def test_a_connection_begun_in_silence_speaks_after_it() -> None:
    async with echo() as port, Line.serve(port) as line:
        line.silence(on=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await said(reader, 1, LONG_S)
        line.heal()
        assert await said(reader, 5) == b"hello"
        writer.close()


async def test_a_reset_reaches_both_ends() -> None:
    async with through() as (line, reader, writer):
        writer.write(b"x")
        await said(reader, 1)
        assert line.reset() == 1
        with pytest.raises(ConnectionResetError):
            await said(reader, 1)
        await wait_until(lambda: line.open == 0)


async def test_a_half_close_ends_one_way_only() -> None:
    async with through() as (line, reader, writer):
        writer.write(b"x")
        await said(reader, 1)
        assert line.half_close() == 1
        assert await reader.read() == b""
        writer.write(b"still talking")
        await wait_until(lambda: line.up.passed == 14)


async def test_slowness_and_delay_are_what_was_asked_for() -> None:
    async with through() as (line, reader, writer):
        loop = asyncio.get_running_loop()
        line.up.bytes_per_s = 50_000
        began_s = loop.time()
        writer.write(bytes(25_000))
        await said(reader, 25_000)
        assert 0.4 < loop.time() - began_s < 3
        line.heal()
        line.down.delay_s = LONG_S
        began_s = loop.time()
        writer.write(b"x")
        await said(reader, 1)
        assert LONG_S <= loop.time() - began_s < 3


async def test_nobody_behind_the_line_is_a_reset_and_a_line_may_lead_elsewhere() -> None:
    async with echo() as port, Line.serve(1) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        line.upstream = port
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"hello")
        assert await said(reader, 5) == b"hello"
        writer.close()
