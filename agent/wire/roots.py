"""The officers' keys, which sign the key list, and how they hand over to the next ones.

A *handover* names the officers' keys N+1. It is good if enough officers of N signed it, and enough of N+1: the old ones
say who follows, the new ones that they hold their keys. A key list carries every handover since the first, so whoever
holds any N, however old, walks from there to the keys that signed the list.

Source: The Update Framework, specification 1.0.33, 5.3 (root N+1 is signed by thresholds of N and of N+1).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta, Struct

from agent.model.identity import CityId, GatewayId, is_id
from agent.wire import envelope
from agent.wire.envelope import (
    ALGORITHMS,
    ED25519,
    ENVELOPE_BYTES_MAX,
    KID_BYTES_MAX,
    SIGNATURE_BYTES,
    SIGNATURES_PER_SET_MAX,
    Parsed,
    PublicKey,
)
from agent.wire.errors import EnvelopeError, KeyListError, SignatureError
from agent.wire.messages import SCHEMA, Id, Milliseconds, decode
from agent.wire.topics import Topic

KEY_LIST_BYTES_MAX = ENVELOPE_BYTES_MAX - 1_024
"""So that a list fits into a packet, and into a frame between two processes, with room for what is around it."""
HANDOVERS_MAX = 256
"""python-tuf's bound, after clients that had been off for years (python-tuf #2675)."""
ANCHORS_MAX = 16

KeyId = Annotated[str, Meta(min_length=1, max_length=KID_BYTES_MAX)]
Subject = Annotated[str, Meta(min_length=1, max_length=80)]
Version = Annotated[int, Meta(ge=1, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Anchor:
    """One root key, held offline by an officer of the city."""

    kid: bytes
    algorithm: int
    public_key: bytes
    subject: str


@dataclass(frozen=True, slots=True)
class Roots:
    """Who may sign the key list.

    Args:
        threshold: that many distinct subjects must have signed.
        version: 1, 2, 3 ...; rises by one with each change of these keys.
    """

    city: CityId
    threshold: int
    anchors: tuple[Anchor, ...]
    version: int = 1

    def is_same(self, other: "Roots") -> bool:
        """True if the same keys, in whatever order, may sign under the same threshold."""
        mine, theirs = (self.city, self.threshold, self.version), (other.city, other.threshold, other.version)
        return mine == theirs and set(self.anchors) == set(other.anchors)


class AnchorEntry(Struct, array_like=True, frozen=True):
    """One officer's key in a handover."""

    kid: KeyId
    algorithm: Annotated[int, Meta(ge=-19, le=-9)]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=65)]
    subject: Subject


class Handover(Struct, array_like=True, frozen=True):
    """The officers' keys ``version``, which follow ``version - 1``."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    city: Id
    version: Annotated[int, Meta(ge=2, le=2**63 - 1)]
    threshold: Annotated[int, Meta(ge=1, le=SIGNATURES_PER_SET_MAX)]
    anchors: Annotated[list[AnchorEntry], Meta(min_length=1, max_length=ANCHORS_MAX)]
    issued_ms: Milliseconds


class Signature(Struct, array_like=True, frozen=True):
    """What an envelope has beside its payload."""

    kid: KeyId
    algorithm: Annotated[int, Meta(ge=-19, le=-9)]
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class Signed(Struct, array_like=True, frozen=True):
    """A payload once, with all signatures of it."""

    payload: bytes
    signatures: Annotated[list[Signature], Meta(min_length=1, max_length=2 * SIGNATURES_PER_SET_MAX)]


class Bundle(Struct, array_like=True, frozen=True):
    """A key list as it travels and lies on disk.

    Args:
        handovers: every one there was, oldest first.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    handovers: Annotated[list[Signed], Meta(max_length=HANDOVERS_MAX)]
    key_list: Signed


def key_list_topic(city: CityId) -> Topic:
    """The context a key list is signed for: the same bytes are good for every gateway."""
    return Topic(city, GatewayId("fleet"), "fleet", "keys")


def roots_topic(city: CityId) -> Topic:
    """The context a handover is signed for."""
    return Topic(city, GatewayId("fleet"), "fleet", "roots")


def public_key(algorithm: int, raw: bytes) -> PublicKey:
    """Build a key from the bytes of a key list.

    Raises:
        ValueError: not a key of that algorithm.
    """
    try:
        if algorithm == ED25519:
            return Ed25519PublicKey.from_public_bytes(raw)
        if len(raw) != 65:
            raise ValueError("an ESP256 key is an uncompressed point of 65 bytes")
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except UnsupportedAlgorithm as error:
        raise ValueError(f"unsupported key: {error}") from error


def read_roots(text: str) -> Roots:
    """Read ``roots.toml``: ``city``, ``threshold``, ``version`` (1 if missing) and ``[[anchor]]`` with kid, algorithm,
    public_key (hex), subject.

    Raises:
        KeyListError: not a root file; says which field.
    """
    try:
        table = tomllib.loads(text)
        anchors = tuple(_anchor(each) for each in table["anchor"])
        city, threshold, version = table["city"], table["threshold"], table.get("version", 1)
        if not isinstance(city, str) or type(threshold) is not int or type(version) is not int:
            raise ValueError("city, threshold or version: of the wrong type")
        roots = Roots(CityId(city), threshold, anchors, version)
        _check(roots)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise KeyListError(f"not a file of root keys: {error}") from error
    return roots


def read_anchor(text: str) -> Anchor:
    """Read the public half of one key, as ``anchor_toml`` writes it.

    Raises:
        KeyListError: it is none, or there are several.
    """
    try:
        (table,) = tomllib.loads(text)["anchor"]
        return _anchor(table)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise KeyListError(f"not the public half of one key: {error}") from error


def anchor_toml(anchor: Anchor) -> str:
    """The public half of one key, as ``roots.toml`` has it."""
    return f"""[[anchor]]
kid = "{anchor.kid.decode()}"
algorithm = {anchor.algorithm}
public_key = "{anchor.public_key.hex()}"
subject = "{anchor.subject}"
"""


def _anchor(table: Mapping[str, object]) -> Anchor:
    kid, algorithm, raw, subject = (table[name] for name in ("kid", "algorithm", "public_key", "subject"))
    if not (isinstance(kid, str) and isinstance(raw, str) and isinstance(subject, str) and type(algorithm) is int):
        raise ValueError("anchor: a field of the wrong type")
    if algorithm not in ALGORITHMS or not 0 < len(kid.encode()) <= KID_BYTES_MAX:
        raise ValueError(f"anchor {kid!r}: unknown algorithm, or a key id that is not 1..64 bytes")
    anchor = Anchor(kid.encode(), algorithm, bytes.fromhex(raw), subject)
    public_key(algorithm, anchor.public_key)
    return anchor


def _check(roots: Roots) -> None:
    if not is_id(roots.city):
        raise ValueError(f"city: not an id: {roots.city!r}")
    most = min(len({anchor.subject for anchor in roots.anchors}), SIGNATURES_PER_SET_MAX)
    if not 1 <= roots.threshold <= most:
        raise ValueError(f"threshold: expected 1..{most}, found {roots.threshold!r}")
    if roots.version < 1:
        raise ValueError(f"version: expected 1 or more, found {roots.version!r}")
    if len({anchor.kid for anchor in roots.anchors}) < len(roots.anchors):
        raise ValueError("anchor: one key id twice")


def roots_of(handover: Handover) -> Roots:
    """The officers' keys a handover names.

    Raises:
        KeyListError: they could sign nothing.
    """
    try:
        anchors = tuple(
            Anchor(each.kid.encode(), each.algorithm, each.public_key, each.subject) for each in handover.anchors
        )
        roots = Roots(CityId(handover.city), handover.threshold, anchors, handover.version)
        _check(roots)
        for anchor in anchors:
            if anchor.algorithm not in ALGORITHMS or len(anchor.kid) > KID_BYTES_MAX:
                raise ValueError(f"anchor {anchor.kid!r}: unknown algorithm, or a key id over {KID_BYTES_MAX} bytes")
            public_key(anchor.algorithm, anchor.public_key)
    except ValueError as error:
        raise KeyListError(f"handover to the officers' keys {handover.version}: {error}") from error
    return roots


def handover_to(roots: Roots, issued_ms: int) -> Handover:
    """The handover that names these keys."""
    entries = [AnchorEntry(each.kid.decode(), each.algorithm, each.public_key, each.subject) for each in roots.anchors]
    return Handover(SCHEMA, roots.city, roots.version, roots.threshold, entries, issued_ms)


def read_bundle(data: bytes) -> Bundle:
    """Read a key list in either form; a bare set of envelopes is one without handovers. Nothing is verified.

    Raises:
        EnvelopeError, MessageError: it is neither.
    """
    if len(data) > KEY_LIST_BYTES_MAX:
        raise EnvelopeError(f"a key list of {len(data)} bytes, at most {KEY_LIST_BYTES_MAX} are accepted")
    if data[:1] in {b"\x81", b"\x82", b"\x83"}:
        return Bundle(SCHEMA, [], signed_of(envelope.split_set(data)))
    return decode(data, Bundle)


def signed_of(envelopes: Sequence[bytes]) -> Signed:
    """Envelopes over one payload, with the payload once.

    Raises:
        EnvelopeError: none at all, over different payloads, or by a key whose name is no text.
    """
    parsed = [envelope.parse(each) for each in envelopes]
    if len({each.payload for each in parsed}) != 1:
        raise EnvelopeError("signatures of different documents")
    try:
        signatures = {each.kid: Signature(each.kid.decode(), each.algorithm, each.signature) for each in parsed}
    except UnicodeDecodeError as error:
        raise EnvelopeError("a key id that is no text") from error
    return Signed(parsed[0].payload, list(signatures.values()))


def follow(held: Roots, handovers: Sequence[Signed]) -> Roots:
    """Walk from the officers' keys we hold to the newest.

    Args:
        held: of any version; handovers up to it are skipped, but the one that names it must name these very keys.

    Raises:
        KeyListError: a handover is missing, or of another city, or contradicts what we hold.
        SignatureError, MessageError: one is not signed as it must be, or cannot be read.
    """
    newest, before = held, 0
    for signed in handovers:
        handover = decode(signed.payload, Handover)
        named = roots_of(handover)
        if named.city != held.city:
            raise KeyListError(f"officers' keys of {named.city}, we are in {held.city}")
        if before and named.version != before + 1:
            raise KeyListError(f"officers' keys {named.version} behind {before}: a handover is missing")
        before = named.version
        if named.version == held.version and not named.is_same(held):
            raise KeyListError(f"two different sets of officers' keys {held.version}: tell the officers")
        if named.version <= held.version:
            continue
        if named.version != newest.version + 1:
            raise KeyListError(f"officers' keys {named.version}, we hold {newest.version}: a handover is missing")
        _check_handover(signed, newest, named)
        newest = named
    return newest


def open_signed(data: bytes, held: Roots) -> tuple[bytes, Roots]:
    """Verify a key list's signatures; return its payload, and the officers' keys that signed it.

    Raises:
        EnvelopeError, MessageError: not a key list.
        KeyListError, SignatureError: not signed as it must be.
    """
    bundle = read_bundle(data)
    newest = follow(held, bundle.handovers)
    signers = verified(bundle.key_list, key_list_topic(held.city), newest.anchors)
    _check_threshold(signers, newest)
    return bundle.key_list.payload, newest


def verified(signed: Signed, topic: Topic, anchors: Sequence[Anchor]) -> set[Anchor]:
    """The officers who signed.

    Raises:
        SignatureError: one signature is by nobody of them, or does not match.
        EnvelopeError: one could stand in no envelope.
    """
    by_kid = {anchor.kid: anchor for anchor in anchors}
    found = set()
    for each in signed.signatures:
        anchor = by_kid.get(each.kid.encode())
        if anchor is None or anchor.algorithm != each.algorithm:
            raise SignatureError(f"signed by {each.kid}, which is no root")
        if anchor in found:
            raise EnvelopeError("one key signed twice")
        parsed = Parsed.of(each.algorithm, anchor.kid, signed.payload, each.signature)
        envelope.verify(parsed, topic.aad, public_key(anchor.algorithm, anchor.public_key))
        found.add(anchor)
    return found


def _check_handover(signed: Signed, old: Roots, new: Roots) -> None:
    kept = {anchor.kid: anchor for anchor in old.anchors}
    if any(kept.get(anchor.kid, anchor) != anchor for anchor in new.anchors):
        raise KeyListError(f"officers' keys {new.version}: a key id stands for another key than before")
    signers = verified(signed, roots_topic(old.city), list({*old.anchors, *new.anchors}))
    _check_threshold(signers & set(old.anchors), old)
    _check_threshold(signers & set(new.anchors), new)


def _check_threshold(signers: set[Anchor], roots: Roots) -> None:
    subjects = {anchor.subject for anchor in signers}
    if len(subjects) < roots.threshold:
        raise SignatureError(
            f"signed by {len(subjects)} of the {roots.threshold} officers needed (officers' keys {roots.version})"
        )
