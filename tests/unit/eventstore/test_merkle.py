"""The tree is RFC 9162's: known answers, and the recursive definitions of the RFC as the oracle."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.evidence import merkle
from eventstore.evidence.merkle import EMPTY, Tree, leaf_hash, node_hash

# The inputs and answers that Certificate Transparency's implementations share.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCIES = {
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def head(leaves):
    """MTH of RFC 9162, 2.1.1."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    k = largest_power_below(len(leaves))
    return node_hash(head(leaves[:k]), head(leaves[k:]))


def path(m, leaves):
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    return [*path(m, leaves[:k]), head(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), head(leaves[:k])]


def subproof(m, leaves, whole):
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [head(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), head(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), head(leaves[:k])]


def largest_power_below(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def some_leaves(count):
    return [sha256(b"%d" % number).digest() for number in range(count)]


def grown(leaves):
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree


def around(leaves, *points):
    """Those kept nodes that `needed` names, and no others."""
    kept = grown(leaves).kept | {(0, number): leaf for number, leaf in enumerate(leaves)}
    ranges = merkle.needed(len(leaves), *points)
    return {(level, number): kept[level, number] for level, first, end in ranges for number in range(first, end)}


KNOWN = [leaf_hash(bytes.fromhex(each)) for each in INPUTS]


@pytest.mark.parametrize("size", range(9))
def test_the_known_roots(size):
    assert grown(KNOWN[:size]).root().hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size"), INCLUSIONS)
def test_the_known_inclusion_proofs(leaf, size):
    proof = merkle.inclusion(around(KNOWN[:size], leaf), leaf, size)
    assert [each.hex() for each in proof] == INCLUSIONS[leaf, size]


@pytest.mark.parametrize(("old", "size"), CONSISTENCIES)
def test_the_known_consistency_proofs(old, size):
    proof = merkle.consistency(around(KNOWN[:size], old - 1, old), old, size)
    assert [each.hex() for each in proof] == CONSISTENCIES[old, size]


@pytest.mark.parametrize("size", range(1, 65))
def test_every_proof_of_every_size_is_the_recursive_one_and_holds(size):
    leaves = some_leaves(size)
    root = head(leaves)
    assert grown(leaves).root() == root
    for leaf in range(size):
        proof = merkle.inclusion(around(leaves, leaf), leaf, size)
        assert proof == path(leaf, leaves)
        assert merkle.included(leaves[leaf], leaf, size, proof, root)
    for old in range(1, size + 1):
        proof = merkle.consistency(around(leaves, old - 1, old), old, size)
        assert proof == subproof(old, leaves, True)
        assert merkle.consistent(old, head(leaves[:old]), size, root, proof)


@given(st.integers(1, 70_000), st.data())
def test_proofs_over_many_tiles_hold(size, data):
    leaves = LARGE[:size]
    tree = Tree.of(nodes_of(size, size), size)
    old, leaf = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    older = Tree.of(nodes_of(old, old), old)
    inclusion = merkle.inclusion(nodes_of(size, leaf), leaf, size)
    assert merkle.included(leaves[leaf], leaf, size, inclusion, tree.root())
    consistency = merkle.consistency(nodes_of(size, old - 1, old), old, size)
    assert merkle.consistent(old, older.root(), size, tree.root(), consistency)


LARGE = some_leaves(70_000)
LARGE_KEPT = grown(LARGE).kept | {(0, number): leaf for number, leaf in enumerate(LARGE)}


def nodes_of(size, *points):
    ranges = merkle.needed(size, *points)
    return {(level, number): LARGE_KEPT[level, number] for level, first, end in ranges for number in range(first, end)}


def test_a_tree_goes_on_from_its_kept_nodes():
    for size in (1, 255, 256, 257, 65_535, 65_536, 65_537):
        tree = Tree.of(nodes_of(size, size), size)
        for leaf in LARGE[size : size + 300]:
            tree.add(leaf)
        assert tree.root() == head(LARGE[: size + 300])


@given(st.integers(2, 200), st.data())
def test_a_proof_of_anything_else_does_not_hold(size, data):
    leaves = some_leaves(size)
    root, leaf, old = head(leaves), data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    inclusion, consistency = path(leaf, leaves), subproof(old, leaves, True)
    other = sha256(b"other").digest()
    bent = data.draw(st.integers(0, len(inclusion) - 1))
    assert not merkle.included(other, leaf, size, inclusion, root)
    assert not merkle.included(leaves[leaf], leaf, size, inclusion, other)
    assert not merkle.included(leaves[leaf], leaf, size, [*inclusion[:bent], other, *inclusion[bent + 1 :]], root)
    assert not merkle.included(leaves[leaf], leaf, size, inclusion[:-1], root)
    assert not merkle.included(leaves[leaf], leaf, size, [*inclusion, other], root)
    assert not merkle.included(leaves[leaf], size, size, inclusion, root)
    assert not merkle.included(leaves[leaf], (leaf + 1) % size, size, inclusion, root)
    bent = data.draw(st.integers(0, len(consistency) - 1))
    old_root = head(leaves[:old])
    assert not merkle.consistent(old, other, size, root, consistency)
    assert not merkle.consistent(old, old_root, size, other, consistency)
    assert not merkle.consistent(old, old_root, size, root, [*consistency[:bent], other, *consistency[bent + 1 :]])
    assert not merkle.consistent(old, old_root, size, root, consistency[:-1])
    assert not merkle.consistent(old, old_root, size, root, [*consistency, other])
    assert not merkle.consistent(size + 1, old_root, size, root, consistency)
