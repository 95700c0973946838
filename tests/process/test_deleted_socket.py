"""Somebody deletes a socket file at a cabinet that runs: the technician's door comes back by itself."""

from pathlib import Path

from agent.process.client import LocalClient
from agent.wire.local import GetStatus, Status
from tests.guard.living import living_guard
from tests.runtime.living import living_agent
from tests.waiting import wait_until


async def comes_back(path: Path, pid: int) -> None:
    path.unlink()
    await wait_until(path.exists, 10)
    client = LocalClient(path)
    reply = await client.ask(GetStatus())
    await client.close()
    assert isinstance(reply, Status)
    assert reply.pid == pid


async def test_the_agents_socket_comes_back() -> None:
    async with living_agent() as agent:
        await comes_back(agent.site.parent / "state" / "agent.sock", (await agent.status()).pid)


async def test_the_guards_socket_comes_back() -> None:
    async with living_guard() as guard:
        await guard.start()
        await comes_back(guard.site.parent / "state" / "guard.sock", (await guard.status()).pid)
