"""Whom to believe: the key list, signed by the offline root, and the ring that verifies with it.

A key is bound to a subject, a role, capabilities and a scope in the key list; nothing about a signer is taken from a
message. Order at ``KeyRing.open``: shape, key known, algorithm as registered, validity, signature, capability.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from agent.model.identity import CityId
from agent.wire import envelope
from agent.wire.envelope import ALGORITHMS, KID_BYTES_MAX, Parsed, PublicKey
from agent.wire.errors import (
    CapabilityError,
    EnvelopeError,
    KeyListError,
    MessageError,
    SignatureError,
    UnknownKeyError,
    WireError,
)
from agent.wire.messages import SCHEMA, Id, Milliseconds, decode
from agent.wire.roots import KeyId, Roots, Subject, follow, open_signed, public_key, read_bundle
from agent.wire.topics import Topic

KEYS_MAX = 20_000
EVERY_GATEWAY = "*"
COMMAND_CAPABILITIES = ("command:R1", "command:R2", "command:R3", "command:R4")
COMMISSION = "commission"
CAPABILITIES = ("up", "ack", "state", "desired", "roll", COMMISSION, *COMMAND_CAPABILITIES)
ROLES = ("agent", "guard", "director", "operator", "technician", "commissioner")
GUARD_CLASSES = ("safety", "result", "rotate")
"""The only classes of ``up`` a guard's key may sign; an agent's key may sign every other than ``safety``."""
GUARD_SUFFIX = "/guard"

# Capability -> (direction, class) of the topics it is for; None stands for every class.
_TOPICS: dict[str, tuple[str, str | None]] = {
    "up": ("up", None),
    "ack": ("down", "ack"),
    "desired": ("down", "desired"),
    "roll": ("down", "roll"),
    "state": ("fleet", "state"),
    COMMISSION: ("site", "facts"),
    **dict.fromkeys(COMMAND_CAPABILITIES, ("down", "cmd")),
}


class KeyEntry(Struct, array_like=True, frozen=True):
    """One key and everything it may do.

    Args:
        kid: at most 64 bytes of UTF-8, such as ``gw-darcy/agent/1``.
        public_key: 32 bytes for Ed25519; the 65-byte uncompressed point for ESP256.
        subject: a gateway, ``<gateway>/guard``, or a person. Two keys of one subject count once.
        role: one of ROLES.
        capabilities: of CAPABILITIES.
        scope: gateways it may speak for or to, or ``*``.
        not_before_ms: Unix time; checked only while the clock is known.
    """

    kid: KeyId
    algorithm: Annotated[int, Meta(ge=-19, le=-9)]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=65)]
    subject: Subject
    role: Id
    capabilities: tuple[Id, ...]
    scope: tuple[Id, ...]
    not_before_ms: Milliseconds
    not_after_ms: Milliseconds


class KeyList(Struct, array_like=True, frozen=True):
    """Every key of a city. Replaced as a whole, its version only rises.

    Args:
        expires_ms: from then on no command is believed. Streams, acks and states still are: losing the list's
            renewal must not lose records.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    city: Id
    version: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    issued_ms: Milliseconds
    expires_ms: Milliseconds
    keys: Annotated[list[KeyEntry], Meta(max_length=KEYS_MAX)]


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified message."""

    kid: str
    subject: str
    role: str
    payload: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class OpenedSet:
    """A verified command set.

    Args:
        signers: one entry per envelope, in the order of the set, which says nothing: nobody signed it.
    """

    payload: bytes
    signers: tuple[KeyEntry, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Distinct subjects, in the order of the set."""
        return tuple(dict.fromkeys(signer.subject for signer in self.signers))


def load_key_list(data: bytes, roots: Roots, held_version: int = 0) -> "KeyRing":
    """Verify a key list and make a ring of it.

    Args:
        data: a bundle, or a set of 1..3 envelopes by root keys.
        roots: the officers' keys we began with; the bundle's handovers lead on from there.
        held_version: the version in force, or 0; an older list is refused, the same version may be loaded again.

    Raises:
        KeyListError: malformed, below the threshold, of another city, or older than the one we hold.
    """
    try:
        payload, newest = open_signed(data, roots)
        key_list = decode(payload, KeyList)
    except (EnvelopeError, SignatureError, MessageError) as error:
        raise KeyListError(f"key list: {error}") from error
    if key_list.city != roots.city:
        raise KeyListError(f"a key list of {key_list.city}, we are in {roots.city}")
    if key_list.version < held_version:
        raise KeyListError(f"key list {key_list.version} is older than {held_version}, which we hold")
    return KeyRing(key_list, data, newest)


class KeyRing:
    """The keys of one key list, ready to verify with. Immutable; a newer list makes a new ring.

    Args:
        sealed: the key list as it was signed, for passing on. roots: who signed it; None if nobody looked.
    """

    def __init__(self, key_list: KeyList, sealed: bytes = b"", roots: Roots | None = None) -> None:
        self.city = CityId(key_list.city)
        self.version = key_list.version
        self.issued_ms = key_list.issued_ms
        self.expires_ms = key_list.expires_ms
        self.sealed = sealed
        self.roots = roots
        self._entries: dict[bytes, KeyEntry] = {}
        self._keys: dict[bytes, PublicKey] = {}
        for entry in key_list.keys:
            _check_entry(entry)
            kid = entry.kid.encode()
            if kid in self._entries:
                raise KeyListError(f"key {entry.kid} appears twice")
            self._entries[kid] = entry

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> Iterable[KeyEntry]:
        """Every key, in the order of the list."""
        return self._entries.values()

    def entry(self, kid: bytes) -> KeyEntry | None:
        """The key of that name."""
        return self._entries.get(kid)

    def is_expired(self, now_ms: int | None, earliest_ms: int = 0) -> bool:
        """True once the list should have been renewed; while the clock is unknown only if it surely should have been."""
        return (earliest_ms if now_ms is None else now_ms) > self.expires_ms

    def replaced_by(self, data: bytes, roots: Roots) -> "KeyRing":
        """Take over a newer key list.

        Args:
            roots: the officers' keys on disk: after a restart the list must be good by them alone.

        Raises:
            KeyListError: not a valid list, or older, or another list under the version we hold, or signed by officers
                who are not those we hold or their successors.
        """
        ring = load_key_list(data, roots, self.version)
        if self.roots is not None and ring.roots is not None:
            if ring.roots.version < self.roots.version:
                raise KeyListError(f"signed by the officers' keys {ring.roots.version}, which were replaced")
            try:
                newest = follow(self.roots, read_bundle(data).handovers)
            except (WireError, SignatureError) as error:
                raise KeyListError(f"key list {ring.version}: {error}") from error
            if not newest.is_same(ring.roots):
                raise KeyListError(f"key list {ring.version} is signed by others than the officers we know")
        if ring.version == self.version and list(ring.entries()) != list(self.entries()):
            raise KeyListError(f"two different key lists of version {self.version}: tell the officers")
        return ring

    def open(
        self, data: bytes, topic: Topic, capability: str, now_ms: int | None = None, *, is_checked: bool = False
    ) -> Opened:
        """Verify one envelope.

        Args:
            topic: where it arrived; it rebuilds the signed context.
            capability: what the signer must be allowed to do, of CAPABILITIES.
            now_ms: Unix time, or None while the clock is unknown.
            is_checked: the signature over these very bytes was found good for this topic and key ring before.

        Raises:
            EnvelopeError: not our profile.
            UnknownKeyError, SignatureError, CapabilityError: not to be believed.
        """
        parsed = envelope.parse(data)
        entry = self._verified(parsed, topic, now_ms, is_checked=is_checked)
        if not may(entry, capability, topic):
            raise CapabilityError(f"{entry.kid} may not sign {topic} as {capability}")
        return Opened(entry.kid, entry.subject, entry.role, parsed.payload, envelope.digest(data))

    def open_set(self, data: bytes, topic: Topic, now_ms: int | None = None, earliest_ms: int = 0) -> OpenedSet:
        """Verify a command set: every envelope by a key that may sign some command. The class is judged by the gate.

        Raises:
            EnvelopeError: not a set of our profile.
            UnknownKeyError, SignatureError, CapabilityError: at least one signer is not to be believed.
        """
        signers: list[KeyEntry] = []
        payload = b""
        for sealed in envelope.split_set(data):
            parsed = envelope.parse(sealed)
            entry = self._verified(parsed, topic, now_ms, earliest_ms)
            if (topic.direction, topic.message_class) != _TOPICS[COMMAND_CAPABILITIES[0]]:
                raise CapabilityError(f"a command on {topic}")
            if entry.role not in {"operator", "technician"} or not set(entry.capabilities) & set(COMMAND_CAPABILITIES):
                raise CapabilityError(f"{entry.kid} may not sign commands")
            signers.append(entry)
            payload = parsed.payload
        if self.is_expired(now_ms, earliest_ms):
            raise UnknownKeyError(f"key list {self.version} has expired: no command is believed until it is renewed")
        return OpenedSet(payload, tuple(signers))

    def _verified(
        self, parsed: Parsed, topic: Topic, now_ms: int | None, earliest_ms: int = 0, *, is_checked: bool = False
    ) -> KeyEntry:
        entry = self._entries.get(parsed.kid)
        if entry is None:
            raise UnknownKeyError(f"no key {parsed.kid[:64]!r} in key list {self.version}")
        if entry.algorithm != parsed.algorithm:
            raise SignatureError(f"{entry.kid} is not registered for algorithm {parsed.algorithm}")
        is_early = now_ms is not None and now_ms < entry.not_before_ms
        if is_early or (earliest_ms if now_ms is None else now_ms) > entry.not_after_ms:
            raise UnknownKeyError(f"{entry.kid} is outside its validity")
        if is_checked:
            return entry
        key = self._keys.get(parsed.kid)
        if key is None:  # Built on first use: a city has thousands of keys, a gateway meets a handful.
            try:
                key = public_key(entry.algorithm, entry.public_key)
            except ValueError as error:
                raise UnknownKeyError(f"{entry.kid}: {error}") from error
            self._keys[parsed.kid] = key
        envelope.verify(parsed, topic.aad, key)
        return entry


def may(entry: KeyEntry, capability: str, topic: Topic) -> bool:
    """True if this key may sign for this topic under this capability."""
    direction, message_class = _TOPICS[capability]
    if capability not in entry.capabilities or topic.direction != direction:
        return False
    if message_class is not None and topic.message_class != message_class:
        return False
    if direction == "up" and not _speaks_for(entry, topic):
        return False
    return direction == "fleet" or EVERY_GATEWAY in entry.scope or topic.gateway in entry.scope


def _speaks_for(entry: KeyEntry, topic: Topic) -> bool:
    """An agent never signs the safety stream: a hacked agent must not be able to forge the guard's records."""
    if entry.role == "guard":
        return entry.subject == topic.gateway + GUARD_SUFFIX and topic.message_class in GUARD_CLASSES
    return entry.role == "agent" and entry.subject == topic.gateway and topic.message_class != "safety"


def _check_entry(entry: KeyEntry) -> None:
    if entry.algorithm not in ALGORITHMS or len(entry.kid.encode()) > KID_BYTES_MAX:
        raise KeyListError(f"key {entry.kid}: unknown algorithm, or a key id over {KID_BYTES_MAX} bytes")
    if entry.role not in ROLES or not set(entry.capabilities) <= set(CAPABILITIES):
        raise KeyListError(f"key {entry.kid}: unknown role or capability")
