"""SNMP v1 and v2c messages: bytes in, messages out. No I/O.

Source: RFC 1157 §4, RFC 3416 §3 (PDU), X.690 (BER, definite lengths only). Own code: the agent under
test must put error-index where the standard says, and must share nothing with the manager that polls it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

INTEGER, OCTETS, NULL, OBJECT_ID, SEQUENCE, COUNTER = 0x02, 0x04, 0x05, 0x06, 0x30, 0x41
NO_SUCH_OBJECT, NO_SUCH_INSTANCE, END_OF_MIB = 0x80, 0x81, 0x82
GET, GET_NEXT, RESPONSE, SET, GET_BULK = 0xA0, 0xA1, 0xA2, 0xA3, 0xA5
V1, V2C = 0, 1
REQUESTS: Final = frozenset({GET, GET_NEXT, SET, GET_BULK})
VARBINDS_MAX = 256
OID_ARCS_MAX = 128
OIDS_KEPT = 1024

Oid = tuple[int, ...]


class MessageError(ValueError):
    """The datagram is not an SNMP v1 or v2c request. Nobody is owed an answer."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it stands on the wire."""

    tag: int
    content: bytes = b""

    def as_int(self) -> int:
        """Return a whole number; only for tags that hold one."""
        return int.from_bytes(self.content, "big", signed=self.tag == INTEGER)


@dataclass(frozen=True, slots=True)
class Message:
    """A request or response. ``status`` and ``index`` are non-repeaters and max-repetitions in GETBULK."""

    version: int
    community: bytes
    kind: int
    request_id: int
    varbinds: tuple[tuple[Oid, Value], ...]
    status: int = 0
    index: int = 0


def integer(number: int) -> Value:
    """Make an INTEGER."""
    return Value(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def counter(number: int) -> Value:
    """Make a Counter32."""
    return Value(COUNTER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def octets(data: bytes) -> Value:
    """Make an OCTET STRING."""
    return Value(OCTETS, data)


class _Reader:
    """Takes tag-length-value fields off a buffer."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._data)

    def take(self, expected: int | None = None) -> Value:
        """Take one field, of the expected tag if one is given."""
        if self._at + 2 > len(self._data):
            raise MessageError("message ends within a field")
        tag, length = self._data[self._at], self._data[self._at + 1]
        self._at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or self._at + size > len(self._data):
                raise MessageError("length is indefinite or too long")
            length = int.from_bytes(self._data[self._at : self._at + size], "big")
            self._at += size
        if expected is not None and tag != expected:
            raise MessageError(f"expected tag {expected:#04x}, got {tag:#04x}")
        if self._at + length > len(self._data):
            raise MessageError("field is longer than the message")
        content = self._data[self._at : self._at + length]
        self._at += length
        return Value(tag, content)

    def take_int(self) -> int:
        """Take an INTEGER of at most eight bytes."""
        value = self.take(INTEGER)
        if not 1 <= len(value.content) <= 8:
            raise MessageError("integer has no bytes, or more than eight")
        return value.as_int()


def decode(datagram: bytes) -> Message:
    """Decode a request.

    Raises:
        MessageError: anything that is not one well-formed v1 or v2c message.
    """
    outer = _Reader(datagram)
    message = _Reader(outer.take(SEQUENCE).content)
    version = message.take_int()
    if version not in (V1, V2C):
        raise MessageError(f"version {version}")
    community = message.take(OCTETS).content
    pdu = message.take()
    if pdu.tag not in REQUESTS and pdu.tag != RESPONSE:
        raise MessageError(f"PDU {pdu.tag:#04x}")
    body = _Reader(pdu.content)
    request_id, status, index = body.take_int(), body.take_int(), body.take_int()
    varbinds: list[tuple[Oid, Value]] = []
    listed = _Reader(body.take(SEQUENCE).content)
    while not listed.done:
        if len(varbinds) >= VARBINDS_MAX:
            raise MessageError(f"more than {VARBINDS_MAX} varbinds")
        pair = _Reader(listed.take(SEQUENCE).content)
        varbinds.append((_decode_oid(pair.take(OBJECT_ID).content), _checked(pair.take())))
    return Message(version, community, pdu.tag, request_id, tuple(varbinds), status, index)


def _checked(value: Value) -> Value:
    if value.tag in (INTEGER, COUNTER) and not 1 <= len(value.content) <= 9:
        raise MessageError("number has no bytes, or too many")
    return value


@lru_cache(OIDS_KEPT)  # The same few objects are asked for ten times a second.
def _decode_oid(content: bytes) -> Oid:
    if not content or content[-1] & 0x80:
        raise MessageError("object identifier is empty or cut")
    arcs: list[int] = []
    value = 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if value > 0xFFFFFFFF or len(arcs) > OID_ARCS_MAX:
            raise MessageError("object identifier is too long")
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return (first, arcs[0] - 40 * first, *arcs[1:])


def _field(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


@lru_cache(OIDS_KEPT)
def _encode_oid(oid: Oid) -> bytes:
    encoded = bytearray()
    for arc in (oid[0] * 40 + oid[1], *oid[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return bytes(encoded)


def _encode_value(value: Value) -> bytes:
    return _field(value.tag, value.content)


def encode_varbind(oid: Oid, value: Value) -> bytes:
    """Encode one name and value."""
    return _field(SEQUENCE, _field(OBJECT_ID, _encode_oid(oid)) + _encode_value(value))


def encode(message: Message) -> bytes:
    """Encode a message."""
    varbinds = b"".join(encode_varbind(oid, value) for oid, value in message.varbinds)
    numbers = b"".join(_encode_value(integer(n)) for n in (message.request_id, message.status, message.index))
    pdu = _field(message.kind, numbers + _field(SEQUENCE, varbinds))
    head = _encode_value(integer(message.version)) + _field(OCTETS, message.community)
    return _field(SEQUENCE, head + pdu)
