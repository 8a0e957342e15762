"""Merkle trees as RFC 9162 has them, with SHA-256: roots, inclusion proofs, consistency proofs.

A node `(level, number)` is the root of the complete subtree over the leaves number · 2^level … (number + 1) · 2^level
- 1; leaves are the nodes of level 0. Every eighth level is kept (`TILE`), the levels between are hashed when needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256

LEAF, NODE = b"\x00", b"\x01"
HASH_BYTES = 32
TILE = 8
EMPTY = sha256(b"").digest()

Node = tuple[int, int]
Nodes = Mapping[Node, bytes]


def leaf_hash(data: bytes) -> bytes:
    return sha256(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()


class Tree:
    """A growing tree: the roots of its complete subtrees from left to right, and the nodes to be kept."""

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size, self.edge = size, list(edge)
        self.kept: dict[Node, bytes] = {}

    @classmethod
    def of(cls, nodes: Nodes, size: int) -> "Tree":
        """The tree of the first `size` leaves, from the nodes that `needed(size, size)` names."""
        return cls(size, [subtree(nodes, *node) for node in edge(0, size)])

    def copy(self) -> "Tree":
        return Tree(self.size, self.edge)

    def add(self, leaf: bytes) -> None:
        self.size = number = self.size + 1
        level, node, edge = 0, leaf, self.edge
        while not number & 1:
            node = sha256(NODE + edge.pop() + node).digest()
            number >>= 1
            level += 1
            if not level % TILE:
                self.kept[level, number - 1] = node
        edge.append(node)

    def root(self) -> bytes:
        return folded(self.edge)


def folded(edge: Sequence[bytes]) -> bytes:
    """The root over neighbouring complete subtrees, each smaller than the one before."""
    if not edge:
        return EMPTY
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = node_hash(left, root)
    return root


def edge(start: int, end: int) -> Iterator[Node]:
    """The largest complete subtrees that cover the leaves `start <= leaf < end`; `start` is where one can begin."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def subtree(nodes: Nodes, level: int, number: int) -> bytes:
    """Raises `KeyError` when a node is missing that it takes."""
    if (kept := nodes.get((level, number))) is not None:
        return kept
    if level % TILE == 0:
        raise KeyError((level, number))
    return node_hash(subtree(nodes, level - 1, 2 * number), subtree(nodes, level - 1, 2 * number + 1))


def root_of(nodes: Nodes, start: int, end: int) -> bytes:
    return folded([subtree(nodes, *node) for node in edge(start, end)])


def needed(size: int, *leaves: int) -> Iterator[tuple[int, int, int]]:
    """Level, first and end of the kept nodes around these leaves; a leaf that is a tree's size stands for its edge."""
    level = 0
    while size >> level:
        for tile in sorted({leaf >> level >> TILE for leaf in (size, *leaves)}):
            first, end = tile << TILE, min((tile + 1) << TILE, size >> level)
            if first < end:
                yield level, first, end
        level += TILE


def split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion(nodes: Nodes, leaf: int, size: int) -> list[bytes]:
    """The proof that `leaf` (counted from 0) is in the tree of `size`, from the nodes of `needed(size, leaf)`."""
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if leaf < middle:
            proof.append(root_of(nodes, middle, end))
            end = middle
        else:
            proof.append(root_of(nodes, start, middle))
            start = middle
    return proof[::-1]


def consistency(nodes: Nodes, old: int, size: int) -> list[bytes]:
    """The proof that the tree of `old` began the tree of `size`, from the nodes of `needed(size, old - 1, old)`."""
    proof: list[bytes] = []
    start, end = 0, size
    while end != old:
        middle = start + split(end - start)
        if old <= middle:
            proof.append(root_of(nodes, middle, end))
            end = middle
        else:
            proof.append(root_of(nodes, start, middle))
            start = middle
    if start:
        proof.append(root_of(nodes, start, end))
    return proof[::-1]


def included(leaf_hash: bytes, leaf: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the leaf is in the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= leaf < size:
        return False
    number, last, found = leaf, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the old tree began the other one (RFC 9162, 2.1.4.2)."""
    if old in (size, 0):
        return not proof and 0 <= old <= size and old_root == (root if old else EMPTY)
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not 0 < old < size or not path:
        return False
    number, last = old - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and first == old_root and second == root
