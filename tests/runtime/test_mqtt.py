"""The transport alone: what the broker refuses, drops or garbles is an error, and soon."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.runtime.mqtt import Broker, Transport, TransportError, Will, broker_of
from tests.fleet import broker as brokers


@pytest.fixture(params=["iotcore", "mosquitto"])
def port(request: pytest.FixtureRequest, tmp_path: Path, require_program: Callable[[str], Path]) -> Iterator[int]:
    if request.param == "iotcore":
        with brokers.iotcore(tmp_path) as port:
            yield port
    else:
        with brokers.mosquitto(require_program("mosquitto"), tmp_path) as port:
            yield port


async def test_a_refused_publish_is_an_error(tmp_path: Path, require_program: Callable[[str], Path]) -> None:
    program = require_program("mosquitto")
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite allowed/#\n")
    acl.chmod(0o644)
    tmp_path.chmod(0o755)
    text = brokers.MOSQUITTO
    try:
        brokers.MOSQUITTO = text + f"user root\nacl_file {acl}\n"
        with brokers.mosquitto(program, tmp_path) as port:
            async with Transport(Broker("127.0.0.1", port), "x") as transport:
                await transport.publish("allowed/here", b"1")
                with pytest.raises(TransportError, match="Not authorized"):
                    await transport.publish("armoire/1/dijon/gw-other/up/state", b"1")
    finally:
        brokers.MOSQUITTO = text


async def test_a_publish_ends_with_the_connection_not_with_its_timeout(tmp_path: Path) -> None:
    silent = asyncio.Event()

    async def accept_and_never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x20\x03\x00\x00\x00")  # CONNACK
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(accept_and_never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(5), Transport(Broker("127.0.0.1", port), "x") as transport:
        publishing = asyncio.ensure_future(transport.publish("a", b"1"))
        await asyncio.sleep(0.05)
        assert not publishing.done()
        silent.set()
        with pytest.raises(TransportError):
            await publishing
        with pytest.raises(TransportError):
            async for _ in transport.messages():
                pass


async def test_a_server_that_talks_nonsense_is_a_transport_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.mqtt.ANSWER_TIMEOUT_S", 0.3)
    dice = random.Random(9)
    talking: set[asyncio.Future[None]] = set()

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        talking.add(ended)
        with contextlib.suppress(ConnectionError):  # The client may have had enough.
            await talk(reader, writer)
        ended.set_result(None)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        for part in (dice.choice((b"\x20\x03\x00\x00\x00", b"")), dice.randbytes(200)):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(dice.choice((0, 0.02)))
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def use() -> None:
        async with Transport(Broker("127.0.0.1", port), "x") as transport:
            async for _ in transport.messages():
                pass

    async with server, asyncio.timeout(30):
        for _ in range(30):
            with pytest.raises(TransportError):
                await use()
        await asyncio.gather(*talking)


async def test_the_will_is_said_when_the_process_dies(port: int) -> None:
    async with Transport(Broker("127.0.0.1", port), "fleet") as fleet:
        await fleet.subscribe(["will/#"])
        mortal = Transport(Broker("127.0.0.1", port), "mortal", Will("will/mortal", b"gone"))
        await mortal.__aenter__()
        connection = mortal._paho.socket()
        assert connection is not None
        connection.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        async with asyncio.timeout(20):
            async for topic, payload in fleet.messages():
                assert (topic, payload) == ("will/mortal", b"gone")
                break
        with contextlib.suppress(TransportError):
            await mortal.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [("mqtt://127.0.0.1:1884", ("127.0.0.1", 1884)), ("mqtt://broker", ("broker", 1883)), ("mqtts://b", ("b", 8883))],
)
def test_broker_addresses(url: str, expected: tuple[str, int]) -> None:
    broker = broker_of(url)
    assert (broker.host, broker.port) == expected
    assert (broker.tls is not None) == url.startswith("mqtts")


@pytest.mark.parametrize(
    "url", ["", "http://x", "mqtt://", "mqtt://x:y", "mqtt://x:99999", "mqtt://x/path", "mqtt://[::1"]
)
def test_what_is_no_broker_address_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError):
        broker_of(url)
