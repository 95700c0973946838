"""A Merkle tree over a log that only grows: roots, and short proofs that a stranger can check. Pure.

A leaf and an inner node are hashed with different first bytes, so that neither can pass for the other. Whoever holds the
hashes of complete subtrees can make every proof; whoever checks one needs the proof and two roots at most.

Source   RFC 6962 §2.1 (tree, proofs), RFC 9162 §2.1.3.2 and §2.1.4.2 (checking); ``docs/wire.md`` 11.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
PROOF_HASHES_MAX = 64
"""A log of 2^63 entries has paths of 63."""
EMPTY_ROOT = sha256(b"").digest()
_LEAF, _NODE = b"\x00", b"\x01"

Nodes = Callable[[int, int], bytes]
"""The hash of the complete subtree of 2^level leaves at a place of that level: ``nodes(level, place)``."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry."""
    return sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours."""
    return sha256(_NODE + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over these hashes, whatever their number; every one may itself stand for a complete subtree."""
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:  # Halves each time. One without a neighbour goes up as it is, which is RFC 6962's shape.
        odd = level[-1:] if len(level) % 2 else []
        level = [node_hash(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)] + odd
    return level[0]


class Frontier:
    """The right edge of a growing tree: enough to add entries and to say the root. One hash per bit of the size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # Complete subtrees, the largest first.

    def append(self, leaf: bytes) -> None:
        """Add one leaf's hash."""
        place = self.size
        while place & 1:  # As many times as the size ends in ones.
            leaf = node_hash(self._peaks.pop(), leaf)
            place >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root over everything so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_at(size: int, nodes: Nodes) -> bytes:
    """The root over the first ``size`` entries."""
    return _span(0, size, nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The neighbours on the way from entry ``index`` up to the root over ``size`` entries, lowest first.

    Raises:
        ValueError: no such entry.
    """
    if not 0 <= index < size:
        raise ValueError(f"no entry {index} among {size}")
    begin, end, proof = 0, size, []
    while end - begin > 1:  # Halves each time.
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_span(middle, end, nodes))
            end = middle
        else:
            proof.append(_span(begin, middle, nodes))
            begin = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """What shows that the log of ``new`` entries begins with the log of ``old`` entries.

    Raises:
        ValueError: ``old`` is larger.
    """
    if not 0 <= old <= new:
        raise ValueError(f"{old} entries cannot begin what has {new}")
    if old in (0, new):
        return []
    begin, end, proof, is_whole = 0, new, [], True
    while old != end:  # Halves each time; ``old`` always lies inside.
        middle = begin + _split(end - begin)
        if old <= middle:
            proof.append(_span(middle, end, nodes))
            end = middle
        else:
            proof.append(_span(begin, middle, nodes))
            begin, is_whole = middle, False
    if not is_whole:  # Else the checker knows it: it is the old root itself.
        proof.append(_span(begin, end, nodes))
    return proof[::-1]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True if the proof leads from this leaf's hash at ``index`` to the root over ``size`` entries."""
    if not 0 <= index < size or len(proof) > PROOF_HASHES_MAX:
        return False
    place, last, found = index, size - 1, leaf
    for neighbour in proof:
        if not last:
            return False
        if place & 1 or place == last:
            found = node_hash(neighbour, found)
            while not place & 1 and place:  # It went up without a neighbour: at most as often as an index has bits.
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, neighbour)
        place, last = place >> 1, last >> 1
    return not last and found == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """True if the proof shows that the log behind ``new_root`` begins with the log behind ``old_root``."""
    if not 0 <= old <= new or len(proof) > PROOF_HASHES_MAX:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        return False
    place, last = old - 1, new - 1
    while place & 1:  # At most as often as a size has bits.
        place, last = place >> 1, last >> 1
    was = now = hashes[0]
    for neighbour in hashes[1:]:
        if not last:
            return False
        if place & 1 or place == last:
            was, now = node_hash(neighbour, was), node_hash(neighbour, now)
            while not place & 1 and place:  # As above.
                place, last = place >> 1, last >> 1
        else:
            now = node_hash(now, neighbour)
        place, last = place >> 1, last >> 1
    return not last and was == old_root and now == new_root


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _span(begin: int, end: int, nodes: Nodes) -> bytes:
    """The hash over entries ``begin`` .. ``end`` - 1, a subtree of RFC 6962's shape."""
    count = end - begin
    if count & (count - 1) == 0 and begin % count == 0:
        level = count.bit_length() - 1
        return nodes(level, begin >> level)
    middle = begin + _split(count)
    return node_hash(_span(begin, middle, nodes), _span(middle, end, nodes))
