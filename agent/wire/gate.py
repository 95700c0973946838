"""The gate every signed command passes before the kernel sees it. Sans-IO: guard and agent each have one.

Order: signatures -> the issuer named is one of them -> issuer's counter -> capability and scope -> nonce -> not_after -> *the caller stores the counter,
with fsync* -> grammar -> precondition -> kernel. A crash after the counter is stored loses the command; nothing
repeats one.

What comes from an unknown party is an exception, counted by its reason, and gets no answer. What a known party signed
gets an outcome, also when it is refused.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.model.command import COMMAND_CLASS, Command, CommandClass, Origin, Role
from agent.model.identity import GatewayId
from agent.model.observation import ClockQuality, Scalar
from agent.safety.verdict import Refused
from agent.wire import envelope
from agent.wire.errors import MessageError, SignatureError
from agent.wire.messages import NONCE_BYTES, CommandMessage, decode
from agent.wire.topics import Topic
from agent.wire.trust import EVERY_GATEWAY, KeyEntry, KeyRing, OpenedSet
from agent.wire.verbs import class_of, command_of

NONCE_PERIOD_MS = 30_000
"""Nonces rotate every 30 s, the last two are good: a command is fresh for 30..60 s (sync.md 3.5)."""
LIFETIME_MS_MAX = 30_000
"""A command that names a later end than this was made to lie in wait (signals.md 8.3)."""
REMEMBERED_MAX = 1024
"""Commands admitted within one nonce's life. Each is remembered that long, so that no second delivery, not even one
with its signatures in another order, is taken for a new command. People do not give seventeen commands a second."""

_CLASS_NAMES = {
    CommandClass.R1_BOUNDED: "command:R1",
    CommandClass.R2_SITUATIONAL: "command:R2",
    CommandClass.R3_DEGRADING: "command:R3",
    CommandClass.R4_CONFIGURATION: "command:R4",
}


class Nonces:
    """Freshness without trusting anybody's clock: a command must name a value we published less than a minute ago.

    Args:
        entropy: gives that many unpredictable bytes (``os.urandom``).
        now_ms: monotonic.
    """

    def __init__(self, entropy: Callable[[int], bytes], now_ms: int) -> None:
        self._entropy = entropy
        self._since_ms = now_ms
        self._current = entropy(NONCE_BYTES)
        self._previous: bytes | None = None

    def current(self, now_ms: int) -> bytes:
        """The nonce to publish now."""
        self._rotate(now_ms)
        return self._current

    def is_fresh(self, nonce: bytes, now_ms: int) -> bool:
        """True if ``nonce`` is one of the last two."""
        self._rotate(now_ms)
        return nonce in {self._current, self._previous}

    def _rotate(self, now_ms: int) -> None:
        periods = (now_ms - self._since_ms) // NONCE_PERIOD_MS
        if periods <= 0:
            return
        self._previous = self._current if periods == 1 else None  # After a longer sleep the old one is too old.
        self._current = self._entropy(NONCE_BYTES)
        self._since_ms += periods * NONCE_PERIOD_MS


@dataclass(frozen=True, slots=True)
class Admitted:
    """Authentic, fresh and never seen: store the counter durably, then ask ``command``.

    Args:
        kid: the issuer's key, whose counter must be stored.
    """

    message: CommandMessage
    origin: Origin
    kid: str
    counter: int

    def command(self, value_of: Callable[[str], Scalar]) -> Command | Refused:
        """Apply the precondition and the grammar. Call it after the counter is on disk.

        Args:
            value_of: a point's present value by name; None when there is none to be believed.
        """
        command = command_of(self.message.verb, self.message.equipment, self.message.args, self.origin)
        if isinstance(command, Refused):
            return command
        return unmet(self.message, value_of) or command


def unmet(message: CommandMessage, value_of: Callable[[str], Scalar]) -> Refused | None:
    """Why a command's precondition does not hold, None if it does or has none.

    Args:
        value_of: as in ``Admitted.command``.
    """
    if message.expect_point is None:
        return None
    found = value_of(message.expect_point)
    if found is not None and found == message.expect_value:
        return None
    expected = f"{message.expect_point} was expected to be {message.expect_value!r:.60}"
    return Refused("SR-25", f"{expected}, it is {'not known' if found is None else repr(found)[:60]}")


@dataclass(frozen=True, slots=True)
class Declined:
    """A known party's command that goes no further.

    Args:
        ended: how its outcome reads.
    """

    message: CommandMessage
    origin: Origin
    kid: str
    ended: Literal["refused", "expired"]
    refused: Refused


@dataclass(frozen=True, slots=True)
class Repeated:
    """A second delivery of a command admitted before. It has its outcome already or will get it: send no other one."""

    message: CommandMessage
    kid: str


class CommandGate:
    """One executor's gate.

    Args:
        ring: may be replaced at any time by a newer one.
    """

    def __init__(self, ring: KeyRing, nonces: Nonces) -> None:
        self.ring = ring
        self.nonces = nonces
        self._admitted: OrderedDict[bytes, int] = OrderedDict()  # Digest of the payload -> when, oldest first.

    def use(self, ring: KeyRing) -> None:
        """Believe by another key list from now on."""
        self.ring = ring

    def admit(
        self,
        data: bytes,
        topic: Topic,
        counters: Mapping[str, int],
        now_ms: int,
        unix_ms: int,
        clock: ClockQuality,
        earliest_ms: int = 0,
    ) -> Admitted | Declined | Repeated:
        """Judge authenticity and freshness of one sealed command.

        Args:
            data: a set of one to three envelopes.
            topic: ``down/cmd`` of this gateway.
            counters: issuer kid -> newest counter stored; an absent kid counts as 0.
            now_ms: monotonic. unix_ms: by the gateway's clock, believed only if ``clock`` is known.
            earliest_ms: it is not before this: keys that had expired then are expired, whatever the clock says.

        Raises:
            WireError: not a command. Nothing was done, nobody is answered.
            TrustError: not from a key that may command. Nothing was done, nobody is answered.
        """
        is_clock_known = clock is not ClockQuality.UNKNOWN
        opened = self.ring.open_set(data, topic, unix_ms if is_clock_known else None, earliest_ms)
        message = decode(opened.payload, CommandMessage)
        if message.gateway != topic.gateway:
            raise MessageError(f"a command for {message.gateway} on {topic}")
        issuer = _issuer(message, opened)
        # One person with two keys counts once, and the issuer comes first wherever the courier put the envelope.
        subjects = tuple(dict.fromkeys((issuer.subject, *opened.subjects)))
        keys = tuple((signer.kid, signer.public_key) for signer in opened.signers)
        origin = Origin(Role(issuer.role), subjects, keys)
        token = envelope.digest(opened.payload)
        self._forget(now_ms)
        if token in self._admitted:
            return Repeated(message, issuer.kid)

        refusal = _used_up(message, counters.get(issuer.kid, 0)) or _out_of_bounds(message, opened, topic)
        if refusal is None and len(self._admitted) >= REMEMBERED_MAX:
            refusal = Refused("SR-25", f"more than {REMEMBERED_MAX} commands within a minute")
        if refusal is not None:
            return Declined(message, origin, issuer.kid, "refused", refusal)
        if not self.nonces.is_fresh(message.nonce, now_ms):
            reason = "its nonce is not one of the last two: too late, or made for another process or another start"
            return Declined(message, origin, issuer.kid, "expired", Refused("SR-25", reason))
        if is_clock_known and message.not_after_ms - unix_ms > LIFETIME_MS_MAX:
            left_s = (message.not_after_ms - unix_ms) / 1000
            reason = f"it would be good for another {left_s:.1f} s, at most {LIFETIME_MS_MAX // 1000} s are allowed"
            return Declined(message, origin, issuer.kid, "refused", Refused("SR-25", reason))
        if is_clock_known and unix_ms > message.not_after_ms:
            late_s = (unix_ms - message.not_after_ms) / 1000
            return Declined(
                message, origin, issuer.kid, "expired", Refused("SR-25", f"it came {late_s:.1f} s too late")
            )

        self._admitted[token] = now_ms
        return Admitted(message, origin, issuer.kid, message.counter)

    def _forget(self, now_ms: int) -> None:
        """Drop what no fresh nonce can bring back."""
        while self._admitted and now_ms - next(iter(self._admitted.values())) > 2 * NONCE_PERIOD_MS:
            self._admitted.popitem(last=False)


def revoked(ring: KeyRing, command: Command, gateway: GatewayId, known_ms: int | None, earliest_ms: int) -> str:
    """Why nothing may be held any more by a command that was admitted; empty if each of its keys could sign it today.

    Args:
        known_ms, earliest_ms: as the gate has them: Unix time, None if it is unknown; and what it surely is not before.
    """
    for kid, public_key in command.origin.keys:
        entry = ring.entry(kid.encode())
        if entry is None or entry.public_key != public_key or entry.role not in (Role.OPERATOR, Role.TECHNICIAN):
            return f"its key was revoked: {kid} commands no more by key list {ring.version}"
        if (earliest_ms if known_ms is None else known_ms) > entry.not_after_ms:
            return f"its key was revoked: {kid} is no longer valid"
        if why := _beyond(entry, COMMAND_CLASS[type(command)], gateway):
            return f"its key was revoked: {why}"
    return ""


def _issuer(message: CommandMessage, opened: OpenedSet) -> KeyEntry:
    """The signer whom the signed message names: who carries a set could put its envelopes into any order."""
    named = [signer for signer in opened.signers if signer.kid == message.issuer]
    if len(named) != 1:
        raise SignatureError(f"{message.issuer} is named as the issuer and has not signed")
    return named[0]


def _used_up(message: CommandMessage, stored: int) -> Refused | None:
    if message.counter > stored:
        return None
    return Refused("SR-25", f"counter {message.counter} is not above {stored}: replayed, or overtaken by a later one")


def _out_of_bounds(message: CommandMessage, opened: OpenedSet, topic: Topic) -> Refused | None:
    """Capability and scope of every signer. An unknown verb needs none beyond commanding: the grammar refuses it."""
    command_class = class_of(message.verb)
    for signer in opened.signers:
        if why := _beyond(signer, command_class, topic.gateway):
            return Refused("SR-25", why)
    return None


def _beyond(signer: KeyEntry, command_class: CommandClass | None, gateway: GatewayId) -> str:
    if EVERY_GATEWAY not in signer.scope and gateway not in signer.scope:
        return f"{signer.subject} may not command {gateway}"
    if command_class is not None and _CLASS_NAMES[command_class] not in signer.capabilities:
        return f"{signer.subject} may not sign what is of class R{int(command_class)}"
    return ""
