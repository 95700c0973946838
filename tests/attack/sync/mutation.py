"""Bytes gone wrong: bent blindly, or with the structure kept and one thing in it changed. Always the same for a seed."""

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

Mutate = Callable[[random.Random, bytes], bytes]

BYTES_MAX = 300_000
EDGES = (0, 1, 0x17, 0x18, 0x1F, 0x7F, 0x80, 0x9F, 0xBF, 0xC1, 0xDF, 0xFE, 0xFF)
COUNTS = (0, 1, 23, 24, 255, 256, 65_535, 65_536, 262_144, 2**31 - 1, 2**32 - 1)
STRANGE: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 4, 499, 500, 501, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
    0.5, -0.0, 1e308, float("nan"), float("inf"), "", "\0", "a" * 41, "a" * 501, "é" * 33, "*", "..", "../../etc", "a/b",
    "\N{RIGHT-TO-LEFT OVERRIDE}", b"", bytes(16), bytes(31), bytes(32), bytes(33), bytes(5_000), [], {}, [[]], [0] * 501,
    [None], {"": None}, {"a": {"a": {}}}, {str(n): n for n in range(300)}, [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]],
)  # fmt: skip
WORDS = (
    "true", "false", "0", "-1", "1", "1e9", "1e999", "nan", "inf", "0x10", "9223372036854775808", '""', '"\\u0000"', '"a/b"',
    '"../../x"', "[]", "{}", "[[]]", "1979-05-27", "null", '"' + "a" * 500 + '"', "[" * 60, "{a=" * 60, "'''", "_", "9" * 5_000,
)  # fmt: skip
TOKEN = re.compile(rb'"[^"\n]*"|[\w.+-]+|[\[\]{}=,:]')


def bent(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes, knowing nothing of them."""
    changed = bytearray(data)
    for _ in range(1 if rng.random() < 0.7 else rng.randint(2, 6)):
        _bend(rng, changed)
    return bytes(changed[:BYTES_MAX])


def _bend(rng: random.Random, changed: bytearray) -> None:
    place = rng.randrange(len(changed) + 1)
    end = min(len(changed), place + rng.choice((1, 1, 2, 4, 16, 300)))
    match rng.randrange(8):
        case 0 if place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        case 1 if place < len(changed):
            changed[place] = rng.choice(EDGES)
        case 2:
            del changed[place:end]
        case 3:
            changed[place:place] = rng.randbytes(end - place or 1)
        case 4:
            changed[place:place] = changed[place:end] * rng.choice((1, 2, 50))
        case 5:
            del changed[place:]
        case 6:
            width = rng.choice((1, 2, 4, 8))
            changed[place : place + width] = (rng.choice(COUNTS) % 2 ** (8 * width)).to_bytes(
                width, rng.choice(("big", "little"))
            )
        case _:
            other = rng.randrange(len(changed) + 1)
            changed[place:end] = changed[other : other + end - place]


def twisted(rng: random.Random, data: bytes) -> bytes:
    """Change one thing in a MessagePack message and keep it MessagePack; blind if it is none."""
    try:
        return msgspec.msgpack.encode(changed_tree(rng, msgspec.msgpack.decode(data)))
    except (msgspec.DecodeError, UnicodeError, TypeError, OverflowError):
        return bent(rng, data)


def changed_tree(rng: random.Random, tree: Any) -> Any:
    """Exchange, drop, double or swap one thing somewhere in lists and maps."""
    if not isinstance(tree, list | dict) or not tree:
        return rng.choice(STRANGE)
    keys: Sequence[Any] = range(len(tree)) if isinstance(tree, list) else list(tree)
    key = rng.choice(keys)
    inner = tree[key]
    if isinstance(inner, list | dict) and inner and rng.random() < 0.7:
        tree[key] = changed_tree(rng, inner)
        return tree
    match rng.randrange(6):
        case 0:
            del tree[key]
        case 1 if isinstance(tree, list):
            tree[key:key] = [inner] * rng.choice((1, 2, 600))
        case 2:
            other = rng.choice(keys)
            tree[key], tree[other] = tree[other], inner
        case 3 if isinstance(inner, int) and not isinstance(inner, bool):
            tree[key] = inner + rng.choice((-1, 1, 2**16, -(2**16), 2**32))
        case 4 if isinstance(inner, bytes | str):
            tree[key] = inner[: rng.randrange(len(inner) + 1)]
        case _:
            tree[key] = rng.choice(STRANGE)
    return tree


def respelled(rng: random.Random, data: bytes) -> bytes:
    """An envelope, or a set, with one of its parts written another way: COSE that means something, but is not ours."""
    head, count = (b"", 1) if data[:1] != b"\x81" and data[:1] not in (b"\x82", b"\x83") else (data[:1], data[0] & 3)
    parts: list[bytes] = []
    at = len(head)
    for _ in range(count):
        for width in (2, 0, 1, 0, 0):  # Tag and array; protected; unprotected; payload; signature.
            end = at + width if width else _end_of_bytes(data, at)
            parts.append(data[at:end])
            at = end
    parts.append(data[at:])
    which = rng.randrange(len(parts))
    part = parts[which]
    match rng.randrange(9):
        case 0:
            parts[which] = _as_bytes(rng, _inside(part))
        case 1:
            parts[which] = bent(rng, part)
        case 2:
            parts[which] = _as_bytes(random.Random(0), twisted(rng, _inside(part)))
        case 3:
            parts[which] = rng.choice(
                (b"\xa0", b"\xa1\x01\x26", b"\xbf\xff", b"\x40", b"\xf6", b"\xd2\x84", b"\x84", b"\xd8\x12\x84")
            )
        case 4:
            parts[which] = b"\x5f" + part + b"\xff"
        case 5:
            other = rng.randrange(len(parts))
            parts[which], parts[other] = parts[other], part
        case 6:
            head = bytes((rng.choice((0x80, 0x81, 0x82, 0x83, 0x84, 0x9F)),))
        case 7 if count > 1:  # Whole envelopes in another order, one of them twice, or one less.
            each = [b"".join(parts[5 * n : 5 * n + 5]) for n in range(count)]
            chosen = rng.choices(each, k=rng.randint(1, 3))
            return bytes((0x80 + len(chosen),)) + b"".join(chosen)
        case _:
            parts.insert(which, part)
    return head + b"".join(parts)


def _end_of_bytes(data: bytes, at: int) -> int:
    length = data[at] & 31 if at < len(data) else 0
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(length, 0)
    if width:
        length = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    return at + 1 + width + length


def _inside(part: bytes) -> bytes:
    return part[1 + {24: 1, 25: 2, 26: 4}.get(part[0] & 31, 0) :] if part else part


def _as_bytes(rng: random.Random, value: bytes) -> bytes:
    """A CBOR byte string with its length in any of the forms, or with a wrong one."""
    length = len(value) if rng.random() < 0.7 else rng.choice(COUNTS)
    width = rng.choice([each for each in (1, 2, 4, 8) if length < 2 ** (8 * each)])
    return (
        bytes((rng.choice((0x40, 0x40, 0x40, 0x60)) | {1: 24, 2: 25, 4: 26, 8: 27}[width],))
        + length.to_bytes(width, "big")
        + value
    )


def reworded(rng: random.Random, data: bytes) -> bytes:
    """TOML, JSON or other text with one word or line exchanged, dropped or doubled."""
    if rng.random() < 0.2:
        return bent(rng, data)
    if rng.random() < 0.25:
        lines = data.splitlines(keepends=True)
        here, there = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(3):
            case 0:
                del lines[here]
            case 1:
                lines.insert(there, lines[here])
            case _:
                lines[here], lines[there] = lines[there], lines[here]
        return b"".join(lines)
    words = list(TOKEN.finditer(data))
    if not words:
        return bent(rng, data)
    word = rng.choice(words)
    new = rng.choice(WORDS).encode() if rng.random() < 0.7 else rng.choice(words).group()
    return data[: word.start()] + new + data[word.end() :]


def any_of(*ways: Mutate) -> Mutate:
    """One of several ways, by lot."""

    def mutate(rng: random.Random, data: bytes) -> bytes:
        return rng.choice(ways)(rng, data)

    return mutate
