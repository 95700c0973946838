"""Attacking the guard's own socket: floods of frames, counted by what the guard should make of each."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec
import psutil

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.demotrust import sign_key_list
from agent.wire.keyfile import Signer
from agent.wire.local import LENGTH_BYTES, Submit, TellFleetSeen, frame
from agent.wire.messages import SCHEMA, Ack, CommandMessage, FleetState, StreamHead, encode
from agent.wire.sealing import seal_message
from agent.wire.topics import Topic, down, fleet_state, up
from tests.attack.cast import Cast
from tests.guard.living import J, LivingGuard
from tests.guard.people import OTHER_GATEWAY, People

FRAMES = int(os.environ.get("ARMOIRE_ATTACK_FRAMES", "100000"))
"""How many frames a flood has. Each takes the guard some 60 to 250 microseconds."""
SEED = int(os.environ.get("ARMOIRE_ATTACK_SEED", "1"))
LANES = 8
PIPELINED = 32
TICKS_SHARE_MIN = 0.9
"""Of those in calm: a scan that was skipped is missing. Seen: 99 %."""
LATE_SHARE_MAX = 0.2
"""More than in calm. Seen: 2 %, with four times as many others at work as there are cores, and without the real-time
priority that a cabinet's guard has."""
FLOOD_TIMEOUT_S = 60.0 + FRAMES / 500
STRANGE: tuple[object, ...] = (
    None, True, -1, 0, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1e308, float("nan"), float("inf"), "", "\0", "a" * 5_000,
    "\N{RIGHT-TO-LEFT OVERRIDE}", b"", bytes(5_000), [], {}, [[]] * 500, {"plan": {"plan": {}}}, {str(n): n for n in range(500)},
)  # fmt: skip
PLAN = {"plan": 2, "lease_s": 300}


@dataclass(frozen=True, slots=True)
class Blow:
    """One frame, and under which figure of its status the guard should count it."""

    data: bytes
    counted: str


def stranger(kid: str) -> Signer:
    """A key nobody has enrolled, under any name."""
    return Signer.from_seed(kid, random.Random(kid).randbytes(32))


def sealed_by(people: People, message: CommandMessage, *signers: Signer, topic: Topic | None = None) -> bytes:
    """A command set as it would be sealed for a topic."""
    payload = encode(message)
    return envelope.join_set([signer.seal(payload, topic or people.command_topic) for signer in signers])


def forged_commands(cast: Cast, nonce: bytes) -> list[Blow]:
    """Commands nobody may give, each for a reason of its own. What a known party signed is declined, else not believed."""
    people = cast.people
    technician, city = people.technician, people.city

    def plan(**changes: object) -> CommandMessage:
        fields = {"counter": 1_000_000, **changes}
        return people.message(technician, J, "select-plan", nonce, PLAN, **fields)  # type: ignore[arg-type]

    def posed(signer: Signer) -> bytes:
        return sealed_by(people, people.message(signer, J, "select-plan", nonce, PLAN, counter=7), signer)

    good = sealed_by(people, plan(), technician)
    impostor = Signer(technician.kid.decode(), stranger("impostor")._key)
    rows: list[tuple[str, bytes]] = [
        ("unknown-key", posed(stranger("nobody/1"))),
        ("signature", posed(impostor)),
        ("capability", posed(people.director)),
        ("capability", posed(cast.agent_key)),
        ("capability", posed(cast.guard_key)),
        ("unknown-key", posed(cast.expired)),
        ("unknown-key", posed(cast.revoked)),
        ("signature", sealed_by(people, plan(), technician, topic=down(city, GatewayId(OTHER_GATEWAY), "cmd"))),
        ("signature", sealed_by(people, plan(), technician, topic=down(city, people.gateway, "ack"))),
        ("signature", sealed_by(people, plan(), technician, topic=up(city, people.gateway, "result"))),
        ("message", sealed_by(people, plan(gateway=OTHER_GATEWAY), technician)),
        ("signature", sealed_by(people, people.message(people.alice, J, "flash", nonce, counter=9), technician)),
        ("message", envelope.join_set([technician.seal(b"\x90", people.command_topic)])),
        ("message", envelope.join_set([technician.seal(huge_counter(plan()), people.command_topic)])),
        ("envelope", b""),
        ("envelope", good[:-1]),
        ("envelope", good + b"\0"),
        ("envelope", b"\x83" + good[1:] * 3),
    ]
    return [Blow(frame(Submit(sealed)), f"rejected {why}") for why, sealed in rows]


def huge_counter(message: CommandMessage) -> bytes:
    """The command with 2**64 - 1 where its counter stands."""
    small = encode(message)
    written = b"\xce" + message.counter.to_bytes(4, "big")
    assert small.count(written) == 1
    return small.replace(written, b"\xcf" + b"\xff" * 8)


def declined_commands(people: People, stale: bytes, nonce: bytes) -> list[Blow]:
    """Signed by people who may command, but not this, not here, or not now."""
    tell, alice, technician = people.message, people.alice, people.technician
    commands = [
        (technician, tell(technician, J, "select-plan", stale, PLAN, counter=2**52)),
        (technician, tell(technician, J, "select-plan", bytes(16), PLAN, counter=2**51)),
        (alice, tell(alice, J, "reset", nonce, counter=5)),
        (people.stranger, tell(people.stranger, J, "select-plan", nonce, PLAN, counter=3)),
    ]
    return [
        Blow(frame(Submit(sealed_by(people, message, signer))), "rejected declined") for signer, message in commands
    ]


def forged_fleet(cast: Cast) -> list[Blow]:
    """Fleet messages of others, for others, and forged acknowledgements."""
    people = cast.people
    far = StreamHead("safety", 2**32 - 1, 2**62, bytes(32))
    ack_topic = down(people.city, people.gateway, "ack")
    other_topic = down(people.city, GatewayId(OTHER_GATEWAY), "ack")
    ack = Ack(SCHEMA, people.gateway, 2**62, [far], False)
    state = FleetState(SCHEMA, "fleet-1", 2**62, "b", 2**62, 2**62, 1)
    rows = [
        ("capability", ack_topic, seal_message(people.technician, ack_topic, ack)),
        ("capability", ack_topic, seal_message(cast.agent_key, ack_topic, ack)),
        ("unknown-key", ack_topic, seal_message(stranger("director/2"), ack_topic, ack)),
        ("signature", ack_topic, seal_message(Signer("director/1", stranger("x")._key), ack_topic, ack)),
        ("signature", ack_topic, seal_message(people.director, other_topic, ack)),
        ("topic", other_topic, seal_message(people.director, other_topic, ack)),
        ("message", ack_topic, people.director.seal(b"\xc0", ack_topic)),
        ("capability", fleet_state(people.city), seal_message(people.alice, fleet_state(people.city), state)),
        ("signature", fleet_state(people.city), seal_message(people.director, ack_topic, state)),
        ("envelope", ack_topic, b"\xd2\x84"),
    ]
    blows = [Blow(frame(TellFleetSeen(str(topic), sealed)), f"rejected {why}") for why, topic, sealed in rows]
    return [*blows, Blow(frame(TellFleetSeen("armoire/1/../../etc", b"")), "rejected topic")]


def forged_lists(cast: Cast) -> list[Blow]:
    """Key lists the guard must not take: of nobody, of too few, of others' cities, old ones, torn and swollen ones."""
    people, officers, held = cast.people, cast.officers, cast.key_list

    def newer(signers: Sequence[Signer], **changes: object) -> bytes:
        """A list that lets the attacker command, were it believed."""
        fields = {"version": held.version + 1, "keys": [*held.keys[1:], held.keys[0]], **changes}
        return sign_key_list(msgspec.structs.replace(held, **fields), list(signers))

    impostors = [Signer(each.kid.decode(), stranger(each.kid.decode())._key) for each in officers]
    good = newer(officers)
    lists = [
        newer(impostors),
        newer([stranger("root/8"), stranger("root/9")]),
        newer([officers[0], impostors[1]]),
        newer(officers[:1]),
        newer([people.director, people.technician]),
        newer(officers, city="elsewhere"),
        newer(officers, version=held.version),
        newer(officers, keys=[*held.keys, held.keys[0]]),
        cast.old_list,
        b"",
        good[:-1],
        good + b"\0",
        good + bytes(261_121 - len(good)),
    ]
    topic = str(down(people.city, people.gateway, "keys"))
    astray = str(down(people.city, GatewayId(OTHER_GATEWAY), "keys"))
    blows = [Blow(frame(TellFleetSeen(topic, sealed)), "key lists refused") for sealed in lists]
    return [*blows, Blow(frame(TellFleetSeen(astray, good)), "rejected topic")]


def garbage(rng: random.Random) -> Blow:
    """A whole frame that holds no request."""
    body = rng.randbytes(rng.randint(0, 200))
    return (
        Blow(len(body).to_bytes(LENGTH_BYTES, "big") + b"\xc1" + body[1:], "socket frame")
        if body
        else Blow(b"\0\0\0\1\xc1", "socket frame")
    )


def bent(rng: random.Random, blow: Blow) -> bytes:
    """A frame with one bit of its inside turned; what it then is, nobody says."""
    data = bytearray(blow.data)
    data[rng.randrange(LENGTH_BYTES, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def twisted(rng: random.Random, blow: Blow) -> bytes:
    """A frame of the right outline with one field exchanged for something it should never hold."""
    fields: list[object] = msgspec.msgpack.decode(blow.data[LENGTH_BYTES:])
    place: list[object] = fields
    while True:  # Goes deeper at every turn.
        inner = [each for each in place if isinstance(each, list) and each]
        if not inner or rng.random() < 0.3:
            break
        place = rng.choice(inner)
    place[rng.randrange(len(place))] = rng.choice(STRANGE)
    body = msgspec.msgpack.encode(fields)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


@dataclass(frozen=True, slots=True)
class Toll:
    """What a stretch of time has cost the guard.

    Args:
        ticks, late: scans done and late ones. lowest, highest: resident bytes seen.
    """

    seconds: float
    ticks: int
    late: int
    lowest: int
    highest: int

    @property
    def ticks_per_s(self) -> float:
        return self.ticks / self.seconds

    def __str__(self) -> str:
        late = 100 * self.late / max(1, self.ticks)
        return (
            f"{self.seconds:.1f} s, {self.ticks_per_s:.2f} scans/s, {late:.1f} % late, "
            f"{self.lowest / 2**20:.1f}..{self.highest / 2**20:.1f} MB"
        )


def keeps_its_beat(calm: Toll, storm: Toll) -> bool:
    """Whether a storm cost the guard next to no scan, by its own counters."""
    is_as_often = storm.ticks_per_s >= TICKS_SHARE_MIN * calm.ticks_per_s
    return is_as_often and storm.late / storm.ticks <= calm.late / calm.ticks + LATE_SHARE_MAX


def figure(figures: Mapping[str, object], name: str) -> int:
    """One of a status's counters."""
    value = figures.get(name, 0)
    assert isinstance(value, int)
    return value


async def toll_of(guard: LivingGuard, work: Callable[[], Awaitable[object]]) -> Toll:
    """Do something and say what it cost."""
    assert guard.process is not None
    process = psutil.Process(guard.process.pid)
    loop = asyncio.get_running_loop()
    sizes = [process.memory_info().rss]
    before, start_s = dict((await guard.status()).figures), loop.time()
    done = asyncio.Event()

    async def weigh() -> None:
        while not done.is_set():
            sizes.append(process.memory_info().rss)
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(weigh())
        await work()
        done.set()
    after, seconds = dict((await guard.status()).figures), loop.time() - start_s
    ticks = figure(after, "ticks") - figure(before, "ticks")
    late = figure(after, "late ticks") - figure(before, "late ticks")
    return Toll(seconds, ticks, late, min(sizes), max(sizes))


async def flood(guard: LivingGuard, blows: Sequence[Blow], count: int, rng: random.Random) -> Counter[str]:
    """Send that many of the blows, drawn at random, on several connections; return what should be counted.

    Every frame gets an answer; the guard answers one after the other on each connection.
    """
    chosen = iter(rng.choices(blows, k=count))
    sent: Counter[str] = Counter()

    async def lane() -> None:
        reader, writer = await asyncio.open_unix_connection(str(guard.socket))
        try:
            while some := list(islice(chosen, PIPELINED)):
                writer.write(b"".join(blow.data for blow in some))
                await writer.drain()
                for blow in some:
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    await reader.readexactly(length)
                    sent[blow.counted] += 1
        finally:
            writer.close()

    async with asyncio.timeout(FLOOD_TIMEOUT_S), asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())
    return sent
