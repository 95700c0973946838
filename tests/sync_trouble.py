"""What goes wrong in the simulation: one thing after the other, each with what puts it right again."""

from agent.model.identity import GatewayId
from agent.wire.messages import SCHEMA, Ack, FleetState, StreamHead
from agent.wire.sealing import seal_message
from agent.wire.topics import down, fleet_state, parse
from tests.sync_keys import DIRECTOR, GATEWAYS
from tests.sync_parties import CITY_ID, STREAMS, Gateway
from tests.sync_world import STRANGER, Weather, World
from tests.wire.party import signer

PAUSE_MS_MAX = 4_000
HIGHEST = 2**40
_STRANGERS_KEY = signer("stranger/1")


def trouble(world: World) -> None:
    """One thing that goes wrong, and the next one later."""
    if world.is_troubled:
        act = world.dice.choice(_ALL)
        name = act.__name__.strip("_")
        world.tally.faults[name] = world.tally.faults.get(name, 0) + 1
        act(world)
        world.after(world.dice.uniform(100, PAUSE_MS_MAX), lambda: trouble(world))


def _gateway(world: World) -> Gateway:
    return world.gateways[world.dice.choice(GATEWAYS)]


def _start_again(world: World, gateway: Gateway) -> None:
    world.after(world.dice.uniform(10, 3000), lambda: None if gateway.is_up else gateway.start())


def _crash(world: World) -> None:
    """A gateway's process ends."""
    if (gateway := _gateway(world)).is_up:
        gateway.crash()
        _start_again(world, gateway)


def _power_cut(world: World) -> None:
    """A gateway loses power with a write on its way to the disk."""
    if (gateway := _gateway(world)).is_up:
        gateway.power_cut()
        _start_again(world, gateway)


def _crash_leader(world: World) -> None:
    """The leading manager loses what it has not committed."""
    leader = max(world.managers, key=lambda each: each.term)
    leader.crash()
    world.after(world.dice.uniform(10, 3000), lambda: None if leader.is_up else leader.lead())


def _switch(world: World) -> None:
    """The other room takes over; the old one may go on talking."""
    min(world.managers, key=lambda each: each.term).lead()


def _break_broker(world: World) -> None:
    """A broker dies with everything on its way; its gateways walk on."""
    number = world.dice.randint(0, 1)
    broker = world.brokers[number]
    broker.crash()
    for gateway in world.gateways.values():
        if gateway.broker == number:
            _walk_on(world, gateway, 100, 2_000)
    world.after(world.dice.uniform(500, 6_000), lambda: setattr(broker, "is_up", True))


def _partition(world: World) -> None:
    """Some ways are cut, in one direction or both; nobody is told."""
    names = [*GATEWAYS, *(manager.name for manager in world.managers)]
    ways = [(name, broker, side) for name in names for broker in (0, 1) for side in ("to", "from")]
    cuts = set(world.dice.sample(ways, world.dice.randint(1, len(ways) // 2)))
    world.cuts |= cuts
    world.after(world.dice.uniform(300, 8_000), lambda: world.cuts.difference_update(cuts))
    for gateway in world.gateways.values():
        if any(name == gateway.name for name, _, _ in cuts):
            _walk_on(world, gateway, 3_000, 20_000)  # Its keepalive finds out.


def _walk_on(world: World, gateway: Gateway, first_ms: int, last_ms: int) -> None:
    world.after(world.dice.uniform(first_ms, last_ms), lambda: gateway.connect(1 - gateway.broker))


def _weather(world: World) -> None:
    """The network gets better or worse."""
    world.weather = Weather.of(world.dice)


def _eavesdrop(world: World) -> None:
    """Somebody says again what was said before, on the same topic."""
    for broker, topic, payload in world.dice.sample(world.heard, min(20, len(world.heard))):
        world.send(STRANGER, broker, topic, payload)


def _forge(world: World) -> None:
    """Somebody changes a bit, copies to another topic, or speaks in another's name. Nothing of it may be believed."""
    dice = world.dice
    for broker, topic, payload in dice.sample(world.heard, min(4, len(world.heard))):
        bit = dice.randrange(8 * len(payload))
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        _say_forged(world, broker, topic, bytes(flipped))
        _say_forged(world, broker, _elsewhere(world, topic), payload)
    for broker, topic, payload in _impostures(world):
        _say_forged(world, broker, topic, payload)


def _elsewhere(world: World, text: str) -> str:
    """Another topic in the same direction: of another gateway, or of another class."""
    topic = parse(text)
    if topic.direction == "fleet":
        return str(down(CITY_ID, GatewayId(world.dice.choice(GATEWAYS)), "ack"))
    other = GATEWAYS[1 - GATEWAYS.index(str(topic.gateway))]
    if world.dice.random() < 0.5:
        return text.replace(f"/{topic.gateway}/", f"/{other}/")
    classes = [*STREAMS, "birth"] if topic.direction == "up" else ["ack", "cmd"]
    return f"{text.rsplit('/', 1)[0]}/{world.dice.choice([each for each in classes if each != topic.message_class])}"


def _impostures(world: World) -> list[tuple[int, str, bytes]]:
    """An ack of everything and a state above all terms: by a stranger, by a gateway, by the director for elsewhere."""
    gateway = GatewayId(world.dice.choice(GATEWAYS))
    ack = Ack(
        SCHEMA, gateway, HIGHEST, [StreamHead(each, HIGHEST % 2**32, HIGHEST, bytes(32)) for each in STREAMS], False
    )
    state = FleetState(SCHEMA, "room-9", HIGHEST, "b", world.clock.unix_ms(), HIGHEST, 1)
    to, everywhere = down(CITY_ID, gateway, "ack"), fleet_state(CITY_ID)
    by = world.dice.choice((_STRANGERS_KEY, signer(f"{gateway}/agent/1"), signer("alice/1")))
    sealed = [(str(to), seal_message(by, to, ack)), (str(everywhere), seal_message(by, everywhere, state))]
    sealed.append((str(everywhere), seal_message(DIRECTOR, to, state)))
    return [(broker, topic, payload) for broker in (0, 1) for topic, payload in sealed]


def _say_forged(world: World, broker: int, topic: str, payload: bytes) -> None:
    world.tally.forged += 1
    world.send(STRANGER, broker, topic, payload, is_forged=True)


def _restore(world: World) -> None:
    """The fleet's store is put back to a backup: what was acknowledged since is gone there."""
    if world.backup is None:
        world.backup = world.store.copy() if world.dice.random() < 0.3 else None
    elif not world.was_restored:
        world.was_restored = True
        for manager in world.managers:
            manager.crash()
        world.backup.term = world.store.term
        world.store = world.backup
        world.after(world.dice.uniform(100, 3000), world.managers[0].lead)


def _card(world: World) -> None:
    """A gateway's storage card is copied, and later the copy is put back."""
    gateway = _gateway(world)
    if gateway.image is None and world.dice.random() < 0.3:
        gateway.take_image()
    elif gateway.image is not None and gateway.is_up and gateway.may_be_lost is None:
        gateway.put_image_back()


_ALL = (
    _crash, _power_cut, _crash_leader, _switch, _break_broker, _partition, _weather, _eavesdrop, _forge, _restore, _card,
)  # fmt: skip
