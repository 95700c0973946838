"""Modbus TCP frames and the requests inside them: bytes in, requests out. No I/O, no clock.

Layout   ``transaction u16 | protocol u16 = 0 | length u16 | unit u8 | function u8 | data``, big-endian;
         ``length`` counts unit, function and data: 2..254.
Source   MODBUS Application Protocol V1.1b3 §6; MODBUS Messaging on TCP/IP V1.0b §3.1.3.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER_BYTES = 7
LENGTH_MIN, LENGTH_MAX = 2, 254  # unit + function .. unit + 253 bytes of PDU


class ExceptionCode(IntEnum):
    """The exceptions this server uses."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    DEVICE_BUSY = 6


class FrameError(ValueError):
    """The stream is not Modbus TCP: there is no way to find the next frame."""


class ModbusRefusal(Exception):  # noqa: N818 - an answer of the protocol, not a failure of ours
    """The unit answers with an exception code instead of data."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code:02d}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or answer with its envelope."""

    transaction: int
    unit: int
    pdu: bytes

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        return struct.pack(">HHHB", self.transaction, 0, len(self.pdu) + 1, self.unit) + self.pdu


class Deframer:
    """Reassembles frames however the stream splits them. Holds back at most one frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Frame]:
        """Take bytes off the stream; return the frames they completed.

        Raises:
            FrameError: protocol number or length is impossible. Close the connection: TCP loses
                nothing, so a broken header means the peer speaks something else.
        """
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER_BYTES:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", self._buffer)
            if protocol != 0 or not LENGTH_MIN <= length <= LENGTH_MAX:
                raise FrameError(f"protocol {protocol}, length {length}")
            end = HEADER_BYTES - 1 + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(transaction, unit, bytes(self._buffer[HEADER_BYTES:end])))
            del self._buffer[:end]
        return frames


class Table(IntEnum):
    """The four tables of a unit; the value is the function code that reads it."""

    COILS = 1
    DISCRETES = 2
    HOLDINGS = 3
    INPUTS = 4


@dataclass(frozen=True, slots=True)
class Read:
    """A well-formed reading request."""

    table: Table
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Write:
    """A well-formed writing request; bits are 0 or 1. ``echo`` is what a success answers after the function code."""

    table: Table
    address: int
    values: tuple[int, ...]
    echo: bytes


def decode_request(pdu: bytes) -> Read | Write:
    """Decode a request.

    Raises:
        ModbusRefusal: 1 for an unknown function, 3 for a count or value out of range or a length that does not fit.
    """
    function, body = pdu[0], pdu[1:]
    if function in (1, 2, 3, 4):
        address, count = _two_words(body)
        if not 1 <= count <= (2000 if function <= 2 else 125):
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
        return Read(Table(function), address, count)
    if function == 5:
        address, value = _two_words(body)
        if value not in (0x0000, 0xFF00):
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
        return Write(Table.COILS, address, (int(value != 0),), body)
    if function == 6:
        address, value = _two_words(body)
        return Write(Table.HOLDINGS, address, (value,), body)
    if function in (15, 16):
        return _decode_multiple(function, body)
    raise ModbusRefusal(ExceptionCode.ILLEGAL_FUNCTION)


def _decode_multiple(function: int, body: bytes) -> Write:
    if len(body) < 6:
        raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
    address, count, size = struct.unpack_from(">HHB", body)
    data = body[5:]
    count_max = 1968 if function == 15 else 123
    expected = (count + 7) // 8 if function == 15 else 2 * count
    if not 1 <= count <= count_max or size != expected or len(data) != size:
        raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
    if function == 15:
        bits = tuple(data[index // 8] >> (index % 8) & 1 for index in range(count))
        return Write(Table.COILS, address, bits, body[:4])
    return Write(Table.HOLDINGS, address, struct.unpack(f">{count}H", data), body[:4])


def _two_words(body: bytes) -> tuple[int, int]:
    if len(body) != 4:
        raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
    first, second = struct.unpack(">HH", body)
    return first, second


def encode_reading(read: Read, values: list[int]) -> bytes:
    """Encode the answer to a reading request."""
    if read.table in (Table.COILS, Table.DISCRETES):
        packed = bytearray((read.count + 7) // 8)
        for index, value in enumerate(values):
            packed[index // 8] |= (value & 1) << (index % 8)
        data = bytes(packed)
    else:
        data = struct.pack(f">{len(values)}H", *values)
    return bytes((read.table, len(data))) + data


def encode_exception(function: int, code: int) -> bytes:
    """Encode an exception answer."""
    return bytes((function & 0x7F | 0x80, code))
