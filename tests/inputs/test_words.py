"""The packed table of words."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.inputs.assets import npy_bytes
from ortolan.inputs.words import Words

words = st.lists(st.text(st.characters(exclude_categories=()), max_size=6), unique=True)


def read(arrays):
    """The table from its files."""
    return Words.read({path: npy_bytes(array) for path, array in arrays.items()}.__getitem__)


@settings(max_examples=100, deadline=None)
@given(known=words, other=words)
def test_ids_are_positions_in_packing_order(known, other):
    """Each known word has its id, lone surrogates and the empty word included; every other has 0."""
    order, arrays = Words.pack(known)
    assert sorted(order) == sorted(known)
    assert read(arrays).lookup(order) == list(range(1, len(known) + 1))
    strangers = [word for word in other if word not in known]
    assert read(arrays).lookup(strangers) == [0] * len(strangers)


def test_words_with_the_same_checksum():
    """`plumless` and `buckeroo` share a CRC-32; their bytes tell them apart."""
    assert crc32(b"plumless") == crc32(b"buckeroo")
    order, arrays = Words.pack(["buckeroo", "plumless", "x"])
    assert [order[i - 1] for i in read(arrays).lookup(["plumless", "buckeroo", "x"])] == ["plumless", "buckeroo", "x"]
    _, alone = Words.pack(["buckeroo", "x"])
    assert read(alone).lookup(["plumless"]) == [0]


def test_lengths_take_one_byte_where_they_fit():
    """The table is as small as its longest word allows."""
    _, arrays = Words.pack(["short", "shorter"])
    assert arrays["ngrams/word_lengths.npy"].dtype == np.uint8
    _, arrays = Words.pack(["short", "x" * 300])
    assert arrays["ngrams/word_lengths.npy"].dtype == np.uint16
