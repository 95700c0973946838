"""Enrolment: how a new gateway's keys become known. Pure; docs/wire.md §12 has the bytes.

Both kinds of keys are made in the cabinet. The TLS key signs the certificate request (PKCS #10); the request carries a
*statement* that names the TLS key and is signed by every signing key it introduces. So each key proves that it is held,
and none can be exchanged. A one-time code, told by another way, proves both ends to each other and is never sent itself.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from agent.model.identity import CityId, GatewayId
from agent.wire import envelope
from agent.wire.errors import MessageError, SignatureError
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, Hash, Id, Milliseconds, decode, encode
from agent.wire.roots import KeyId, public_key
from agent.wire.topics import Topic
from agent.wire.trust import KeyRing

STATEMENT_OID = "2.25.114544791498724007636169107067981560261"
"""Of the request's attribute that holds the statement, base64. Made from a name-based UUID: nobody had to register it."""
CODE_BYTES = 16
CODE_LIFE_MS = 3_600_000
WORDS = 6
ROLES = ("agent", "guard")
SERIAL_LENGTH_MAX = 64
Serial = Annotated[str, Meta(max_length=SERIAL_LENGTH_MAX)]
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aiou"


class SigningKey(Struct, array_like=True, frozen=True):
    """A signing key a gateway introduces.

    Args:
        role: ``agent`` or ``guard``.
    """

    kid: KeyId
    algorithm: Annotated[int, Meta(ge=-19, le=-9)]
    public_key: Annotated[bytes, Meta(min_length=32, max_length=65)]
    role: Id


class Statement(Struct, array_like=True, frozen=True):
    """What a gateway says of its keys.

    Args:
        tls_key: SHA-256 of the TLS key's SubjectPublicKeyInfo, DER.
        keys: the signing keys it introduces; none when only the TLS key is renewed.
        made_ms: Unix time by the gateway's clock; makes two statements differ, decides nothing.
        serial: of the device, as the technician or the machine says; empty if nobody does.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    city: Id
    gateway: Id
    tls_key: Hash
    keys: Annotated[list[SigningKey], Meta(max_length=len(ROLES))]
    made_ms: Milliseconds
    serial: Serial = ""


class Rotation(Struct, array_like=True, frozen=True):
    """New signing keys of a gateway that has some, said by those it has.

    Args:
        statement: a set, as for an enrolment, by each of the new keys. endorsements: envelopes over its SHA-256 by the
            registered keys of the same roles.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    statement: bytes
    endorsements: Annotated[list[bytes], Meta(min_length=1, max_length=len(ROLES))]


class Papers(Struct, frozen=True):
    """What an enrolled gateway gets: whom to believe, and its certificate.

    Args:
        roots: roots.toml. keys: keys.sealed. ca, certificate: PEM; the certificate with its issuer's behind it.
    """

    roots: str
    keys: bytes
    ca: str
    certificate: str


def statement_topic(city: str, gateway: str) -> Topic:
    """The context a statement is signed for. No broker carries it: the class is none of MQTT's."""
    return Topic(CityId(city), GatewayId(gateway), "up", "enrol")


def rotation_topic(city: str, gateway: str) -> Topic:
    """The context registered keys endorse new ones for."""
    return Topic(CityId(city), GatewayId(gateway), "up", "rotate")


def kid_of(gateway: str, role: str, raw_public_key: bytes) -> str:
    """A key's name that no other key will have: ``gw-darcy/agent/5f0c1de2``."""
    return f"{gateway}/{role}/{hashlib.sha256(raw_public_key).hexdigest()[:8]}"


def make_statement(
    city: str, gateway: str, tls_key: bytes, signers: dict[str, Signer], now_ms: int, serial: str = ""
) -> bytes:
    """State the keys of a new gateway, signed by each of them.

    Args:
        tls_key: SubjectPublicKeyInfo, DER. signers: by role.
    """
    keys = [SigningKey(each.kid.decode(), each.algorithm, each.public_key, role) for role, each in signers.items()]
    payload = encode(Statement(SCHEMA, city, gateway, hashlib.sha256(tls_key).digest(), keys, now_ms, serial))
    topic = statement_topic(city, gateway)
    return envelope.join_set([each.seal(payload, topic) for each in signers.values()])


def make_renewal(city: str, gateway: str, tls_key: bytes, agent: Signer, now_ms: int) -> bytes:
    """State a new TLS key, signed by the agent's registered key."""
    statement = Statement(SCHEMA, city, gateway, hashlib.sha256(tls_key).digest(), [], now_ms)
    return agent.seal(encode(statement), statement_topic(city, gateway))


def make_rotation(statement: bytes, city: str, gateway: str, registered: Sequence[Signer]) -> bytes:
    """Endorse a statement of new keys by the keys they follow."""
    digest, topic = hashlib.sha256(statement).digest(), rotation_topic(city, gateway)
    return encode(Rotation(SCHEMA, statement, [each.seal(digest, topic) for each in registered]))


def is_rotation(sealed: bytes) -> bool:
    """True for a rotation, False for a renewal: their first bytes differ."""
    return sealed[:1] == b"\x93"


def open_rotation(data: bytes, ring: KeyRing, city: str, gateway: str, tls_key: bytes, now_ms: int) -> Statement:
    """Verify that new keys are said by themselves and by the registered key of each role.

    Raises:
        WireError: not a rotation.
        TrustError: a key did not sign that should have.
    """
    rotation = decode(data, Rotation)
    statement = open_statement(rotation.statement, city, gateway, tls_key)
    topic, endorsing = rotation_topic(city, gateway), set()
    for each in rotation.endorsements:
        opened = ring.open(each, topic, "up", now_ms)
        if opened.payload != hashlib.sha256(rotation.statement).digest():
            raise SignatureError(f"{opened.kid} endorses another statement")
        endorsing.add(opened.role)
    missing = {key.role for key in statement.keys} - endorsing
    if missing:
        raise SignatureError(f"the registered key of the {' and the '.join(sorted(missing))} has not signed")
    return statement


def open_statement(sealed: bytes, city: str, gateway: str, tls_key: bytes) -> Statement:
    """Verify that every key of a statement signed it, and nobody else.

    Raises:
        EnvelopeError, MessageError: not a statement.
        SignatureError: a key did not sign, a stranger did, or it is about another gateway or TLS key.
    """
    parsed = [envelope.parse(each) for each in envelope.split_set(sealed)]
    statement = decode(parsed[0].payload, Statement)
    check_subject(statement, city, gateway, tls_key)
    roles = [key.role for key in statement.keys]
    if not roles or len(set(roles)) != len(roles) or not set(roles) <= set(ROLES) or "agent" not in roles:
        raise MessageError("a statement introduces an agent's key and at most a guard's")
    by_kid = {key.kid.encode(): key for key in statement.keys}
    if [each.kid for each in parsed] != list(by_kid) or any(each.payload != parsed[0].payload for each in parsed):
        raise SignatureError("a statement is signed by each of its keys, in their order, and by no other")
    for each in parsed:
        key = by_kid[each.kid]
        if key.algorithm != each.algorithm or key.kid != kid_of(gateway, key.role, key.public_key):
            raise SignatureError(f"{key.kid} is not the name of this key")
        try:
            verifier = public_key(key.algorithm, key.public_key)
        except ValueError as error:
            raise MessageError(f"{key.kid}: {error}") from error
        envelope.verify(each, statement_topic(city, gateway).aad, verifier)
    return statement


def check_subject(statement: Statement, city: str, gateway: str, tls_key: bytes) -> None:
    """Check that a statement is about this gateway and this TLS key.

    Raises:
        SignatureError: it is not.
    """
    if (statement.city, statement.gateway) != (city, gateway):
        raise SignatureError(f"a statement of {statement.gateway} in {statement.city}, not of {gateway} in {city}")
    if statement.tls_key != hashlib.sha256(tls_key).digest():
        raise SignatureError("the statement is about another TLS key than the request's")


def words(sealed: bytes) -> str:
    """Six words for a statement, the same at both ends, for people to compare: 96 bits of its payload's SHA-256.

    Source: the proquint alphabet, 16 bits to a pronounceable word of five letters.

    Raises:
        EnvelopeError: not a set of envelopes.
    """
    digest = hashlib.sha256(envelope.parse(envelope.split_set(sealed)[0]).payload).digest()
    return " ".join(_word(int.from_bytes(digest[2 * n : 2 * n + 2], "big")) for n in range(WORDS))


def show_code(code: bytes) -> str:
    """A one-time code as it is read out: ``abcde-fghij-...``."""
    text = base64.b32encode(code).decode().rstrip("=").lower()
    return "-".join(text[n : n + 5] for n in range(0, len(text), 5))


def read_code(text: str) -> bytes:
    """Read a one-time code; case, spaces and dashes do not matter.

    Raises:
        MessageError: not a code.
    """
    letters = "".join(text.split()).replace("-", "").upper()
    try:
        code = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError as error:
        raise MessageError("a code is 26 letters and digits 2 to 7") from error
    if len(code) != CODE_BYTES:
        raise MessageError(f"a code is 26 letters and digits 2 to 7, this has {len(letters)}")
    return code


def request_proof(code: bytes, request: bytes) -> str:
    """What shows that who sends this request (DER) holds the code."""
    return hmac.new(code, b"armoire enrolment request\0" + request, hashlib.sha256).hexdigest()


def papers_proof(code: bytes, request: bytes, body: bytes) -> str:
    """What shows that who answers this request with this body holds the code."""
    message = b"armoire enrolment papers\0" + hashlib.sha256(request).digest() + body
    return hmac.new(code, message, hashlib.sha256).hexdigest()


def is_proof(given: str, expected: str) -> bool:
    """Compare two proofs in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


def renewal_at_ms(not_before_ms: int, not_after_ms: int, serial: int) -> int:
    """When to renew a certificate: between half and two thirds of its life, spread by its serial number.

    Gateways that were enrolled on one day must not all come back on one.
    """
    life_ms = not_after_ms - not_before_ms
    spread = int.from_bytes(hashlib.sha256(str(serial).encode()).digest()[:4], "big") / 2**32
    return not_before_ms + life_ms // 2 + int(life_ms / 6 * spread)


def _word(number: int) -> str:
    shifts: Sequence[tuple[str, int]] = (
        (_CONSONANTS, 12), (_VOWELS, 10), (_CONSONANTS, 6), (_VOWELS, 4), (_CONSONANTS, 0),
    )  # fmt: skip
    return "".join(letters[number >> shift & (len(letters) - 1)] for letters, shift in shifts)
