"""The manager's connection to its broker: everything up is taken in, acks, state and commands go down.

The broker is a courier, never a store: clean start, no session kept. What a lost connection swallowed is sent again by
the gateways, which go back to their last signed ack.
"""

import asyncio
import logging
import math
import random
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import Any
from urllib.parse import urlsplit

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.model.identity import GatewayId
from agent.wire import sealing, topics
from agent.wire.envelope import PACKET_BYTES_MAX
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import SCHEMA, FleetState
from agent.wire.mqtt import Client, PublishRefusedError
from agent.wire.rejections import THROTTLED, Rejections
from fleet.arrival import Arrival
from fleet.control_room import ControlRoom, Link, unix_ms
from fleet.errors import AskError, FolderError, SigningError

STATE_S = 10.0
KEEPALIVE_S = 20
TIMEOUT_S = 5.0
SENDING_MAX = 16
"""Acks on their way at once. One at a time would wait a round trip for each gateway."""
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 5.0
SETTLED_S = 60.0
"""A session that ended sooner does not reset the backoff: a broker that kicks us must not be hammered."""
INFLIGHT_MAX = 200
TLS_FOLDER = "tls"
DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is.

    Args:
        tls: None in the clear.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def read_broker(url: str, folder: Path) -> Broker:
    """Read ``mqtt://host:port`` or ``mqtts://host:port``; the latter with ``tls/{ca.pem,fleet.pem,fleet.key}`` in ``folder``.

    Raises:
        FolderError: not such an address, or the certificates cannot be used.
    """
    place = address_of(url, "mqtt", "mqtts")
    if urlsplit(url).scheme == "mqtt":
        return place
    own = folder / TLS_FOLDER
    try:
        context = ssl.create_default_context(cafile=own / "ca.pem")
        context.load_cert_chain(own / "fleet.pem", own / "fleet.key")
    except (OSError, ssl.SSLError) as error:
        raise FolderError(f"{own}: ca.pem, fleet.pem and fleet.key are needed for mqtts: {error}") from error
    return Broker(place.host, place.port, context)


def address_of(url: str, *schemes: str) -> Broker:
    """Read ``mqtt://host:port`` or ``mqtts://host:port``, without certificates.

    Raises:
        FolderError: not such an address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FolderError(f"--broker: {url!r}: {error}") from error
    if parts.scheme not in schemes or not parts.hostname or parts.path not in {"", "/"}:
        expected = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        raise FolderError(f"--broker: expected {expected}, found {url!r}")
    return Broker(parts.hostname, port or DEFAULT_PORTS[parts.scheme])


class FleetLink:
    """Keeps the connection to one broker.

    Args:
        figures: how it stands, as the API shows it.
    """

    def __init__(self, room: ControlRoom, broker: Broker, figures: Link) -> None:
        self.figures = figures
        self._room = room
        self._broker = broker
        self._heard_s: dict[str, float] = {}
        self._state_due = asyncio.Event()
        self._client: Client | None = None
        self._outgoing: dict[tuple[str, str], bytes] = {}
        self._outgoing_due = asyncio.Event()
        self._rejections = Rejections()
        self._refusals = Rejections()
        self._log = structlog.get_logger("link")

    async def run(self) -> None:
        """Connect, and again whenever the connection ends, until cancelled."""
        backoff_s = BACKOFF_S_MIN
        while True:  # As long as the manager runs.
            started_s = time.monotonic()
            reason = "the broker closed the connection"
            try:
                await self._session()
            except* (aiomqtt.MqttError, OSError, TimeoutError) as group:
                reason = str(group.exceptions[0]) or type(group.exceptions[0]).__name__
            finally:
                self._client = None
            self._lost(reason)
            backoff_s = BACKOFF_S_MIN if time.monotonic() - started_s > SETTLED_S else min(2 * backoff_s, BACKOFF_S_MAX)
            await asyncio.sleep(random.uniform(0.1, 1) * backoff_s)

    def queue(self, gateway: str, message_class: str, sealed: bytes) -> None:
        """Send an ack or a key list soon. Each says everything, so a newer one replaces one that still waits."""
        self._outgoing[gateway, message_class] = sealed
        self._outgoing_due.set()

    def heard_s(self, gateway: str) -> float:
        """When a gateway was last heard over this connection, monotonic; long ago if it was not."""
        return self._heard_s.get(gateway, -math.inf) if self._client is not None else -math.inf

    def announce(self) -> None:
        """Say our state at once."""
        self._state_due.set()

    async def send_command(self, gateway: str, sealed: bytes, expiry_s: int) -> None:
        """Publish a command.

        Raises:
            AskError: it did not leave; with status 504 nobody knows whether it did.
        """
        client = self._client
        if client is None:
            raise AskError(503, "the manager is not connected to its broker: nothing was sent")
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = expiry_s
        topic = topics.down(self._room.city, GatewayId(gateway), "cmd")
        if refusal := self._room.leading.refusal():  # Last: from here to the socket nothing waits.
            raise AskError(503, refusal)
        try:
            await client.publish(str(topic), sealed, qos=1, properties=properties)
        except PublishRefusedError as error:
            self._refused("cmd", error)
            raise AskError(503, f"the broker refused the command: {error}") from error
        except aiomqtt.MqttError as error:
            raise AskError(504, "the broker did not confirm the command: it may have been delivered or not") from error

    async def _session(self) -> None:
        async with self._connect() as client:
            city = self._room.city
            async with asyncio.timeout(TIMEOUT_S):
                await client.subscribe([(f"{topics.ROOT}/{city}/+/up/#", 1), (str(topics.fleet_state(city)), 1)])
            self._found(client)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(client))
                tasks.create_task(self._say_state(client))
                for _ in range(SENDING_MAX):
                    tasks.create_task(self._send(client))

    def _connect(self) -> Client:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0
        properties.MaximumPacketSize = PACKET_BYTES_MAX
        client = Client(
            self._broker.host,
            self._broker.port,
            identifier=f"fleet-{self._room.fleet}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            properties=properties,
            keepalive=KEEPALIVE_S,
            timeout=TIMEOUT_S,
            tls_context=self._broker.tls,
            socket_options=[(IPPROTO_TCP, TCP_NODELAY, 1)],  # What follows a PUBACK at once would wait 40 ms for Nagle.
            max_inflight_messages=INFLIGHT_MAX,
            queue_type=_straight_to(self._receive),
            logger=_SILENT,
        )
        client.pending_calls_threshold = INFLIGHT_MAX
        return client

    def _found(self, client: Client) -> None:
        link = self.figures
        link.is_connected, link.reason = True, ""
        link.reconnects += 1
        self._client = client
        self._log.info("broker.up", host=self._broker.host, port=self._broker.port)

    def _lost(self, reason: str) -> None:
        link = self.figures
        if link.is_connected or link.reason != reason:
            self._log.warning("broker.lost", reason=reason)
        link.is_connected, link.reason = False, reason
        self._heard_s.clear()
        self._outgoing.clear()  # Stale by the time we are back; the next link of each gateway brings a new one.

    async def _listen(self, client: Client) -> None:
        """Wait for the end of the connection: messages do not pass through here (see ``_straight_to``)."""
        while True:  # Until it raises: the queue it waits for stays empty.
            await anext(client.messages)

    def _receive(self, message: aiomqtt.Message) -> None:
        topic, data = message.topic.value, bytes(message.payload)
        if topic.endswith("/fleet/state"):
            self._hear_manager(topic, data)
            return
        gateway = topic.split("/", 4)[3]  # Subscribed to nothing shorter.
        if gateway in self._room.registry.gateways:
            self._heard_s[gateway] = time.monotonic()
        self._room.writer.arrived(Arrival(topic, data))

    def _hear_manager(self, topic: str, data: bytes) -> None:
        """A manager's state: our own echo, our own from before, or another manager's."""
        room = self._room
        if not self._rejections.may_judge(topic, unix_ms()):
            room.rejections[THROTTLED] += 1
            return
        try:
            state = sealing.open_state(room.ring, data, topics.parse(topic), unix_ms())
        except (WireError, TrustError) as error:
            room.rejections[error.reason] += 1
            self._rejections.rejected(topic, error.reason, str(error), unix_ms())
            for notice in self._rejections.notices(unix_ms()):
                self._log.warning("state.not-believed", counts=notice.counts, reason=notice.example)
            return
        is_ours = state.fleet == room.fleet
        if state.term < room.term or (is_ours and not room.terms.is_beyond(state.term, state.issued_ms)):
            return
        room.leading.heard(state)
        # Two managers whose clocks disagree must not outbid each other: only what was said in our name moves us at once.
        room.terms.heard(state.term, is_leading=is_ours and room.leading.is_leading)

    async def _say_state(self, client: Client) -> None:
        room = self._room
        topic = topics.fleet_state(room.city)
        while True:  # As long as the connection lasts.
            self._state_due.clear()
            if room.leading.may_act() and (sealed := self._state(topic)):
                await self._publish(client, topic, sealed, retain=True)
            self._tell_refused()
            with suppress(TimeoutError):
                async with asyncio.timeout(STATE_S):
                    await self._state_due.wait()

    def _state(self, topic: topics.Topic) -> bytes:
        """Our state, sealed; empty while our key cannot sign."""
        room, now_ms = self._room, unix_ms()
        beat, host = room.terms.next_beat(now_ms), self._broker.host[:40]
        note = room.checkpoints.note
        state = FleetState(SCHEMA, room.fleet, room.term, host, now_ms, beat, room.ring.version, note)
        try:
            return sealing.seal_message(room.trust.director, topic, state)
        except SigningError:
            return b""

    async def _send(self, client: Client) -> None:
        city = self._room.city
        while True:  # As long as the connection lasts.
            await self._outgoing_due.wait()
            if not self._outgoing:
                self._outgoing_due.clear()
                continue
            gateway, message_class = key = next(iter(self._outgoing))
            sealed = self._outgoing.pop(key)
            if not self._room.leading.may_act():
                continue
            is_taken = await self._publish(client, topics.down(city, GatewayId(gateway), message_class), sealed)
            self.figures.acks += is_taken and message_class == "ack"

    async def _publish(self, client: Client, topic: topics.Topic, sealed: bytes, *, retain: bool = False) -> bool:
        """Return whether the broker took it. One that refuses a topic may still carry the others."""
        try:
            await client.publish(str(topic), sealed, qos=1, retain=retain)
        except PublishRefusedError as error:
            self._refused(topic.message_class, error)
            return False
        return True

    def _refused(self, message_class: str, error: PublishRefusedError) -> None:
        self._room.publishes_refused[message_class] += 1
        self._refusals.rejected("publish", message_class, str(error), unix_ms())
        self._tell_refused()

    def _tell_refused(self) -> None:
        for notice in self._refusals.notices(unix_ms()):
            self._log.warning("publish.refused", host=self._broker.host, counts=notice.counts, reason=notice.example)


_SILENT = logging.getLogger("fleet.mqtt")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # What matters of it is told above, once per change.


def _straight_to(deliver: Callable[[aiomqtt.Message], None]) -> type["asyncio.Queue[aiomqtt.Message]"]:
    """A queue that keeps nothing: aiomqtt wakes a task of its own for each message otherwise, half of ingest's cost.

    The writer's queue is the bounded one.
    """

    class Straight(asyncio.Queue[Any]):
        def put_nowait(self, item: aiomqtt.Message) -> None:
            deliver(item)

    return Straight
