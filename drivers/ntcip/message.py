"""SNMP messages of versions 1 and 2c as bytes. Pure; the encoding itself is done by pysnmp and pyasn1.

A junction is asked the same question ten times a second and mostly gives the same answer. So a request is
encoded once and only its number is changed afterwards, and an answer that differs from the last one by
nothing but that number is not decoded again.

Source   RFC 1157 §4, RFC 1901, RFC 3416 §3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import randbelow
from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type import univ
from pysnmp.proto.api import v1, v2c
from pysnmp.proto.error import SnmpV3Error

from drivers.errors import DeviceNonsenseError
from drivers.ntcip.codec import Value

ID_BYTES = 4
ID_MIN, ID_MAX = 0x01000000, 0x7FFFFFFF  # always four octets on the wire, and positive
DATAGRAM_BYTES_MAX = 1472  # what fits one Ethernet frame; a decoder's time grows with what it is fed
NO_SUCH_NAME = 2
ERRORS = {
    1: "tooBig", 2: "noSuchName", 3: "badValue", 4: "readOnly", 5: "genErr", 6: "noAccess", 7: "wrongType",
    8: "wrongLength", 9: "wrongEncoding", 10: "wrongValue", 11: "noCreation", 12: "inconsistentValue",
    13: "resourceUnavailable", 14: "commitFailed", 15: "undoFailed", 16: "authorizationError", 17: "notWritable",
    18: "inconsistentName",
}  # fmt: skip


def request_id() -> int:
    """Return a number nobody can guess, so that a forger must see our traffic to answer for the controller."""
    return ID_MIN + randbelow(ID_MAX - ID_MIN + 1)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``error_index`` counts from 1; 0 points at no object."""

    request_id: int
    error_status: int
    error_index: int
    values: tuple[tuple[str, Value], ...]


class Dialect:
    """One version and community of SNMP.

    Args:
        version: "1" or "2c".
    """

    def __init__(self, version: str, community: str) -> None:
        if version not in ("1", "2c"):
            raise ValueError(f"SNMP version is 1 or 2c, not {version!r}")
        self._api: Any = v1 if version == "1" else v2c
        self._version = 0 if version == "1" else 1
        self._community = community.encode()
        self._response = v1.GetResponsePDU if version == "1" else v2c.ResponsePDU
        self._spec: Any = self._api.Message()

    def encode_get(self, oids: Sequence[str], number: int) -> bytes:
        """Encode a GetRequest."""
        return self._encode(self._api.GetRequestPDU(), [(oid, self._api.null) for oid in oids], number)

    def encode_set(self, values: Sequence[tuple[str, int]], number: int) -> bytes:
        """Encode a SetRequest of INTEGERs."""
        integer = self._api.Integer
        return self._encode(self._api.SetRequestPDU(), [(oid, integer(value)) for oid, value in values], number)

    def _encode(self, pdu: Any, binds: list[tuple[str, Any]], number: int) -> bytes:
        self._api.apiPDU.set_defaults(pdu)
        self._api.apiPDU.set_request_id(pdu, number)
        self._api.apiPDU.set_varbinds(pdu, binds)
        message = self._api.Message()
        self._api.apiMessage.set_defaults(message)
        self._api.apiMessage.set_community(message, self._community)
        self._api.apiMessage.set_pdu(message, pdu)
        return bytes(encoder.encode(message))

    def decode(self, data: bytes) -> Response:
        """Decode an answer.

        Raises:
            DeviceNonsenseError: not one whole SNMP response in this version and community.
        """
        if len(data) > DATAGRAM_BYTES_MAX:
            raise DeviceNonsenseError(f"an answer of {len(data)} octets, at most {DATAGRAM_BYTES_MAX} are believed")
        try:
            message, rest = decoder.decode(data, asn1Spec=self._spec)
            pdu = self._api.apiMessage.get_pdu(message)
            if rest or not isinstance(pdu, self._response):
                raise DeviceNonsenseError("not one whole response")
            if int(message[0]) != self._version or bytes(message[1]) != self._community:
                raise DeviceNonsenseError("a response in another version or community")
            number, status, index = int(pdu[0]), int(pdu[1]), int(pdu[2])
            binds = self._api.apiPDU.get_varbinds(pdu)
            values = tuple((str(name), _value(value)) for name, value in binds)
        # pyasn1 lets some of Python's own errors through when a length or a tag lies.
        except (PyAsn1Error, SnmpV3Error, ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
            raise DeviceNonsenseError(f"not an SNMP response: {str(error)[:120]}") from error
        except RecursionError as error:
            raise DeviceNonsenseError("not an SNMP response: nested too deep") from error
        if not 0 <= index <= len(values):
            raise DeviceNonsenseError(f"error index {index} of {len(values)} objects")
        return Response(number, status, index, values)


def _value(value: Any) -> Value:
    if isinstance(value, univ.Null):  # also noSuchObject and noSuchInstance of version 2c
        return None
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.OctetString):
        return bytes(value)
    raise DeviceNonsenseError(f"a value of type {type(value).__name__}")


class Question:
    """A GetRequest encoded once, asked many times, and its last answer."""

    __slots__ = ("_dialect", "_head", "_last", "_tail", "oids")

    def __init__(self, dialect: Dialect, oids: Sequence[str]) -> None:
        self.oids = tuple(oids)
        self._dialect = dialect
        # Two encodings differ by their number alone: that is where it stands.
        first, second = (dialect.encode_get(oids, int.from_bytes(bytes((fill,)) * ID_BYTES)) for fill in (0x11, 0x22))
        start = next(index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b)
        self._head, self._tail = first[:start], first[start + ID_BYTES :]
        assert second == self._head + b"\x22" * ID_BYTES + self._tail
        self._last: tuple[bytes, bytes, Response] | None = None

    def encode(self, number: int) -> bytes:
        """Return the request under this number, ID_MIN..ID_MAX."""
        return self._head + number.to_bytes(ID_BYTES) + self._tail

    def decode(self, data: bytes, number: int) -> Response:
        """Decode an answer, by comparison if it is the last one again.

        Raises:
            DeviceNonsenseError: as ``Dialect.decode``.
        """
        head, found, tail = data.partition(number.to_bytes(ID_BYTES))
        if self._last is not None and found and self._last[0] == head and self._last[1] == tail:
            return Response(number, self._last[2].error_status, self._last[2].error_index, self._last[2].values)
        response = self._dialect.decode(data)
        # Only if the number stands there once do these four octets have to be the request id next time too.
        if found and response.request_id == number and data.count(found) == 1:
            self._last = head, tail, response
        return response
