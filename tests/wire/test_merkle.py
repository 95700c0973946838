"""The Merkle tree against a second implementation, written down from the definitions of RFC 6962 §2.1 and nothing else."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire import merkle
from agent.wire.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    root_at,
    root_of,
)

# The entries and roots that implementations of Certificate Transparency test themselves with.
KNOWN_ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = naive_split(len(entries))
    return sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def naive_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1."""
    if len(entries) == 1:
        return []
    k = naive_split(len(entries))
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m: int, entries: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2."""
    n = len(entries)
    if m == n:
        return [] if whole else [naive_root(entries)]
    k = naive_split(n)
    if m <= k:
        return [*naive_subproof(m, entries[:k], whole), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


def nodes_of(entries: list[bytes]) -> merkle.Nodes:
    return lambda level, place: naive_root(entries[place << level : (place + 1) << level])


def some(count: int) -> list[bytes]:
    return [n.to_bytes(4, "big") for n in range(count)]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_are_those_of_certificate_transparency(size: int) -> None:
    entries = KNOWN_ENTRIES[:size]
    frontier = Frontier()
    for entry in entries:
        frontier.append(leaf_hash(entry))
    assert frontier.root().hex() == KNOWN_ROOTS[size - 1]
    assert root_at(size, nodes_of(entries)).hex() == KNOWN_ROOTS[size - 1]


def test_an_empty_log_has_the_hash_of_nothing_as_its_root() -> None:
    assert Frontier().root() == root_of([]) == root_at(0, nodes_of([])) == EMPTY_ROOT == naive_root([])


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 255, 256, 257])
def test_every_root_and_proof_equals_the_definition(size: int) -> None:
    entries = some(size)
    frontier = Frontier()
    for entry in entries:
        frontier.append(leaf_hash(entry))
    root = naive_root(entries)
    assert frontier.size == size
    assert frontier.root() == root_of([leaf_hash(entry) for entry in entries]) == root
    step = max(1, size // 37)
    for index in range(0, size, step):
        proof = inclusion_proof(index, size, nodes_of(entries))
        assert proof == naive_path(index, entries)
        assert is_included(leaf_hash(entries[index]), index, size, proof, root)
    for old in range(0, size + 1, step):
        proof = consistency_proof(old, size, nodes_of(entries))
        assert proof == (naive_subproof(old, entries, True) if old else [])
        assert is_consistent(old, naive_root(entries[:old]), size, root, proof)


@given(st.integers(1, 80), st.data())
@settings(max_examples=150, deadline=None)
def test_one_flipped_bit_anywhere_breaks_an_inclusion_proof(size: int, data: st.DataObject) -> None:
    entries, index = some(size), data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, nodes_of(entries))
    parts = [leaf_hash(entries[index]), naive_root(entries), *proof]
    part, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[part] = flipped(parts[part], bit)
    assert not is_included(parts[0], index, size, parts[2:], parts[1])


@given(st.integers(1, 80), st.data())
@settings(max_examples=150, deadline=None)
def test_one_flipped_bit_anywhere_breaks_a_consistency_proof(size: int, data: st.DataObject) -> None:
    entries, old = some(size), data.draw(st.integers(0, size))
    proof = consistency_proof(old, size, nodes_of(entries))
    parts = [naive_root(entries[:old]), naive_root(entries), *proof]
    part, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[part] = flipped(parts[part], bit)
    if old == 0 and part == 1:
        return  # Anything begins with nothing.
    assert not is_consistent(old, parts[0], size, parts[1], parts[2:])


@given(st.integers(2, 80), st.data())
@settings(max_examples=150, deadline=None)
def test_a_proof_is_good_for_one_place_and_one_size_only(size: int, data: st.DataObject) -> None:
    entries, index = some(size), data.draw(st.integers(0, size - 1))
    root, leaf = naive_root(entries), leaf_hash(entries[index])
    proof = inclusion_proof(index, size, nodes_of(entries))
    other = data.draw(st.integers(0, 2 * size).filter(lambda each: each != index))
    assert not is_included(leaf, other, size, proof, root)
    assert not is_included(leaf, index, size, [*proof, root], root)
    assert not is_included(leaf, index, size, proof[:-1], root)
    assert not is_included(leaf, -1, size, proof, root)
    longer = [*proof, *[root] * 70]
    assert not is_included(leaf, index, size, longer, root)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
@settings(max_examples=150, deadline=None)
def test_a_log_that_was_rewritten_has_no_consistency_proof(old: int, more: int, data: st.DataObject) -> None:
    """Whoever changed one entry below ``old`` cannot even offer the proof made from the changed log."""
    entries, size = some(old + more), old + more
    changed = list(entries)
    changed[data.draw(st.integers(0, old - 1))] = b"another"
    proof = consistency_proof(old, size, nodes_of(changed))
    assert not is_consistent(old, naive_root(entries[:old]), size, naive_root(changed), proof)
    assert is_consistent(old, naive_root(changed[:old]), size, naive_root(changed), proof)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70), st.integers(-2, 99), st.integers(-2, 99))
def test_random_proofs_prove_nothing_and_never_raise(proof: list[bytes], first: int, second: int) -> None:
    root = sha256(b"root").digest()
    assert not is_included(bytes(32), first, second, proof, root)
    assert not is_consistent(first, bytes(32), second, root, proof)


def test_a_leaf_never_passes_for_an_inner_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


def test_what_is_not_in_the_log_has_no_proof() -> None:
    with pytest.raises(ValueError, match="no entry 3 among 3"):
        inclusion_proof(3, 3, nodes_of(some(3)))
    with pytest.raises(ValueError, match="4 entries cannot begin what has 3"):
        consistency_proof(4, 3, nodes_of(some(3)))


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")
