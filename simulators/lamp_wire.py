"""The wires between a controller's lamp outputs and its conflict monitor, as small datagrams.

Lamps   ``LAMP | sequence u32 | reds u16 | yellows u16 | greens u16 | red enable u8``, big-endian, every 50 ms.
Line    ``LINE | flash u8``, back from the monitor after each sample. A controller that has once heard its
        monitor and hears it no more flashes: a monitor without power drops its output relay.
Moment  ``milliseconds u64 | lamps``, for a monitor whose time is told to it: what is lit from then on.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from simulators.signal_controller.aspects import Lamps

LAMP_PERIOD_S = 0.05
_LAMPS = struct.Struct(">4sIHHHB")
_LINE = struct.Struct(">4sB")
_AT = struct.Struct(">Q")
_MOMENT_BYTES = _AT.size + _LAMPS.size


class LampWireError(ValueError):
    """The datagram is none of ours."""


def encode_lamps(sequence: int, lamps: Lamps) -> bytes:
    """Encode what is lit."""
    sequence &= 0xFFFFFFFF
    return _LAMPS.pack(b"LAMP", sequence, lamps.reds, lamps.yellows, lamps.greens, lamps.red_enable)


def decode_lamps(datagram: bytes) -> Lamps:
    """Decode what is lit. Raises LampWireError."""
    if len(datagram) != _LAMPS.size or datagram[:4] != b"LAMP":
        raise LampWireError(f"{len(datagram)} bytes are not a lamp datagram")
    _, _, reds, yellows, greens, red_enable = _LAMPS.unpack(datagram)
    if red_enable > 1:
        raise LampWireError(f"red enable is {red_enable}")
    return Lamps(reds, yellows, greens, bool(red_enable))


def encode_line(flash: bool) -> bytes:
    """Encode the flash line."""
    return _LINE.pack(b"LINE", flash)


def decode_line(datagram: bytes) -> bool:
    """Decode the flash line. Raises LampWireError."""
    if len(datagram) != _LINE.size or datagram[:4] != b"LINE" or datagram[4] > 1:
        raise LampWireError(f"{len(datagram)} bytes are not a flash line")
    return bool(datagram[4])


@dataclass(frozen=True, slots=True)
class Moment:
    """What is lit from ``at_ms`` on; ``sequence`` counts the moments of one junction from 1."""

    at_ms: int
    sequence: int
    lamps: Lamps


def encode_moment(moment: Moment) -> bytes:
    """Encode one moment."""
    return _AT.pack(moment.at_ms) + encode_lamps(moment.sequence, moment.lamps)


def decode_moments(block: bytes) -> Iterator[Moment]:
    """Decode any number of moments. Raises LampWireError at the first that is none."""
    for start in range(0, len(block), _MOMENT_BYTES):
        record = block[start : start + _MOMENT_BYTES]
        lamps = decode_lamps(record[_AT.size :])
        (at_ms,), (_, sequence, *_) = _AT.unpack_from(record), _LAMPS.unpack_from(record, _AT.size)
        yield Moment(at_ms, sequence, lamps)
