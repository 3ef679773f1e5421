"""n-grams as a trie by levels: sorted arrays of integers, searched with numpy.

Symbols (characters or words) have the ids 1 to A - 1; 0 stands for every unknown one and matches nothing. The nodes of
level 1 are the symbols. Level k holds the n-grams of k symbols that are features or prefixes of features: one key
``parent * A + symbol`` each, ascending, where the parent is a symbol for k = 2 and a position in level k - 1 above.
Nodes are numbered through from 1: first the symbols, then level 2, and so on.

On disk a level is its number of children per parent and their symbols, 2 bytes per n-gram as a rule; keys are made when
it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array, smallest_unsigned
from ortolan.inputs.radix import search

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset


@dataclass(frozen=True, slots=True)
class Level:
    """One level of n-grams of two or more symbols.

    Args:
        keys: uint32 or uint64, ascending, followed by one entry that no query equals.
        base: number of the first node of this level.
    """

    keys: NDArray[Any]
    base: int

    def __len__(self) -> int:
        return len(self.keys) - 1

    def find(self, queries: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Position of each query among the keys, and whether it is one. Queries have the keys' dtype."""
        at = search(self.keys, queries)
        return at, self.keys.take(at) == queries


class Trie:
    """The n-grams of a vocabulary."""

    def __init__(self, symbols: int, levels: Sequence[Level]) -> None:
        """Args:
        symbols: A, the number of symbols with the unknown one.
        levels: levels 2, 3, …
        """
        self.symbols = symbols
        # Arrays of one element: numpy 1 would let a scalar's value, not its dtype, decide the dtype of a product.
        self._factors = [np.array([symbols], level.keys.dtype) for level in levels]
        self.levels = tuple(levels)
        self.nodes = symbols - 1 + sum(len(level) for level in self.levels)

    @classmethod
    def read(cls, read_asset: ReadAsset, symbols: int, depth: int) -> Trie:
        """From ``ngrams/level<k>_children.npy`` and ``ngrams/level<k>_symbols.npy`` for k = 2 to ``depth``.

        Raises:
            BundleError: damaged or contradicting files.
        """
        levels: list[Level] = []
        parents, first, base = symbols - 1, 1, symbols
        for k in range(2, depth + 1):
            children = read_array(read_asset, f"ngrams/level{k}_children.npy", "uint8 uint16 uint32")
            below = read_array(read_asset, f"ngrams/level{k}_symbols.npy", "uint8 uint16 uint32")
            if len(children) != parents or int(children.sum(dtype=np.uint64)) != len(below):
                raise BundleError(f"assets/ngrams/level{k}_children.npy: does not fit the level above or below")
            if int(below.max(initial=0)) >= symbols:
                raise BundleError(f"assets/ngrams/level{k}_symbols.npy: a symbol beyond the {symbols - 1} known ones")
            level = Level(_keys(children, below, first, symbols), base)
            if not (level.keys[1:] > level.keys[:-1]).all():
                raise BundleError(f"assets/ngrams/level{k}_symbols.npy: expected ascending symbols below each parent")
            levels.append(level)
            parents, first, base = len(level), 0, base + len(level)
        return cls(symbols, levels)

    @staticmethod
    def pack(
        paths: Iterable[tuple[int, ...]], symbols: int, depth: int
    ) -> tuple[dict[str, NDArray[Any]], dict[tuple[int, ...], int]]:
        """The arrays that :meth:`read` reads, by asset path, and the number of each node by its path.

        Args:
            paths: symbols of each n-gram, each 1 to ``symbols - 1``; 1 to ``depth`` of them.
            symbols: number of symbols with the unknown one.
            depth: the largest n.
        """
        tails: list[set[tuple[int, ...]]] = [set() for _ in range(depth + 1)]
        for path in paths:
            for k in range(2, len(path) + 1):
                tails[k].add(path[:k])
        arrays: dict[str, NDArray[Any]] = {}
        above: dict[tuple[int, ...], int] = {(symbol,): symbol for symbol in range(1, symbols)}
        numbers = dict(above)
        for k in range(2, depth + 1):
            nodes = sorted(tails[k])
            order = {path: i for i, path in enumerate(above)}
            parents = np.array([order[path[:-1]] for path in nodes], np.int64)
            children = np.bincount(parents, minlength=len(above))
            arrays[f"ngrams/level{k}_children.npy"] = children.astype(smallest_unsigned(int(children.max(initial=0))))
            below = np.array([path[-1] for path in nodes], np.int64)
            arrays[f"ngrams/level{k}_symbols.npy"] = below.astype(smallest_unsigned(symbols - 1))
            first = len(numbers) + 1
            above = {path: first + i for i, path in enumerate(nodes)}
            numbers.update(above)
        return arrays, numbers

    def match_pairs(self, symbols: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """What `match` finds of one and two symbols, without the positions and in fewer calls.

        Returns:
            numbers of the nodes of one symbol, and of two.
        """
        level = self.levels[0]
        queries = symbols[:-1] * self._factors[0]
        queries += symbols[1:]
        index = level.keys.searchsorted(queries)
        pairs = index[level.keys.take(index) == queries]
        pairs += level.base
        return symbols.take(symbols.nonzero()[0]), pairs

    def match(self, symbols: NDArray[Any], shortest: int) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """The n-grams that occur in a sequence of symbols, known prefixes of other n-grams included.

        Args:
            symbols: ids in [0, A).
            shortest: the smallest n to return.

        Returns:
            per n the triple (n, int64 numbers of the nodes found, int64 positions where each starts, ascending).
        """
        at = symbols.nonzero()[0]
        parents = symbols.take(at).astype(np.int64)
        found = [(1, parents, at)] if shortest == 1 else []
        for n, level in enumerate(self.levels, 2):
            inside = at.searchsorted(len(symbols) - n + 1)
            at, parents = at[:inside], parents[:inside]
            queries = parents.astype(level.keys.dtype)
            queries *= self._factors[n - 2]
            queries += symbols.take(at + (n - 1))
            index, hit = level.find(queries)
            parents, at = index[hit], at[hit]
            if n >= shortest:
                found.append((n, parents + level.base, at))
        return found


def _keys(children: NDArray[Any], below: NDArray[Any], first: int, symbols: int) -> NDArray[Any]:
    """Keys of a level, with the largest value of their dtype at the end; ``first`` is the first parent."""
    # The last parent's largest key must stay below the closing entry.
    beyond = (first + len(children)) * symbols
    if beyond >= 2**64:
        raise BundleError(f"assets/ngrams: {len(children)} n-grams over {symbols} symbols are too many")
    dtype = np.dtype(np.uint32 if beyond < 2**32 else np.uint64)
    keys = np.empty(len(below) + 1, dtype)
    parents = np.arange(first, first + len(children), dtype=dtype)
    parents *= dtype.type(symbols)
    np.add(parents.repeat(children), below, out=keys[:-1], casting="unsafe")
    keys[-1] = np.iinfo(dtype).max
    return keys
