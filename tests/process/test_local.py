"""The unix socket between the processes: both ends on a real one."""

import asyncio
import os
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.process import server as server_module
from agent.process.client import LocalClient, PeerDownError
from agent.process.server import LocalServer, group_of
from agent.wire.errors import WireError
from agent.wire.local import (
    FRAME_BYTES_MAX,
    Failed,
    GetEquipment,
    GetLog,
    GetStatus,
    GetWhy,
    Noted,
    Reply,
    Request,
    decode_reply,
    decode_request,
    frame,
)
from tests.waiting import wait_until

NOBODY = 65_534
GROUP = 42_042
Answer = Callable[[Request], Awaitable[Reply]]


async def echo(request: Request) -> Reply:
    """Say which request it was."""
    match request:
        case GetWhy(id=id_):
            return Failed(f"why {id_}")
        case GetLog():
            return Failed("x" * 60_000)
        case GetEquipment():
            await asyncio.Event().wait()
    return Noted()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, because a socket's has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="armoire-") as name:
        yield Path(name)


@asynccontextmanager
async def serving(folder: Path, groups: frozenset[int] = frozenset()) -> AsyncIterator[tuple[LocalServer, LocalClient]]:
    path = folder / "guard.sock"
    server, client = LocalServer(path, echo, groups), LocalClient(path)
    async with server.serving():
        try:
            yield server, client
        finally:
            await client.close()


async def connect(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(folder / "guard.sock"))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


def is_request(body: bytes) -> bool:
    try:
        decode_request(body)
    except WireError:
        return False
    return True


@settings(max_examples=60)
@given(bodies=st.lists(st.binary(max_size=200).filter(lambda body: not is_request(body)), min_size=1, max_size=5))
async def test_whatever_is_no_request_is_answered_counted_and_followed_by_the_next(bodies: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="armoire-") as name:
        async with serving(Path(name)) as (server, client):
            reader, writer = await connect(Path(name))
            for body in bodies:
                writer.write(len(body).to_bytes(4, "big") + body)
                length = int.from_bytes(await reader.readexactly(4), "big")
                assert isinstance(decode_reply(await reader.readexactly(length)), Failed)
            assert server.rejected["frame"] == len(bodies)
            writer.write(frame(GetStatus()))
            length = int.from_bytes(await reader.readexactly(4), "big")
            assert isinstance(decode_reply(await reader.readexactly(length)), Noted)
            writer.close()
            assert isinstance(await client.ask(GetStatus()), Noted)


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 30), max_size=6))
async def test_a_request_in_pieces_is_one_request(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="armoire-") as name:
        async with serving(Path(name)):
            reader, writer = await connect(Path(name))
            data = frame(GetWhy("bollard-rameau"))
            for cut in cuts:
                writer.write(data[:cut])
                await writer.drain()
                await asyncio.sleep(0)
                data = data[cut:]
            writer.write(data)
            length = int.from_bytes(await reader.readexactly(4), "big")
            assert decode_reply(await reader.readexactly(length)) == Failed("why bollard-rameau")
            writer.close()


async def test_a_frame_too_large_ends_the_connection_before_it_is_read(folder: Path) -> None:
    async with serving(folder) as (server, client):
        reader, writer = await connect(folder)
        writer.write((FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x")
        assert await is_closed(reader)
        assert server.rejected["frame"] == 1
        writer.close()
        assert isinstance(await client.ask(GetStatus()), Noted)


async def test_half_a_request_is_given_up_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT_S", 0.1)
    async with serving(folder) as (server, _):
        reader, writer = await connect(folder)
        writer.write(b"\0\0\0\5ab")
        assert await is_closed(reader)
        assert server.rejected["slow"] == 1
        writer.close()


async def test_a_client_that_asks_and_never_reads_is_dropped_and_delays_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REPLY_TIMEOUT_S", 0.3)
    async with serving(folder) as (server, client):
        _, writer = await connect(folder)
        writer.write(frame(GetLog("", 500)) * 40)
        async with asyncio.timeout(0.3):
            assert isinstance(await client.ask(GetStatus()), Noted)
        await wait_until(lambda: len(server._clients) == 1)
        assert server.rejected["slow"] == 1
        writer.transport.abort()


async def test_an_answer_that_takes_too_long_is_said_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REPLY_TIMEOUT_S", 0.1)
    async with serving(folder) as (server, client):
        reply = await client.ask(GetEquipment(""))
        assert isinstance(reply, Failed)
        assert "no answer in time" in reply.text
        assert server.rejected["slow"] == 1


async def test_only_root_our_own_user_and_allowed_groups_may_speak(folder: Path) -> None:
    server = LocalServer(folder / "x.sock", echo, frozenset({42}))
    assert server.may_speak(0, frozenset({NOBODY}))
    assert server.may_speak(os.getuid(), frozenset({NOBODY}))
    assert server.may_speak(NOBODY, frozenset({NOBODY, 42}))
    assert not server.may_speak(NOBODY, frozenset({NOBODY}))


async def test_the_group_of_a_state_folder_counts_only_if_the_folder_lets_it_in(folder: Path) -> None:
    for mode, groups in ((0o700, frozenset()), (0o740, frozenset()), (0o750, frozenset({folder.stat().st_gid}))):
        folder.chmod(mode)
        assert group_of(folder) == groups


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root; the rules are tested above")
async def test_a_member_of_the_state_folders_group_may_speak_whichever_of_its_groups_that_is(folder: Path) -> None:
    os.chown(folder, -1, GROUP)
    folder.chmod(0o750)
    async with serving(folder, group_of(folder)) as (server, _):
        path = folder / "guard.sock"
        assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (GROUP, 0o660)
        assert await _ask_as(NOBODY, path, [41, GROUP, 43]) != b""
        assert server.rejected["peer"] == 0
        folder.chmod(0o755)
        path.chmod(0o666)
        assert await _ask_as(NOBODY, path, [41, 43]) == b""
        assert server.rejected["peer"] == 1
        assert await _ask_as(NOBODY, path, list(range(1000, 1300))) == b""  # More groups than are read.


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root; the rule itself is tested above")
async def test_a_client_of_another_user_is_turned_away_even_if_the_file_lets_it_in(folder: Path) -> None:
    folder.chmod(0o755)
    async with serving(folder) as (server, client):
        path = folder / "guard.sock"
        assert path.stat().st_mode & 0o777 == 0o660
        path.chmod(0o666)
        assert await _ask_as(NOBODY, path) == b""
        assert server.rejected["peer"] == 1
        assert isinstance(await client.ask(GetStatus()), Noted)
    async with serving(folder, frozenset({NOBODY})) as (server, _):
        path.chmod(0o666)
        assert await _ask_as(NOBODY, path) != b""


async def _ask_as(uid: int, path: Path, groups: list[int] | None = None) -> bytes:
    """Ask for the status as another user, in a child process; return the first byte of the answer."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # The child does nothing that a thread could have locked.
        child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups or [])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(str(path))
                try:
                    sock.sendall(frame(GetStatus()))
                    os.write(write_end, sock.recv(1))
                except ConnectionError:
                    pass
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with os.fdopen(read_end, "rb") as pipe:
        return pipe.read()


async def test_each_of_many_tasks_gets_its_own_answer(folder: Path) -> None:
    async with serving(folder) as (_, client):
        replies = await asyncio.gather(*(client.ask(GetWhy(f"e-{n}")) for n in range(50)))
        assert replies == [Failed(f"why e-{n}") for n in range(50)]


async def test_a_request_given_up_leaves_no_answer_for_the_next(folder: Path) -> None:
    async with serving(folder) as (_, client):
        with pytest.raises(PeerDownError):
            await client.ask(GetEquipment(""), timeout_s=0.05)
        assert await client.ask(GetWhy("e-1")) == Failed("why e-1")
        task = asyncio.create_task(client.ask(GetEquipment("")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert await client.ask(GetWhy("e-2")) == Failed("why e-2")


async def test_a_server_that_is_not_there_is_an_error_and_its_return_is_not(folder: Path) -> None:
    client = LocalClient(folder / "guard.sock")
    with pytest.raises(PeerDownError, match=r"guard\.sock did not answer"):
        await client.ask(GetStatus())
    for _ in range(2):
        server = LocalServer(folder / "guard.sock", echo)
        async with server.serving():
            assert isinstance(await client.ask(GetStatus()), Noted)
            assert isinstance(await client.ask(GetStatus()), Noted)
        await asyncio.sleep(0)
    await client.close()


async def test_a_connection_closed_for_idleness_is_opened_again_without_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT_S", 0.05)
    async with serving(folder) as (server, client):
        assert isinstance(await client.ask(GetStatus()), Noted)
        streams = client._streams
        assert streams is not None
        await wait_until(streams[0].at_eof)
        assert server.rejected["slow"] == 1
        assert isinstance(await client.ask(GetStatus()), Noted)


@pytest.mark.parametrize(
    "answer",
    [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\2ab", b"\0\0"],
    ids=["huge", "no msgpack", "no reply", "torn"],
)
async def test_an_answer_outside_the_grammar_is_an_error(folder: Path, answer: bytes) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(nonsense, str(folder / "guard.sock"))
    async with server:
        with pytest.raises(PeerDownError):
            await LocalClient(folder / "guard.sock").ask(GetStatus(), timeout_s=5)


# The socket file is deleted while we run.


async def test_a_deleted_socket_comes_back_and_who_was_connected_stays_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(folder) as (server, connected):
        assert await connected.ask(GetStatus()) == Noted()
        (folder / "guard.sock").unlink()
        await server.look()
        newcomer = LocalClient(folder / "guard.sock")
        assert await newcomer.ask(GetStatus()) == Noted()
        assert await connected.ask(GetStatus()) == Noted()
        assert (folder / "guard.sock").stat().st_mode & 0o777 == 0o660
        await server.look()  # Nothing to do, nothing to say.
        assert caplog.messages == ["guard.sock was deleted; it is there again"]
        await newcomer.close()
    assert not (folder / "guard.sock").exists()


async def test_what_stands_in_a_deleted_sockets_place_is_left_alone(folder: Path) -> None:
    async with serving(folder) as (server, _):
        (folder / "guard.sock").unlink()
        (folder / "guard.sock").write_text("somebody's")
        await server.look()
        assert (folder / "guard.sock").read_text() == "somebody's"


async def test_a_socket_whose_folder_is_gone_is_told_once_and_comes_back_with_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home, away = folder / "state", folder / "away"
    async with serving(home) as (server, client):
        home.rename(away)
        (away / "guard.sock").unlink()
        await server.look()
        await server.look()
        assert len(caplog.messages) == 1
        assert "guard.sock was deleted and cannot be put back" in caplog.text
        away.rename(home)
        await server.look()
        assert await client.ask(GetStatus()) == Noted()


async def test_a_server_that_does_not_serve_makes_no_socket(folder: Path) -> None:
    await LocalServer(folder / "guard.sock", echo).look()
    assert not (folder / "guard.sock").exists()
