"""Texts to token ids, and tokenizer files that are damaged or hostile."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import BundleError, InputError, ManifestError, MissingPackageError
from ortolan.inputs import tokens
from ortolan.inputs.patterns import objection
from ortolan.inputs.tokens import TokenConfig, TokenEncoder, parse_config, read_tokenizer

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "c": 6, "你": 7, "👍": 8}
CONFIG = TokenConfig(tokenizer="tokenizer.json", vocabulary=9, max_length=6)


def tokenizer_json(**changes: Any) -> bytes:
    """A tokenizer that splits at white space and frames a text with [CLS] and [SEP]."""
    special = {name: {"id": name, "ids": [VOCABULARY[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    content = {
        "version": "1.0",
        # What a file says of length and padding does not count; the bundle's configuration does.
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 5},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 1}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    }
    return json.dumps(content | changes, ensure_ascii=False).encode()


def opened(config: TokenConfig = CONFIG, raw: bytes | None = None) -> TokenEncoder:
    """An encoder over the tokenizer."""
    files = {"tokenizer.json": tokenizer_json() if raw is None else raw}
    return TokenEncoder.open(config.to_json(), files.__getitem__)


def changed(**changes: Any) -> TokenConfig:
    """The configuration with other values."""
    return TokenConfig(**{**{name: getattr(CONFIG, name) for name in CONFIG.__slots__}, **changes})


def replacing(pattern: dict[str, str], content: str, times: int) -> bytes:
    """A tokenizer that replaces something over and over."""
    step = {"type": "Replace", "pattern": pattern, "content": content}
    return tokenizer_json(normalizer={"type": "Sequence", "normalizers": [step] * times})


def split_at(pattern: str) -> bytes:
    """A tokenizer that splits texts with a regular expression."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return tokenizer_json(pre_tokenizer=split)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a b", [2, 4, 5, 3]),
        ("", [2, 3]),
        (" \t\n", [2, 3]),
        ("你 👍 ?", [2, 7, 8, 1, 3]),
        ("a\x00b", [2, 1, 3]),
        ("a b c a", [2, 4, 5, 6, 4, 3]),
        ("a b c a b c a b", [2, 4, 5, 6, 4, 3]),
    ],
)
def test_ids(text: str, ids: list[int]) -> None:
    """Special tokens around, longer texts cut so that these stay; nothing is padded."""
    found, types = opened().encode(text)
    assert found == ids
    assert types == [0, *[1] * (len(ids) - 2), 0]


def test_the_left_end_is_cut_where_that_is_declared() -> None:
    """Truncation keeps the end of a text."""
    assert opened(changed(truncation="left")).encode("a b c a b c")[0] == [2, 6, 4, 5, 6, 3]


def test_lower_case() -> None:
    """Python's rules, among them the sigma at the end of a word."""
    vocabulary = VOCABULARY | {"ςσς": 8}
    raw = tokenizer_json(model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"})
    assert opened(changed(lowercase=True)).encode("A b C")[0] == [2, 4, 5, 6, 3]
    assert opened(changed(lowercase=True), raw).encode("ςΣΣ")[0] == [2, 8, 3]
    assert opened(raw=raw).encode("A b C")[0] == [2, 1, 5, 1, 3]


def test_a_text_that_is_too_long_is_refused_where_nothing_is_truncated() -> None:
    """The message says how many tokens there are and may be."""
    encoder = opened(changed(truncation=None))
    assert len(encoder.encode("a b c a")[0]) == 6
    with pytest.raises(InputError, match="expected a text of at most 6 tokens, found 7; shorten or split it"):
        encoder.encode("a b c a b")


def test_a_lone_surrogate_is_refused() -> None:
    """The tokenizers package takes none either; the position and what to do are named."""
    with pytest.raises(InputError) as caught:
        opened().encode("a \ud83d")
    assert str(caught.value) == (
        "a text holds a lone surrogate ('\\ud83d') at position 2, which is no character; "
        "replace it, e.g. with text.encode('utf-8', 'replace').decode()"
    )


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=50))
def test_any_text_is_encoded(text: str) -> None:
    """Within the length and the vocabulary."""
    ids, types = opened().encode(text)
    assert 2 <= len(ids) == len(types) <= 6
    assert ids[0] == 2
    assert ids[-1] == 3
    assert max(ids) < 9


def test_the_configuration_survives_json() -> None:
    """What is written is what is read."""
    config = changed(truncation=None, lowercase=True, padding="left", pad_id=3, pad_type_id=1)
    assert parse_config(json.loads(json.dumps(config.to_json())), "x") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": 1}, "x.tokenizer: expected the name of an asset, found 1"),
        ({"vocabulary": 0}, "x.vocabulary: expected an int from 1 to 2147483648, found 0"),
        ({"vocabulary": True}, "x.vocabulary: expected an int from 1 to 2147483648, found True"),
        ({"max_length": 1 << 30}, "x.max_length: expected an int from 1 to 1048576, found 1073741824"),
        ({"lowercase": "yes"}, "x.lowercase: expected true or false, found 'yes'"),
        ({"truncation": "middle"}, "x.truncation: expected 'right', 'left' or null, found 'middle'"),
        ({"padding": None}, "x.padding: expected an object, found NoneType"),
        (
            {"padding": {"side": "top", "id": 0, "type_id": 0}},
            "x.padding.side: expected 'right' or 'left', found 'top'",
        ),
        (
            {"padding": {"side": "left", "id": 9, "type_id": 0}},
            "x.padding.id: expected an int from 0 to 8, found 9",
        ),
        ({"padding": {"side": "left", "id": 0}}, "x.padding.type_id: expected a value, found none"),
        (
            {"stride": 1},
            "x.stride: unknown key; known: kind, tokenizer, vocabulary, max_length, lowercase, truncation, padding",
        ),
    ],
)
def test_wrong_configuration(change: dict[str, Any], message: str) -> None:
    """Each error names the dotted path of the value."""
    with pytest.raises(ManifestError) as caught:
        parse_config({**CONFIG.to_json(), **change}, "x")
    assert str(caught.value) == message


def test_no_room_beside_the_special_tokens() -> None:
    """A length that cuts everything is a mistake."""
    with pytest.raises(ManifestError, match="max_length: expected more than the 2 special tokens of an empty text"):
        opened(changed(max_length=2))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected a tokenizer of the tokenizers package: .*EOF"),
        (tokenizer_json()[:200], "expected a tokenizer of the tokenizers package: .*EOF"),
        (b"{}", "expected a tokenizer of the tokenizers package: .*Model missing"),
        (b"[" * 100_000, "expected a tokenizer of the tokenizers package"),
        (b"\xff\xfe", "expected a tokenizer of the tokenizers package"),
        (
            tokenizer_json(model={"type": "WordLevel", "vocab": {"a": 1 << 40}, "unk_token": "a"}),
            "expected a tokenizer of the tokenizers package: .*u32",
        ),
        (
            tokenizer_json(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
            "refused the Precompiled normalizer: its map is not as long as it says",
        ),
        (split_at("(a+)+$"), "refused the regular expression"),
        (split_at("(a|aa)+$"), "refused the regular expression"),
        (split_at("(a+)+$").replace(b"Regex", rb"Re\u0067ex"), "refused the regular expression"),
        # Five bytes that announce 4 GB, which the package would ask the system for, and end the process.
        (
            tokenizer_json(normalizer={"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
            "refused the Precompiled normalizer",
        ),
        (replacing({"String": "a"}, "aa", 40), "they can make a text more than 64 times longer"),
        (replacing({"Regex": "x*"}, "y", 40), "they can make a text more than 64 times longer"),
        (
            replacing({"Regex": "(?=a)"}, "a", 40),
            "they can make a text more than 64 times longer",
        ),
        (
            replacing({"String": "a"}, "a" * 100_000, 1),
            "they can make a text more than 64 times longer",
        ),
        (split_at("("), "expected a tokenizer of the tokenizers package"),
        (rb'{"Regex": "\u12"', "expected JSON"),
    ],
)
def test_damaged_and_hostile_files(raw: bytes, message: str) -> None:
    """Each is a BundleError that names the file, also where the package panics."""
    with pytest.raises(BundleError, match=message) as caught:
        opened(raw=raw)
    assert str(caught.value).startswith("assets/tokenizer.json: ")


def test_replacements_in_use() -> None:
    """Those of well-known tokenizers, however many, are accepted."""
    for pattern, content in (
        ({"String": " "}, "▁"),
        ({"Regex": r"\s+"}, " "),
        ({"String": "``"}, '"'),
        ({"Regex": " {2,}"}, ""),
    ):
        assert opened(raw=replacing(pattern, content, 20)).encode("b")[0][1:-1]


def test_a_character_map_without_sense() -> None:
    """As long as it says, but no trie: a typed error, or ids."""
    raw = tokenizer_json(normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8="})
    try:
        assert opened(raw=raw).encode("a b")[0]
    except BundleError as error:
        assert "the tokenizer failed on a text" in str(error)


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it is parsed."""
    monkeypatch.setattr(tokens, "LARGEST_FILE", 100)
    with pytest.raises(BundleError, match="expected a tokenizer of at most 100 bytes, found"):
        opened()


def test_a_missing_file() -> None:
    """The asset's path is named."""
    with pytest.raises(BundleError, match=r"^assets/t\.json: expected the tokenizer, found no such file$"):
        read_tokenizer("t.json", {}.__getitem__)


def test_ids_that_the_model_has_no_row_for() -> None:
    """They never reach the model."""
    vocabulary = VOCABULARY | {"a": 4_294_967_295}
    raw = tokenizer_json(model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"})
    encoder = opened(raw=raw)
    assert encoder.encode("b")[0] == [2, 5, 3]
    assert encoder.largest_id() == 4_294_967_295
    with pytest.raises(BundleError, match="the tokenizer gave the id 4294967295, but the model has only 9 rows"):
        encoder.encode("a")


def test_a_panic_while_a_text_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a regular expression run away all the same, the package's own limit ends it with a typed error."""
    monkeypatch.setattr("ortolan.inputs.tokenizer_file.objection", lambda _: None)
    encoder = opened(raw=split_at("(a|aa)+$"))
    with pytest.raises(BundleError, match=r"the tokenizer failed on a text: .*retry-limit"):
        encoder.encode("a" * 200 + "!")
    assert encoder.encode("b")[0] == [2, 5, 3]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingPackageError, match="install it: pip install tokenizers"):
        opened()


@pytest.mark.parametrize(
    "pattern",
    [
        # GPT-2, Llama 3, GPT-4o and DeepSeek
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\p{N}{1,3}",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+",
        "(ab)+",
        "a{2,3}",
        "(?:a{2})*",
        r"(\()+",
        "[(a+)]+",
        "{",
        "a{x}",
    ],
)
def test_patterns_in_use(pattern: str) -> None:
    """Those of well-known tokenizers, and plain ones, are accepted."""
    assert objection(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("(a+)+", "it repeats what repeats or varies by itself at position 4"),
        ("(a*)*b", "it repeats what repeats or varies by itself at position 4"),
        ("(?:a|aa)*", "it repeats what repeats or varies by itself at position 8"),
        ("((a+)b)+", "it repeats what repeats or varies by itself at position 7"),
        ("(a+){2,}", "it repeats what repeats or varies by itself at position 4"),
        ("(a{1,900})*", "it repeats what repeats or varies by itself at position 10"),
        ("(ba?)+", "it repeats what repeats or varies by itself at position 5"),
        ("(a{1,}){30}", "it repeats what repeats or varies by itself at position 7"),
        ("(a+)?+(x|y)+", "it repeats what repeats or varies by itself at position 5"),
        ("a{100000}", "it repeats more than 1000 times at position 1"),
        ("a" * 5000, "it has 5000 characters, more than 4096"),
    ],
)
def test_patterns_that_may_run_away(pattern: str, problem: str) -> None:
    """Nested repetition, repeated alternatives, and sizes without reason."""
    assert objection(pattern) == problem


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab()[]{}|*+?\\,19^-", max_size=40))
def test_any_pattern_is_looked_at_without_fault(pattern: str) -> None:
    """The scanner ends, whatever is in it."""
    found = objection(pattern)
    assert found is None or found.startswith("it ")
