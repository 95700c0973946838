"""The people who command one cabinet, and the fleet that is heard or silent."""

from collections.abc import Callable, Mapping
from pathlib import Path

from agent.model.identity import CityId, GatewayId
from agent.process.trustfiles import read_trust
from agent.wire import envelope
from agent.wire.demotrust import make_demo_trust
from agent.wire.gate import LIFETIME_MS_MAX
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import SCHEMA, Ack, CommandMessage, FleetState, StreamHead, Value, encode
from agent.wire.sealing import seal_message
from agent.wire.topics import Topic, down, fleet_state

OTHER_GATEWAY = "gw-other"


class People:
    """Whoever signs. A new city is made in ``folder``.

    Args:
        unix_ms: keys are good from a day before. A living gateway's people read ``clock_ms`` for their commands' end.
    """

    def __init__(self, folder: Path, city: str, gateway: str, unix_ms: int) -> None:
        make_demo_trust(folder, city, [gateway, OTHER_GATEWAY], now_ms=unix_ms)
        self.city, self.gateway, self.unix_ms = CityId(city), GatewayId(gateway), unix_ms
        self.clock_ms: Callable[[], int] = lambda: unix_ms
        self.keys = folder / "gateways" / gateway
        self.technician = read_signer(self.keys / "technician.pem")
        self.stranger = read_signer(folder / "gateways" / OTHER_GATEWAY / "technician.pem")
        self.alice = read_signer(folder / "operators/alice.pem")
        self.bruno = read_signer(folder / "operators/bruno.pem")
        self.director = read_signer(folder / "fleet/director.pem")
        self.ring = read_trust(self.keys, "guard", self.city).ring
        self._counters: dict[bytes, int] = {}
        self._beat = 0

    @property
    def command_topic(self) -> Topic:
        """Where commands arrive."""
        return down(self.city, self.gateway, "cmd")

    def message(
        self,
        issuer: Signer,
        equipment: str,
        verb: str,
        nonce: bytes,
        args: Mapping[str, Value] | None = None,
        *,
        counter: int | None = None,
        gateway: str | None = None,
        expect: tuple[str, Value] | None = None,
    ) -> CommandMessage:
        """A command as it will be signed, with the issuer's next counter."""
        last = self._counters.get(issuer.kid, 0)
        counter = last + 1 if counter is None else counter
        self._counters[issuer.kid] = max(last, counter)
        point, value = expect or (None, None)
        return CommandMessage(
            schema=SCHEMA,
            command_id=f"c-{issuer.kid.decode().replace('/', '-')}-{counter}",
            issuer=issuer.kid.decode(),
            gateway=gateway or self.gateway,
            equipment=equipment,
            verb=verb,
            args=dict(args or {}),
            nonce=nonce,
            counter=counter,
            issued_ms=self.clock_ms(),
            not_after_ms=self.clock_ms() + LIFETIME_MS_MAX,
            expect_point=point,
            expect_value=value,
        )

    def seal(self, message: CommandMessage, *signers: Signer) -> bytes:
        """One envelope for each signer over the same payload."""
        payload = encode(message)
        return envelope.join_set([signer.seal(payload, self.command_topic) for signer in signers])

    def state(self, issued_ms: int) -> tuple[str, bytes]:
        """The fleet's next signed state, with its topic."""
        self._beat += 1
        topic = fleet_state(self.city)
        message = FleetState(SCHEMA, "fleet-1", 1, "broker-1", issued_ms, self._beat, 1)
        return str(topic), seal_message(self.director, topic, message)

    def ack(self, head: StreamHead, term: int = 1) -> tuple[str, bytes]:
        """The fleet's word that everything up to ``head`` is durable, with its topic."""
        topic = down(self.city, self.gateway, "ack")
        return str(topic), seal_message(self.director, topic, Ack(SCHEMA, self.gateway, term, [head], False))
