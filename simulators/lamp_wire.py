"""The wires between a controller's lamp outputs and its conflict monitor, as small datagrams.

Lamps   ``LAMP | sequence u32 | reds u16 | yellows u16 | greens u16 | red enable u8``, big-endian, every 50 ms.
Line    ``LINE | flash u8``, back from the monitor after each sample. A controller that has once heard its
        monitor and hears it no more flashes: a monitor without power drops its output relay.
"""

import struct

from simulators.signal_controller.aspects import Lamps

LAMP_PERIOD_S = 0.05
_LAMPS = struct.Struct(">4sIHHHB")
_LINE = struct.Struct(">4sB")


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
