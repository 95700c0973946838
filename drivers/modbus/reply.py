"""Whether bytes off a Modbus TCP connection can be the answer to the request that was sent. Pure.

pymodbus 3.16 takes an answer with transaction number 0 for any request, never compares function code, unit,
address or count with the request, and dies inside its callback on a frame it cannot decode. So every frame
passes here first.

Layout   ``transaction u16 | protocol u16 = 0 | length u16 | unit u8 | function u8 | data``, big-endian.
Source   MODBUS Application Protocol V1.1b3 §6, §7; MODBUS Messaging on TCP/IP V1.0b §3.1.3.
"""

from enum import Enum
from struct import unpack_from

HEADER_BYTES = 7
LENGTH_MIN, LENGTH_MAX = 3, 254  # unit + function + at least one byte .. unit + 253 bytes of PDU
EXCEPTION_BIT = 0x80


class Reply(Enum):
    """What the bytes received so far amount to."""

    WAIT = "not complete yet"
    ANSWER = "the answer"
    NONSENSE = "cannot follow from the request"


def judge_reply(request: bytes, received: bytes) -> tuple[Reply, int]:
    """Look at all bytes received since ``request`` went out.

    Args:
        request: the whole frame that was sent; our own, so well formed.

    Returns:
        The verdict, and how many bytes of late answers to earlier requests come before it.
    """
    start = 0
    # Ends: each turn moves on by a whole frame, at least 9 bytes.
    while len(received) - start >= HEADER_BYTES + 1:
        transaction, protocol, length, unit = unpack_from(">HHHB", received, start)
        if protocol != 0 or not LENGTH_MIN <= length <= LENGTH_MAX:
            return Reply.NONSENSE, start
        end = start + HEADER_BYTES - 1 + length
        if len(received) < end:
            return Reply.WAIT, start
        if transaction == int.from_bytes(request[:2], "big"):
            fits = unit == request[6] and _answers(request[7:], received[start + HEADER_BYTES : end])
            return (Reply.ANSWER if fits else Reply.NONSENSE), start
        if transaction == 0:
            return Reply.NONSENSE, start
        start = end
    return Reply.WAIT, start


def _answers(request: bytes, answer: bytes) -> bool:
    """True if one PDU can answer another."""
    function = request[0]
    if answer[0] == function | EXCEPTION_BIT:
        return len(answer) == 2 and answer[1] != 0
    if answer[0] != function:
        return False
    if function in (5, 6):
        return answer == request
    if function in (15, 16):
        return answer == request[:5]
    count = int.from_bytes(request[3:5], "big")
    size = (count + 7) // 8 if function in (1, 2) else 2 * count
    return len(answer) == 2 + size and answer[1] == size
