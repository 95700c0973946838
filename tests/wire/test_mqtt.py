"""The MQTT client of both ends, where aiomqtt alone would go wrong."""

import asyncio
import contextlib
import socket
from pathlib import Path

import aiomqtt
import pytest

from agent.wire.mqtt import Client
from tests.fleet import broker


@pytest.mark.parametrize("has_heir", [False, True])
async def test_a_connection_that_ends_at_once_never_touches_the_socket_that_gets_its_number(
    tmp_path: Path, has_heir: bool
) -> None:
    with broker.iotcore(tmp_path) as port, contextlib.suppress(aiomqtt.MqttError):
        async with Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=1) as client:
            connection = client._client.socket()
            assert connection is not None
            number = connection.fileno()
            publishing = asyncio.ensure_future(client.publish("a", b"1", qos=1))
            await asyncio.sleep(0)  # It has asked to be told when the socket takes bytes, from the next round on.
            client._client._sock_close()
            with socket.socket() if has_heir else contextlib.nullcontext() as heir:
                assert heir is None or heir.fileno() == number
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not asyncio.get_running_loop().remove_writer(number)
            publishing.cancel()
