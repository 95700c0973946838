"""A client of a broker for an errand: to try what it allows, or to take somebody's place."""

import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.wire.mqtt import Client
from fleet.link import Broker

RELOAD_S = 30.0


@asynccontextmanager
async def connected(
    broker: Broker, tls: ssl.SSLContext, identifier: str, username: str | None, timeout_s: float
) -> AsyncIterator[Client]:
    """Hold a connection with a certificate of ours.

    Raises:
        aiomqtt.MqttError, OSError, TimeoutError: refused, unreachable, or thrown out meanwhile.
    """
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    client = Client(
        broker.host,
        broker.port,
        identifier=identifier,
        username=username,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
        properties=properties,
        timeout=timeout_s,
        tls_context=tls,
        socket_options=[(IPPROTO_TCP, TCP_NODELAY, 1)],  # A handshake waits for delayed acknowledgements otherwise.
    )
    try:
        async with client:
            yield client
    finally:
        gone = client._disconnected  # noqa: SLF001  # aiomqtt has no door to it; the version is pinned.
        if gone.done() and not gone.cancelled():
            gone.exception()  # Looked at: a broker that throws us out is what we came for.


def run_reload(command: Sequence[str], crl: Path) -> None:
    """Run the operator's command that brings the list to the broker and has it read; it finds the list in ARMOIRE_CRL.

    Raises:
        OSError, subprocess.SubprocessError: it could not, or failed.
    """
    subprocess.run(command, check=True, timeout=RELOAD_S, env={**os.environ, "ARMOIRE_CRL": str(crl)})
