"""The same attack from further out: sealed bytes to the gate, what it admits to the kernel, and the power cut in between.

The cabinet here is the gate, the counters on its disk and nothing else; the attacker has every envelope that was ever
sent. What must be admitted and what must not is worked out from how each message was made.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from agent.model.command import Role
from agent.model.observation import ClockQuality
from agent.safety.kernel import judge
from agent.safety.verdict import Approved, Refused
from agent.wire import envelope
from agent.wire.errors import TrustError, WireError
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.messages import SCHEMA, CommandMessage, encode
from agent.wire.topics import Topic, down
from agent.wire.trust import COMMAND_CAPABILITIES, KeyRing, load_key_list
from tests.proof.campaign import Tally, seed_of
from tests.proof.draws import Pools, pools
from tests.proof.promises import broken
from tests.safety.facts import B, J, L, S
from tests.wire.party import CITY, GATEWAY, OTHER_GATEWAY, ROOTS, T0_MS, entries, entry, sealed_list, signer

TOPIC: Topic = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]
OTHER_TOPIC: Topic = down(CITY, OTHER_GATEWAY, "cmd")  # type: ignore[arg-type]
PERIOD_MS = 30_000
GATE_CASES = 500
POOL = 300


@dataclass(frozen=True, slots=True)
class Person:
    """A key, and what the signed list says of it."""

    kid: str
    subject: str
    role: str
    classes: tuple[int, ...]
    here: bool = True


CAST = (
    Person("alice/1", "alice", "operator", (1, 2, 3)),
    Person("alice/2", "alice", "operator", (1, 2, 3)),
    Person("bruno/1", "bruno", "operator", (1, 2, 3)),
    Person("carla/1", "carla", "operator", (1,)),
    Person(f"{GATEWAY}/tech/1", f"{GATEWAY}/tech", "technician", (1, 2, 3, 4)),
    Person(f"{OTHER_GATEWAY}/tech/1", f"{OTHER_GATEWAY}/tech", "technician", (1, 2, 3, 4), here=False),
    Person(f"{GATEWAY}/agent/1", f"{GATEWAY}/agent", "agent", ()),
    Person("mallory/1", "mallory", "nobody", ()),
)
VERBS: dict[str, tuple[int, dict[str, tuple[int, int]]]] = {
    "select-plan": (1, {"plan": (1, 253), "lease_s": (1, 604_800)}),
    "flash": (3, {"lease_s": (1, 604_800)}),
    "release": (1, {}),
    "lower": (1, {}),
    "raise": (2, {}),
    "set-level": (1, {"level_percent": (0, 100), "lease_s": (1, 604_800)}),
    "release-level": (1, {}),
    "reset": (4, {}),
}
"""Class and arguments, as the page has them."""


def a_ring() -> KeyRing:
    """The cast as a signed key list."""
    rows = [each for each in entries() if each.kid.startswith(("director", "alice/1", "bruno", GATEWAY))]
    rows += [
        entry("alice/2", "operator", COMMAND_CAPABILITIES[:3], subject="alice"),
        entry("carla/1", "operator", COMMAND_CAPABILITIES[:1]),
        entry(f"{OTHER_GATEWAY}/tech/1", "technician", COMMAND_CAPABILITIES, (OTHER_GATEWAY,)),
    ]
    return load_key_list(sealed_list(rows), ROOTS)


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as made, and what is known of it."""

    sealed: bytes
    message: CommandMessage
    signers: tuple[Person, ...]
    topic: Topic
    published: int
    """In which life and period of the cabinet its nonce was published; -1 for one that never was."""
    intact: bool = True


class Cabinet:
    """Gate, disk and clock."""

    def __init__(self, random: Random, ring: KeyRing) -> None:
        self.random, self.ring = random, ring
        self.now_ms = self.life = 0
        self.counters: dict[str, int] = {}
        self.acted: set[tuple[str, int]] = set()
        self.restart()

    def restart(self) -> None:
        """Memory is lost, the disk is kept."""
        self.life += 1
        self.started_ms = self.now_ms
        self.gate = CommandGate(self.ring, Nonces(self.random.randbytes, self.now_ms))

    def published(self) -> int:
        """A number for the nonce of now: its life and period."""
        return self.life * 10**9 + (self.now_ms - self.started_ms) // PERIOD_MS


def run_gate_chunk(seed: int, chunk: int, cases: int = GATE_CASES) -> Tally:
    """Send the messages of one chunk."""
    random, tally = Random(seed_of(seed, chunk)), Tally()
    cabinet, drawn = Cabinet(random, a_ring()), pools(random, POOL)
    past: list[Sent] = []
    for number in range(cases):
        cabinet.now_ms += random.choice((0, 1, 5_000, 14_999, 30_000, 61_000))
        if random.random() < 0.03:
            cabinet.restart()
        sent = _sent(random, cabinet, past)
        past.append(sent)
        fault = _deliver(random, cabinet, sent, drawn, tally)
        tally.cases += 1
        if fault:
            made_by = ", ".join(person.kid for person in sent.signers)
            tally.faults.append(
                f"seed {seed}, gate chunk {chunk}, case {number}: {fault}: {sent.message}, by {made_by}"
            )
            break
    return tally


def _sent(random: Random, cabinet: Cabinet, past: list[Sent]) -> Sent:
    if past and random.random() < 0.25:
        return _captured(random, random.choice(past[-40:]))
    issuer = random.choice((*CAST[:5], *CAST[:5], *CAST))
    others = random.choice(((), (), (CAST[0],), (CAST[2],), (CAST[1],), (random.choice(CAST),)))
    signers = tuple(dict.fromkeys((issuer, *others)))
    if random.random() < 0.04:
        signers = others or (random.choice(CAST),)
    message = _message(random, cabinet, issuer)
    topic = OTHER_TOPIC if random.random() < 0.03 else TOPIC
    shuffled = random.sample(signers, len(signers))
    sealed = envelope.join_set([signer(each.kid).seal(encode(message), topic) for each in shuffled])
    is_fresh = message.nonce == cabinet.gate.nonces.current(cabinet.now_ms)
    return Sent(sealed, message, signers, topic, cabinet.published() if is_fresh else -1)


def _message(random: Random, cabinet: Cabinet, issuer: Person) -> CommandMessage:
    verb = random.choice((*VERBS, *VERBS, "set-green", "dark"))
    args: dict[str, Any] = {
        name: random.choice((low, high, 2, 2, 2, low - 1, high + 1))
        for name, (low, high) in VERBS.get(verb, (0, {}))[1].items()
    }
    if random.random() < 0.05:
        args = random.choice(({}, args | {"force": 1}, dict.fromkeys(args, True), dict.fromkeys(args, "2")))
    stored = cabinet.counters.get(issuer.kid, 0)
    own = {"select": J, "flash": J, "release": J, "lower": B, "raise": B, "set": S, "reset": random.choice((J, B))}
    equipment = S if verb == "release-level" else own.get(verb.split("-")[0], J)
    nonce = cabinet.gate.nonces.current(cabinet.now_ms)
    return CommandMessage(
        schema=SCHEMA,
        command_id=f"c-{random.getrandbits(40):x}",
        issuer=issuer.kid,
        gateway=GATEWAY if random.random() < 0.97 else OTHER_GATEWAY,
        equipment=equipment if random.random() < 0.95 else random.choice((J, B, S, L, "elsewhere")),
        verb=verb,
        args=args,
        nonce=nonce if random.random() < 0.95 else random.randbytes(len(nonce)),
        counter=max(1, stored + random.choice((1, 1, 1, 1, 2, 1_000, 0, -1))),
        issued_ms=T0_MS,
        not_after_ms=T0_MS + cabinet.now_ms + random.choice((30_000, 30_000, 0, 1, -1)),
        expect_point=None,
        expect_value=None,
    )


def _captured(random: Random, old: Sent) -> Sent:
    """What somebody on the way can do to bytes: send them again, turned, cut or spoilt."""
    match random.randrange(4):
        case _ if not old.sealed:  # Cut away altogether before.
            return old
        case 0:
            return old
        case 1:
            turned = random.sample(old.signers, len(old.signers))
            parts = [signer(each.kid).seal(encode(old.message), old.topic) for each in turned]
            return replace(old, sealed=envelope.join_set(parts))
        case 2:
            return replace(old, sealed=old.sealed[: random.randrange(len(old.sealed))], intact=False)
        case _:
            spoilt = bytearray(old.sealed)
            spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
            return replace(old, sealed=bytes(spoilt), intact=False)


def against(cabinet: Cabinet, sent: Sent, unix_ms: int | None) -> list[str]:
    """Everything that forbids admitting a message, from how it was made."""
    message, verb = sent.message, VERBS.get(sent.message.verb)
    wrong: dict[str, Callable[[], bool]] = {
        "spoilt on the way": lambda: not sent.intact,
        "sealed for another gateway": lambda: sent.topic != TOPIC or message.gateway != GATEWAY,
        "signed by somebody who commands nothing": lambda: any(not each.classes for each in sent.signers),
        "the issuer has not signed": lambda: message.issuer not in {each.kid for each in sent.signers},
        "not in everybody's scope": lambda: not all(each.here for each in sent.signers),
        "beyond what a signer may": lambda: (
            verb is not None and not all(verb[0] in each.classes for each in sent.signers)
        ),
        "its counter is used up": lambda: message.counter <= cabinet.counters.get(message.issuer, 0),
        "its nonce is old": lambda: not 0 <= cabinet.published() - sent.published <= 1,
        "too late": lambda: unix_ms is not None and unix_ms > message.not_after_ms,
    }
    return [words for words, is_wrong in wrong.items() if is_wrong()]


def _deliver(random: Random, cabinet: Cabinet, sent: Sent, drawn: Pools, tally: Tally) -> str:
    is_clock_known = random.random() < 0.7
    unix_ms = T0_MS + cabinet.now_ms
    clock = ClockQuality.NETWORK if is_clock_known else ClockQuality.UNKNOWN
    wrong = against(cabinet, sent, unix_ms if is_clock_known else None)
    try:
        admitted = cabinet.gate.admit(sent.sealed, TOPIC, cabinet.counters, cabinet.now_ms, unix_ms, clock)
    except (WireError, TrustError) as error:
        tally.refused[type(error).__name__] += 1
        return "" if wrong else f"not believed ({error}), and nothing is wrong with it"
    if not isinstance(admitted, Admitted):
        tally.refused[type(admitted).__name__] += 1
        return "" if wrong else f"{type(admitted).__name__}, and nothing is wrong with it"
    if wrong:
        return f"admitted, and {wrong}"
    if random.random() < 0.04:
        cabinet.restart()  # The power went before the counter was on disk: nothing was done.
        return ""
    cabinet.counters[admitted.kid] = admitted.counter
    if random.random() < 0.04:
        cabinet.restart()  # It went before anything was done: the command is lost, and must never come back.
        cabinet.acted.add((admitted.kid, admitted.counter))
        return ""
    return _carry_out(random, cabinet, admitted, sent, drawn, tally)


def _carry_out(random: Random, cabinet: Cabinet, admitted: Admitted, sent: Sent, drawn: Pools, tally: Tally) -> str:
    command = admitted.command({}.get)
    message = sent.message
    is_grammatical = (
        message.verb in VERBS
        and message.args.keys() == VERBS[message.verb][1].keys()
        and all(
            type(value) is int and low <= value <= high
            for value, (low, high) in zip(
                (message.args[name] for name in VERBS[message.verb][1]), VERBS[message.verb][1].values(), strict=True
            )
        )
    )
    if isinstance(command, Refused):
        tally.refused[command.rule] += 1
        return "" if not is_grammatical else f"{command}, and its grammar is right"
    if not is_grammatical:
        return f"taken for {command}, against the grammar"
    who = {person.kid: person for person in CAST}[message.issuer]
    if command.origin.role is not Role(who.role) or set(command.origin.subjects) != {p.subject for p in sent.signers}:
        return f"taken for a command of {command.origin}"
    standing = random.choice(drawn.standings)
    readings = drawn.readings.get(command.equipment, [None])
    seen = random.choice(readings)
    verdict = judge(command, drawn.site, seen, standing, drawn.now_ms)
    found = broken(command, drawn.site, seen, standing, drawn.now_ms)
    if isinstance(verdict, Approved) is bool(found):
        return f"{verdict}, promises broken: {found}"
    if isinstance(verdict, Refused):
        tally.refused[verdict.rule] += 1
        return ""
    tally.approved[type(command).__name__] += 1
    key = (admitted.kid, admitted.counter)
    if key in cabinet.acted:
        return "carried out a second time"
    cabinet.acted.add(key)
    return ""
