"""A client of a broker for an errand: to try what it allows, or to take somebody's place."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fleet import mqtt_client
from fleet.link import Broker

RELOAD_S = 30.0


class _Client(mqtt_client.Client):
    """A broker that refuses a certificate hangs up instead of answering; aiomqtt alone would wait for its timeout."""

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        with suppress(RuntimeError):  # While it connects, paho runs in a thread without a loop and raises by itself.
            asyncio.get_running_loop()
            if not self._connected.done():
                self._connected.set_exception(aiomqtt.MqttError("refused"))
                self._connected.exception()  # Looked at, should nobody wait any more.
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


@asynccontextmanager
async def connected(
    broker: Broker, tls: ssl.SSLContext, identifier: str, username: str | None, timeout_s: float
) -> AsyncIterator[aiomqtt.Client]:
    """Hold a connection with a certificate of ours.

    Raises:
        aiomqtt.MqttError, OSError, TimeoutError: refused, unreachable, or thrown out meanwhile.
    """
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0
    client = _Client(
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
