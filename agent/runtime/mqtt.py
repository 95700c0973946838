"""MQTT 5 over aiomqtt, kept small: connect once, publish with an answer, receive. The broker is a courier, not a store.

Clean start and session expiry 0: a broker that hands out an old command later is a hazard. Delivery is assured end to
end by signed acks, so what the broker promises is not relied on; what it refuses is noticed.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.runtime.errors import TransportError
from agent.wire.envelope import PACKET_BYTES_MAX
from agent.wire.flight import KEEPALIVE_S_MIN
from agent.wire.mqtt import Client

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
"""For CONNACK and SUBACK, and for PUBACK unless the caller says how long."""
INCOMING_MAX = 1_024
"""What the application has not taken yet. Beyond it messages are dropped: acks are cumulative, commands time out."""
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Broker:
    """One place to connect to.

    Args:
        tls: makes what each new connection needs; None for a broker on this machine only.
    """

    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None = None

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we vanish."""

    topic: str
    payload: bytes


def broker_of(url: str, tls: Callable[[], ssl.SSLContext] = ssl.create_default_context) -> Broker:
    """Read ``mqtt://host:port`` or ``mqtts://host:port``.

    Args:
        tls: for ``mqtts``; the system's authorities if not given.

    Raises:
        ValueError: not such an address.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"a broker is mqtt://host:port or mqtts://host:port, not {url!r}")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    is_tls = parts.scheme == "mqtts"
    return Broker(parts.hostname, port, tls if is_tls else None)


class Transport:
    """One connection to one broker. Use as an async context manager; never reused.

    Raises:
        TransportError: when made: no usable certificate; on entering: no connection.
    """

    def __init__(
        self, broker: Broker, identifier: str, will: Will | None = None, *, keepalive_s: int = KEEPALIVE_S_MIN
    ) -> None:
        self._broker = broker
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        silent = logging.getLogger("agent.runtime.mqtt.paho")
        silent.setLevel(logging.CRITICAL + 1)  # What goes wrong comes as an exception, once.
        self._client = Client(
            broker.host,
            broker.port,
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            properties=properties,
            keepalive=keepalive_s,
            timeout=ANSWER_TIMEOUT_S,
            tls_context=broker.tls() if broker.tls else None,
            socket_options=[(IPPROTO_TCP, TCP_NODELAY, 1)],  # What follows a PUBACK at once would wait 40 ms for Nagle.
            will=aiomqtt.Will(will.topic, will.payload, qos=1) if will else None,
            max_queued_incoming_messages=INCOMING_MAX,
            max_inflight_messages=100,
            logger=silent,
        )
        self._paho = self._client._client  # noqa: SLF001  # aiomqtt has no door to it; the version is pinned.
        self._paho.connect_timeout = CONNECT_TIMEOUT_S

    async def __aenter__(self) -> Self:
        gone = self._client._disconnected  # noqa: SLF001
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            self._close_socket()
            raise TransportError(f"{self._broker}: {error}") from error
        if gone.done():
            # Ended between CONNACK and here: aiomqtt has put a new future in its place and would wait for ever.
            reason = gone.exception() or "closed"
            self._close_socket()
            raise TransportError(f"{self._broker}: ended as soon as it began: {reason}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._client.__aexit__(kind, error, trace)
        except aiomqtt.MqttError:
            pass  # It was going away already.
        finally:
            self._close_socket()

    async def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe at QoS 1. A broker may grant what it will never deliver: only delivery proves anything.

        Raises:
            TransportError: refused, or no answer.
        """
        for topic in topics:
            try:
                granted = await self._client.subscribe(topic, qos=1)
            except aiomqtt.MqttError as error:
                raise TransportError(f"{self._broker}: not subscribed to {topic}: {error}") from error
            if any(getattr(code, "is_failure", False) for code in granted):
                raise TransportError(f"{self._broker}: refused the subscription to {topic}")

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
        patience_s: float | None = None,
    ) -> None:
        """Publish at QoS 1 and wait for the broker's answer. Messages leave in the order of the calls.

        Raises:
            TransportError: refused, no answer within ``patience_s`` or ANSWER_TIMEOUT_S, or the connection ended.
        """
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        try:
            await self._client.publish(topic, payload, 1, retain, properties, timeout=patience_s)
        except aiomqtt.MqttError as error:
            raise TransportError(f"{self._broker}: {error}") from error

    async def messages(self) -> AsyncIterator[tuple[str, bytes]]:
        """What arrives, as (topic, payload), until the connection ends.

        Raises:
            TransportError: the connection ended.
        """
        try:
            async for message in self._client.messages:
                yield str(message.topic), message.payload
        except aiomqtt.MqttError as error:
            raise TransportError(f"{self._broker}: {error}") from error

    def _close_socket(self) -> None:
        """After some errors aiomqtt leaves the socket to the garbage collector, and its reader to the loop."""
        gone = self._client._disconnected  # noqa: SLF001
        if gone.done() and not gone.cancelled():
            gone.exception()  # Looked at: whoever waited was told.
        socket = self._paho.socket()
        if socket is None or socket.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(socket.fileno())
        loop.remove_writer(socket.fileno())
        socket.close()
