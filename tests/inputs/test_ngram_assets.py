"""Damaged and hostile n-gram assets and configurations."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import BundleError, ManifestError, MissingPackageError
from ortolan.inputs.assets import npy_bytes
from ortolan.inputs.ngrams import NgramEncoder

CHAR = {
    "kind": "ngrams",
    "analyzer": "char",
    "ngram_range": [1, 2],
    "lowercase": True,
    "strip_accents": None,
    "token_pattern": None,
    "tokenizer": None,
    "stop_words": None,
    "binary": False,
    "sublinear_tf": False,
    "norm": "l2",
    "features": 5,
    "kept": 5,
    "idf": "palette",
    "nodes": "all",
}
CHAR_ASSETS = {
    "ngrams/alphabet.npy": np.array([97, 98, 0x1F44D], np.uint32),
    "ngrams/level2_children.npy": np.array([2, 0, 0], np.uint8),
    "ngrams/level2_symbols.npy": np.array([2, 3], np.uint8),
    "ngrams/idf.npy": np.array([1.0, 2.5]),
    "ngrams/idf_codes.npy": np.array([0, 0, 1, 1, 0], np.uint8),
}
WORD = CHAR | {
    "analyzer": "word",
    "token_pattern": r"\w+",
    "ngram_range": [1, 1],
    "features": 2,
    "kept": 2,
    "idf": None,
}
WORD_ASSETS = {
    "ngrams/word_checksums.npy": np.array([0x71BEEFF9, 0xE8B7BE43], np.uint32),
    "ngrams/word_lengths.npy": np.array([1, 1], np.uint8),
    "ngrams/words.npy": np.frombuffer(b"ba", np.uint8),
}


def encoder(config, arrays, **replaced):
    """Open an encoder; values of ``replaced`` are arrays, bytes or None for a missing file."""
    assets = {path: npy_bytes(array) for path, array in arrays.items()}
    for name, value in replaced.items():
        path = f"ngrams/{name}.npy"
        if value is None:
            del assets[path]
        else:
            assets[path] = value if isinstance(value, bytes) else npy_bytes(value)
    return NgramEncoder.open(config, assets.__getitem__)


def test_hand_made_characters():
    """Two characters, an emoji and two pairs: a, b, 👍, ab, a👍 have the ids 0 to 4."""
    ids, values = encoder(CHAR | {"norm": None}, CHAR_ASSETS).encode_one("abA👍z")
    assert ids.tolist() == [0, 1, 2, 3, 4]
    assert values.tolist() == [2.0, 1.0, 2.5, 2.5, 1.0]


def test_hand_made_words():
    """Words are found by checksum and compared byte by byte."""
    words = encoder(WORD | {"norm": None}, WORD_ASSETS)
    assert [array.tolist() for array in words.encode_one("A b c b")] == [[0, 1], [2.0, 1.0]]


def test_no_text_no_features():
    """Empty text, unknown text and no texts at all give empty arrays."""
    chars = encoder(CHAR, CHAR_ASSETS)
    for text in ("", "zzz", "\ud800\0"):
        ids, values = chars.encode_one(text)
        assert (ids.shape, ids.dtype, values.shape, values.dtype) == ((0,), np.int64, (0,), np.float32)
    assert [array.tolist() for array in chars.encode_many([])] == [[], [], [0]]
    assert [array.tolist() for array in chars.encode_many(["", "zzz"])] == [[], [], [0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alphabet", None, "assets/ngrams/alphabet.npy: expected this file, found none"),
        ("alphabet", b"", "assets/ngrams/alphabet.npy: expected a .npy file of version 1.0, found bytes b''"),
        ("alphabet", b"\x93NUMPY\x01\x00", "expected the header of a plain array, found b''"),
        ("alphabet", npy_bytes(np.array([97, 98], np.uint32))[:-1], "expected 8 bytes for shape (2,), found 7"),
        ("alphabet", np.array([97, 98, 99], np.int32), "expected little-endian uint32, found <i4"),
        ("alphabet", np.array([98, 97, 99], np.uint32), "expected ascending code points"),
        ("alphabet", np.array([97, 97, 99], np.uint32), "expected ascending code points"),
        ("alphabet", np.array([97, 98, 0x110000], np.uint32), "expected ascending code points"),
        ("alphabet", np.array([[97]], np.uint32), "expected 1 axes in C order, found shape (1, 1)"),
        ("level2_children", np.array([2, 0], np.uint8), "level2_children.npy: does not fit the level above or below"),
        ("level2_children", np.array([1, 0, 0], np.uint8), "level2_children.npy: does not fit"),
        ("level2_symbols", np.array([2, 4], np.uint8), "a symbol beyond the 3 known ones"),
        ("level2_symbols", np.array([3, 2], np.uint8), "expected ascending symbols below each parent"),
        ("level2_symbols", np.array([2, 2], np.uint8), "expected ascending symbols below each parent"),
        ("idf", np.array([1.0, np.nan]), "assets/ngrams/idf.npy: expected finite values"),
        ("idf", np.array([1.0], np.float32), "expected little-endian float64, found <f4"),
        ("idf_codes", np.array([0, 0, 1, 2, 0], np.uint8), "a code beyond the 2 values"),
        ("idf_codes", np.array([0, 0, 1], np.uint8), "expected weights of 5 features"),
    ],
)
def test_damaged_character_assets(name, value, message):
    """Each file is checked by itself and against the others."""
    with pytest.raises(BundleError) as caught:
        encoder(CHAR, CHAR_ASSETS, **{name: value})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("word_checksums", np.array([2, 1], np.uint32), "expected ascending values"),
        ("word_lengths", np.array([1, 2], np.uint8), "does not fit word_checksums.npy and words.npy"),
        ("word_lengths", np.array([2], np.uint8), "does not fit word_checksums.npy and words.npy"),
        ("words", np.zeros(3, np.uint8), "does not fit word_checksums.npy and words.npy"),
    ],
)
def test_damaged_word_assets(name, value, message):
    """Words, lengths and checksums must fit each other."""
    with pytest.raises(BundleError) as caught:
        encoder(WORD, WORD_ASSETS, **{name: value})
    assert message in str(caught.value)


def test_many_equal_checksums_are_refused():
    """A look-up walks over words with equal checksums, so their number is bounded."""
    arrays = {
        "word_checksums": np.zeros(100, np.uint32),
        "word_lengths": np.ones(100, np.uint8),
        "words": np.zeros(100, np.uint8),
    }
    with pytest.raises(BundleError, match="more than 64 equal values"):
        encoder(WORD | {"features": 100, "kept": 100}, WORD_ASSETS, **arrays)


def test_objects_in_npy_files_are_never_unpickled():
    """A .npy file with pickled objects is refused by its dtype."""
    stream = io.BytesIO()
    np.save(stream, np.array([print], object), allow_pickle=True)
    with pytest.raises(BundleError, match="expected little-endian float64, found"):
        encoder(CHAR, CHAR_ASSETS, idf=stream.getvalue())


@pytest.mark.parametrize(
    "nodes",
    [
        np.array([[0b11111000], [0b11111001]], np.uint8)[:, :0],
        np.array([[0b11111000]], np.uint8),
        np.array([[0b11000000], [0b11100000]], np.uint8),
        np.array([[0b11111000], [0b00000000]], np.uint8),
    ],
)
def test_bits_that_do_not_fit(nodes):
    """Too few planes or bits, kept nodes that are no features, more dropped features than there are."""
    with pytest.raises(BundleError, match=r"assets/ngrams/nodes\.npy"):
        encoder(CHAR | {"nodes": "bits", "kept": 3}, CHAR_ASSETS, nodes=nodes)


@pytest.mark.parametrize("nodes", [[0, 1, 2, 3], [0, 1, 2, 3, 5], [0, 1, 2, 3, -2]])
def test_node_ids_that_do_not_fit(nodes):
    """Too few, too large or negative feature ids."""
    with pytest.raises(BundleError, match=r"assets/ngrams/nodes\.npy"):
        encoder(CHAR | {"nodes": "ids"}, CHAR_ASSETS, nodes=np.array(nodes, np.int32))


def test_number_of_features_must_be_the_number_of_nodes():
    """Where all nodes are features there is nothing else they could be."""
    with pytest.raises(BundleError, match="5 n-grams found, expected 6, all kept"):
        encoder(CHAR | {"features": 6, "kept": 6}, CHAR_ASSETS)


def test_line_feed_in_the_alphabet_of_words():
    """``char_wb`` separates words by a line feed, so none may be known."""
    with pytest.raises(BundleError, match="a line feed, which words cannot contain"):
        encoder(CHAR | {"analyzer": "char_wb"}, CHAR_ASSETS, alphabet=np.array([10, 97, 98], np.uint32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"analyzer": "chars"},
            "task.config.input.analyzer: expected one of ('word', 'char', 'char_wb'), found 'chars'",
        ),
        ({"analyzer": ["char"]}, "task.config.input.analyzer: expected one of"),
        ({"strip_accents": False}, "task.config.input.strip_accents: expected one of"),
        ({"norm": "max"}, "task.config.input.norm: expected one of"),
        ({"binary": 0}, "task.config.input.binary: expected bool, found int"),
        ({"ngram_range": [2, 1]}, "task.config.input.ngram_range: expected 1 <= low <= high <= 64, found [2, 1]"),
        ({"ngram_range": [1, 65]}, "task.config.input.ngram_range: expected 1 <= low <= high <= 64, found [1, 65]"),
        ({"ngram_range": [1, True]}, "task.config.input.ngram_range[1]: expected an int"),
        ({"ngram_range": 1}, "task.config.input.ngram_range: expected a list of two ints, found 1"),
        ({"features": -1}, "task.config.input.features: expected an int from 0 to 2**31 - 1, found -1"),
        ({"kept": 6}, "task.config.input.kept: expected at most 5, found 6"),
        ({"kind": "tokens"}, "task.config.input.kind: expected 'ngrams', found 'tokens'"),
        ({"extra": 1}, "task.config.input.extra: unknown key; known: kind, analyzer"),
        ({"stop_words": [1]}, "task.config.input.stop_words: expected null or a list of str"),
        ({"tokenizer": {"name": "jieba.cut", "version": "0.42.1"}}, "task.config.input.tokenizer: expected null with"),
        ({"tokenizer": "jieba.cut"}, "task.config.input.tokenizer: expected null or an object"),
        ({"tokenizer": {"name": "os.system", "version": "1"}}, "task.config.input.tokenizer.name: expected one of"),
        ({"tokenizer": {"name": [], "version": "1"}}, "task.config.input.tokenizer.name: expected one of"),
        ({"tokenizer": {"name": "jieba.cut", "version": 1}}, "task.config.input.tokenizer.version: expected str"),
        ({"analyzer": "word"}, "task.config.input.token_pattern: expected str, found NoneType"),
        (
            {"analyzer": "word", "token_pattern": "(a"},
            "task.config.input.token_pattern: expected a regular expression, found '(a'",
        ),
        (
            {"analyzer": "word", "token_pattern": "(a)(b)"},
            "task.config.input.token_pattern: expected at most one capturing group, found 2 in '(a)(b)'",
        ),
    ],
)
def test_wrong_configuration(change, message):
    """Each error names the dotted path of the value."""
    with pytest.raises(ManifestError) as caught:
        encoder(CHAR | change, CHAR_ASSETS)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", CHAR)
def test_missing_key(key):
    """No option has a silent default."""
    with pytest.raises(ManifestError, match=rf"task\.config\.input\.{key}: expected a value, found none"):
        encoder({k: v for k, v in CHAR.items() if k != key}, CHAR_ASSETS)


def test_jieba_of_another_version():
    """Another minor version may cut differently, so it is refused with the one to install."""
    pytest.importorskip("jieba")
    config = WORD | {"tokenizer": {"name": "jieba.lcut", "version": "0.39.2"}}
    with pytest.raises(MissingPackageError, match=r"jieba 0\.39\.2, found .* pip install 'jieba==0\.39\.\*'"):
        encoder(config, WORD_ASSETS)


def test_jieba_not_installed(monkeypatch):
    """The message names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    config = WORD | {"tokenizer": {"name": "jieba.cut", "version": "0.42.1"}}
    with pytest.raises(
        MissingPackageError, match=r"jieba 0\.42\.1, which is not installed; pip install 'ortolan\[jieba\]'"
    ):
        encoder(config, WORD_ASSETS)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_random_bytes_open_or_are_refused(data):
    """Any change of any file's bytes gives a working encoder or a BundleError, nothing else."""
    assets = {path: npy_bytes(array) for path, array in CHAR_ASSETS.items()}
    path = data.draw(st.sampled_from(sorted(assets)))
    raw = bytearray(assets[path])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assets[path] = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    try:
        opened = NgramEncoder.open(CHAR, assets.__getitem__)
    except BundleError:
        return
    ids, values = opened.encode_one("ab👍ba")
    assert len(ids) == len(values)
    assert ((ids >= 0) & (ids < 5)).all()
