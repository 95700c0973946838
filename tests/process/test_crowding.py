"""More clients than the local socket has places for."""

import asyncio
import socket
from pathlib import Path

from agent.process.server import CLIENTS_MAX
from agent.wire.local import GetEquipment, GetLog, GetStatus, Noted, frame
from tests.process.test_local import connect, folder, is_closed, serving
from tests.waiting import wait_until

__all__ = ["folder"]


async def test_whoever_has_waited_longest_makes_room_for_one_client_too_many(folder: Path) -> None:
    async with serving(folder) as (server, client):
        held = [await connect(folder) for _ in range(CLIENTS_MAX)]
        await wait_until(lambda: len(server._clients) == CLIENTS_MAX)
        held[0][1].write(b"\0\0\0\5ab")  # Half a request is no claim on a place.
        for reader, writer in held[1:3]:
            writer.write(frame(GetStatus()))
            await reader.readexactly(4)
        assert isinstance(await client.ask(GetStatus()), Noted)
        assert await is_closed(held[0][0])
        newcomer = await connect(folder)
        assert await is_closed(held[3][0]), "the second and third have just asked something"
        assert server.rejected["displaced"] == 2
        for _, other in (*held, newcomer):
            other.close()
        await wait_until(lambda: len(server._clients) == 1)
        assert isinstance(await client.ask(GetStatus()), Noted)


async def test_a_client_is_turned_away_while_all_others_are_being_answered(folder: Path) -> None:
    async with serving(folder) as (server, _):
        held = [await connect(folder) for _ in range(CLIENTS_MAX)]
        for _, writer in held:
            writer.write(frame(GetEquipment("")))  # Takes a while.
        await wait_until(lambda: len(server._clients) == CLIENTS_MAX and not server._waiting)
        reader, writer = await connect(folder)
        assert await is_closed(reader)
        assert (server.rejected["busy"], server.rejected["displaced"]) == (1, 0)
        for _, other in (*held, (reader, writer)):
            other.close()


async def test_clients_that_never_read_leave_nothing_open_once_displaced(folder: Path) -> None:
    async with serving(folder) as (server, client):
        before = len(list(Path("/proc/self/fd").iterdir()))
        writers = []
        for _ in range(3 * CLIENTS_MAX):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(str(folder / "guard.sock"))
            sock.send(frame(GetLog("", 500)) * 3)
            writers.append(sock)
            await asyncio.sleep(0)
        assert isinstance(await client.ask(GetStatus()), Noted)
        await wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + len(writers) + CLIENTS_MAX + 4)
        assert server.rejected["displaced"] >= CLIENTS_MAX
        for sock in writers:
            sock.close()
