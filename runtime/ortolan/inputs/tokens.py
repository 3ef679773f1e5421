"""Texts to token ids with a Hugging Face tokenizer: the ``tokenizer.json`` of a bundle, read as untrusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ortolan.errors import BundleError, InputError, ManifestError, MissingPackageError
from ortolan.inputs.tokenizer_file import check_tokenizer
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ortolan.inputs.assets import ReadAsset

Side = Literal["right", "left"]

LARGEST_FILE = 64 << 20
"""Bytes of a ``tokenizer.json``; the largest in use (vocabularies of 256k) have about 35 MB."""
LONGEST = 1 << 20
"""Most tokens that a configuration may allow a text."""

_KEYS = ("kind", "tokenizer", "vocabulary", "max_length", "lowercase", "truncation", "padding")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """What turns a text into token ids.

    Args:
        tokenizer: the asset with the tokenizer, e.g. ``"tokenizer.json"``.
        vocabulary: number of rows of the model's embedding: every id is below it.
        max_length: most tokens of a text, special ones included.
        lowercase: whether ``str.lower`` is applied before the tokenizer, which may have a rule of its own.
        truncation: the end at which a longer text is cut; None to refuse it.
        padding: the end at which shorter texts of a batch are filled up.
        pad_id: with this id,
        pad_type_id: and this token type.
    """

    tokenizer: str
    vocabulary: int
    max_length: int
    lowercase: bool = False
    truncation: Side | None = "right"
    padding: Side = "right"
    pad_id: int = 0
    pad_type_id: int = 0

    def to_json(self) -> dict[str, object]:
        """The form that :func:`parse_config` reads."""
        return {
            "kind": "tokens",
            "tokenizer": self.tokenizer,
            "vocabulary": self.vocabulary,
            "max_length": self.max_length,
            "lowercase": self.lowercase,
            "truncation": self.truncation,
            "padding": {"side": self.padding, "id": self.pad_id, "type_id": self.pad_type_id},
        }


def parse_config(raw: Mapping[str, object], path: str) -> TokenConfig:
    """The configuration in ``raw``, checked.

    Args:
        raw: the JSON object with ``"kind": "tokens"``.
        path: its dotted path in the manifest, for messages.

    Raises:
        ManifestError: a missing, unknown or wrong value.
    """
    _check_keys(raw, _KEYS, path)
    tokenizer, truncation, padding = raw["tokenizer"], raw["truncation"], raw["padding"]
    if not isinstance(tokenizer, str) or not tokenizer:
        raise ManifestError(f"{path}.tokenizer", f"expected the name of an asset, found {tokenizer!r}")
    if not isinstance(raw["lowercase"], bool):
        raise ManifestError(f"{path}.lowercase", f"expected true or false, found {raw['lowercase']!r}")
    if truncation is not None and truncation != "right" and truncation != "left":
        raise ManifestError(f"{path}.truncation", f"expected 'right', 'left' or null, found {truncation!r}")
    if not isinstance(padding, dict):
        raise ManifestError(f"{path}.padding", f"expected an object, found {type(padding).__name__}")
    _check_keys(padding, ("side", "id", "type_id"), f"{path}.padding")
    if padding["side"] not in ("right", "left"):
        raise ManifestError(f"{path}.padding.side", f"expected 'right' or 'left', found {padding['side']!r}")
    vocabulary = _integer(raw["vocabulary"], f"{path}.vocabulary", 1, 1 << 31)
    return TokenConfig(
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        max_length=_integer(raw["max_length"], f"{path}.max_length", 1, LONGEST),
        lowercase=raw["lowercase"],
        truncation=truncation,
        padding=padding["side"],
        pad_id=_integer(padding["id"], f"{path}.padding.id", 0, vocabulary - 1),
        pad_type_id=_integer(padding["type_id"], f"{path}.padding.type_id", 0, 1 << 16),
    )


class TokenEncoder:
    """Texts to ids. Thread-safe; texts are encoded in the calling thread, without a pool of the tokenizer's own."""

    def __init__(self, tokenizer: Any, config: TokenConfig) -> None:
        """Args:
        tokenizer: a ``tokenizers.Tokenizer`` that neither pads nor truncates yet; its own settings are replaced.
        config: what applies instead.

        Raises:
            ManifestError: ``max_length`` leaves no room for a token beside the special ones.
        """
        self.config = config
        self._tokenizer = tokenizer
        self._vocabulary = config.vocabulary
        tokenizer.no_padding()
        tokenizer.no_truncation()
        special = len(self.encode("")[0])
        if config.max_length <= special:
            raise ManifestError(
                "task.config.input.max_length",
                f"expected more than the {special} special tokens of an empty text, found {config.max_length}",
            )
        if config.truncation is not None:
            tokenizer.enable_truncation(config.max_length, direction=config.truncation)

    @classmethod
    def open(cls, raw: Mapping[str, object], read_asset: ReadAsset) -> TokenEncoder:
        """The encoder of a bundle.

        Args:
            raw: the ``"input"`` object of the task's configuration.
            read_asset: gives the content of an asset.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: no tokenizer, or a damaged or hostile one.
            MissingPackageError: the package tokenizers is not installed.
        """
        config = parse_config(raw, "task.config.input")
        return cls(read_tokenizer(config.tokenizer, read_asset), config)

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Ids and token types of a text, special tokens included, truncated as declared; errors as for `encoding`."""
        encoded = self.encoding(text)
        ids: list[int] = encoded.ids
        return ids, encoded.type_ids

    def encoding(self, text: str) -> Any:
        """The ``tokenizers.Encoding`` of a text: ids, and where in the text each token stands.

        Raises:
            InputError: a lone surrogate, which no tokenizer takes; or too many tokens where nothing is truncated.
            BundleError: the tokenizer failed, or gave an id that the model has no row for.
        """
        try:
            encoded = self._tokenizer.encode(text.lower() if self.config.lowercase else text)
        except TypeError as error:
            raise _surrogate(text) from error
        except BaseException as error:
            raise _failed(error, "the tokenizer failed on a text") from error
        ids: list[int] = encoded.ids
        if ids and max(ids) >= self._vocabulary:
            raise BundleError(f"the tokenizer gave the id {max(ids)}, but the model has only {self._vocabulary} rows")
        if len(ids) > self.config.max_length:
            raise InputError(
                f"expected a text of at most {self.config.max_length} tokens, found {len(ids)}; shorten or split it"
            )
        return encoded

    @property
    def continues_words(self) -> bool:
        """Whether tokens within a word are spelled with a prefix of their own, as WordPiece does with ``##``."""
        return bool(getattr(self._tokenizer.model, "continuing_subword_prefix", None))

    def largest_id(self) -> int:
        """The largest id that the tokenizer can give; -1 for an empty vocabulary. Slow: it lists all."""
        vocabulary: Mapping[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return max(vocabulary.values(), default=-1)


def read_tokenizer(asset: str, read_asset: ReadAsset) -> Any:
    """The ``tokenizers.Tokenizer`` in an asset.

    Raises:
        MissingPackageError: the package tokenizers is not installed.
        BundleError: there is no such asset, it is too large, damaged or hostile (`check_tokenizer`).
    """
    try:
        raw = read_asset(asset)
    except LookupError:
        raise BundleError(f"assets/{asset}: expected the tokenizer, found no such file") from None
    where = f"assets/{asset}"
    if len(raw) > LARGEST_FILE:
        raise BundleError(f"{where}: expected a tokenizer of at most {LARGEST_FILE} bytes, found {len(raw)}")
    check_tokenizer(raw, where)
    load = _loader()
    try:
        return load(raw)
    except BaseException as error:
        raise _failed(error, f"{where}: expected a tokenizer of the tokenizers package") from error


def _loader() -> Callable[[bytes], Any]:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingPackageError(
            f"the package tokenizers cannot be imported ({error}); install it: pip install tokenizers"
        ) from error
    loader: Callable[[bytes], Any] = Tokenizer.from_buffer
    return loader


def _failed(error: BaseException, what: str) -> BaseException:
    """The typed error for a failure inside tokenizers; what is no failure of it stays as it is.

    A panic of its Rust code reaches Python as an exception that is no ``Exception``.
    """
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return BundleError(f"{what}: {' '.join(str(error).split())[:300]}")
    return error


def _surrogate(text: str) -> Exception:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return InputError(
            f"a text holds a lone surrogate ({text[error.start]!a}) at position {error.start}, which is no character; "
            "replace it, e.g. with text.encode('utf-8', 'replace').decode()"
        )
    return BundleError("the tokenizer does not take plain texts")


def _check_keys(raw: Mapping[str, object], known: tuple[str, ...], path: str) -> None:
    for key in raw:
        if key not in known:
            raise ManifestError(f"{path}.{key}", f"unknown key; known: {', '.join(known)}")
    for key in known:
        if key not in raw:
            raise ManifestError(f"{path}.{key}", "expected a value, found none")


def _integer(value: object, path: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ManifestError(path, f"expected an int from {low} to {high}, found {value!r}")
    return value
