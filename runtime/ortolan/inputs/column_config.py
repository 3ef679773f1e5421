"""The configuration of a table's columns, as it stands in a bundle's task configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from ortolan.bundle.fields import Record, array, choice, join, mismatch, number, optional, text
from ortolan.errors import BundleError, ManifestError
from ortolan.inputs.assets import no_assets
from ortolan.inputs.column_hashes import HASHES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ortolan.bundle.fields import Convert
    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.ngram_sets import NgramSets
    from ortolan.types import TensorSpec

Cast = Literal["exact", "round"]

MAX_FEATURES = 65_536
"""Most columns of a table; a bound against hostile configurations."""

MAX_VALUES = 65_536
"""Most values that a column may be limited to."""

STRINGS = "str"
_FLOATS = ("float16", "float32", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_NAME = text(re.compile(r"[^\x00]{1,256}", re.DOTALL), "a name of 1 to 256 characters")
_STRING = text(re.compile(r".*", re.DOTALL), "a text")
_LEAVE = choice(("refuse", "allow"))
UNUSED = "unused"
"""``Feature.dtype`` of a column that may stand in a row and that the model does not see."""
TEXT = "text"
"""``Feature.dtype`` of a column of texts that become n-gram features."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the table.

    Args:
        name: as in the training data.
        input: the model's input that takes it.
        dtype: numpy's name of that input's elements, ``"str"`` for strings; :data:`UNUSED` if no input takes it, and
            :data:`TEXT` if several do.
        missing: whether NaN or None may stand for an unknown value.
        infinite: whether infinities may stand in it.
        missing_as: what the model is given for a missing string; None where none may be missing.
        values: the only values that it may have; None for any.
        text: how a text becomes the model's inputs; None for other columns.
        hash: how categories become the model's numbers, a name of `ortolan.inputs.column_hashes.HASHES`; None for
            other columns.
    """

    name: str
    input: str
    dtype: str
    missing: bool
    infinite: bool = False
    missing_as: str | None = None
    values: tuple[str | float, ...] | None = None
    text: NgramSets | None = None
    hash: str | None = None

    @property
    def is_alone(self) -> bool:
        """Whether it is of one input of the model, and no text."""
        return self.dtype not in (UNUSED, TEXT)

    @property
    def takes_strings(self) -> bool:
        """Whether its values are strings."""
        return self.dtype in (STRINGS, TEXT) or self.hash is not None


@dataclass(frozen=True, slots=True)
class ColumnsConfig:
    """The columns, and how their values become the model's.

    Args:
        features: in the order of the model.
        matrix: the input that takes several columns side by side; None if each has an input of its own.
        cast: ``"exact"`` refuses a number that the model's dtype does not have, ``"round"`` takes the nearest.
        ranks: number of axes of each input.
        rows: most rows that one run takes; None for any number.
    """

    features: tuple[Feature, ...]
    matrix: str | None
    cast: Cast
    ranks: Mapping[str, int]
    rows: int | None


def parse_columns(
    raw: object, inputs: Sequence[TensorSpec], at: str, read_asset: ReadAsset = no_assets
) -> ColumnsConfig:
    """The configuration in ``raw``, checked against the model's inputs.

    ::

        columns:
          input: X             # one matrix input [rows, columns]; absent if each column has an input of its own
          cast: round          # or exact, which is the default
          missing: refuse      # or allow: NaN and None may stand for unknown values
          infinite: refuse     # or allow: infinities may stand among the numbers
          features:
          - age
          - {name: city, input: city, missing: allow, missing_as: "?"}   # "?" is what the model takes for None
          - {name: size, values: [S, M, L], input: size}                 # anything else is refused
          - {name: id, unused: true}                                     # may stand in a row, or be left out
          - {name: review, text: {kind: ngram-sets, ...}}                # a text: see ortolan.inputs.ngram_sets
        - {name: shop, input: shop, hash: catboost}                    # int64 hashes: see ortolan.inputs.column_hashes

    Args:
        raw: the ``columns`` object.
        inputs: of the model; they declare the dtypes.
        at: its dotted path, for messages.
        read_asset: gives the content of an asset, for columns of texts.

    Raises:
        ManifestError: a missing, unknown or wrong value.
        BundleError: the model's inputs are not those that the columns name, or damaged assets.
        MissingPackageError: a tokenizer's package is missing.
    """
    if not isinstance(raw, dict):
        mismatch("object", raw, at)
    defaults = {"input": None, "cast": "exact", "missing": "refuse", "infinite": "refuse"}
    record = Record({**defaults, **raw}, at, (*defaults, "features"))
    matrix = record.get("input", optional(_NAME))
    shared = {key: record.get(key, _LEAVE) for key in ("missing", "infinite")}
    specs = {spec.name: spec for spec in inputs}

    def feature(value: object, place: str) -> Feature:
        entry = {"name": value} if isinstance(value, str) else value
        if not isinstance(entry, dict):
            mismatch("str or object", value, place)
        if entry.get("unused") is True:
            name = Record(entry, place, ("name", "unused")).get("name", _NAME)
            return Feature(name, "", UNUSED, missing=True, infinite=True)
        if "text" in entry:
            return _text_feature(Record(entry, place, ("name", "text")), inputs, read_asset)
        if "hash" in entry:
            return _hashed_feature(Record(entry, place, ("name", "input", "hash")), specs)
        given = {"input": matrix, **shared, "missing_as": None, "values": None, **entry}
        fields = Record(given, place, ("name", "input", *shared, "missing_as", "values"))
        name = fields.get("name", _NAME)
        target = fields.get("input", optional(_NAME))
        if target is None:
            raise ManifestError(join(place, "input"), f"missing: the columns share no input, so {name!r} needs its own")
        if target not in specs:
            raise BundleError(f"model: expected an input {target!r} for {name!r}, found {', '.join(specs) or 'none'}")
        return _feature(fields, name, specs[target], place)

    features = record.get("features", array(feature, least=1, most=MAX_FEATURES))
    _check_unique(features, matrix, join(at, "features"))
    used: dict[str, int] = {}
    for one in features:
        if one.is_alone:
            used[one.input] = used.get(one.input, 0) + 1
    of_texts = {name for one in features if one.text is not None for name in one.text.inputs}
    for name in specs:
        if name not in used and name not in of_texts:
            raise BundleError(f"model: expected a feature for input {name!r}, found none")
    for name, count in used.items():
        _check_shape(specs[name], count, alone=name != matrix)
    return ColumnsConfig(
        features,
        matrix,
        cast("Cast", record.get("cast", choice(("exact", "round")))),
        {name: len(specs[name].shape or ()) for name in used},
        _rows([specs[name] for name in (*used, *of_texts)]),
    )


def _text_feature(fields: Record, inputs: Sequence[TensorSpec], read_asset: ReadAsset) -> Feature:
    """A column of texts; the model must have the inputs that its vectorizers give."""
    from ortolan.inputs.ngram_sets import NgramSets

    sets = fields.get("text", lambda value, place: NgramSets.open(value, read_asset, place))
    sets.check(inputs)
    return Feature(fields.get("name", _NAME), "", TEXT, missing=False, text=sets)


def _hashed_feature(fields: Record, specs: Mapping[str, TensorSpec]) -> Feature:
    """A column of categories that the model knows by their hashes, in an input of its own."""
    name, target = fields.get("name", _NAME), fields.get("input", _NAME)
    if target not in specs:
        raise BundleError(f"model: expected an input {target!r} for {name!r}, found {', '.join(specs) or 'none'}")
    if specs[target].dtype != "int64":
        raise BundleError(f"model: expected input {target!r} to take hashes in int64, found {specs[target]}")
    return Feature(name, target, "int64", missing=False, hash=fields.get("hash", choice(tuple(HASHES))))


def _feature(fields: Record, name: str, spec: TensorSpec, place: str) -> Feature:
    """The rest of a feature, checked against the input that takes it."""
    if spec.dtype not in (*_FLOATS, *_INTEGERS, "bool", STRINGS):
        raise BundleError(f"model: expected input {spec.name!r} to take numbers or strings, found {spec}")
    missing, infinite = (fields.get(key, _LEAVE) == "allow" for key in ("missing", "infinite"))
    missing_as = fields.get("missing_as", optional(_STRING))
    if missing and spec.dtype not in _FLOATS and missing_as is None:
        raise ManifestError(
            join(place, "missing"), f"expected 'refuse': {name!r} is {spec.dtype}, which has no value for missing"
        )
    if missing_as is not None and (spec.dtype != STRINGS or not missing):
        raise ManifestError(join(place, "missing_as"), "expected it where strings may be missing, and nowhere else")
    value: Convert[Any] = _STRING if spec.dtype == STRINGS else number()
    values = fields.get("values", optional(array(value, least=1, most=MAX_VALUES)))
    return Feature(
        name,
        spec.name,
        spec.dtype,
        missing,
        infinite and spec.dtype in _FLOATS,
        missing_as,
        None if values is None else tuple(values),
    )


def _check_unique(features: Sequence[Feature], matrix: str | None, at: str) -> None:
    names: set[str] = set()
    inputs: set[str] = set()
    for index, one in enumerate(features):
        if one.name in names:
            raise ManifestError(join(at, index), f"expected distinct names, found {one.name!r} twice")
        own = one.text.inputs if one.text is not None else (one.input,) if one.is_alone else ()
        for name in own:
            if name in inputs and name != matrix:
                raise ManifestError(join(at, index), f"expected an input of its own, found {name!r} twice")
        names.add(one.name)
        inputs.update(own)


def _check_shape(spec: TensorSpec, columns: int, *, alone: bool) -> None:
    shape = spec.shape
    ranks = (1, 2) if alone else (2,)
    if shape is None or len(shape) not in ranks:
        raise BundleError(f"model: expected input {spec.name!r} to have the shape [rows, {columns}], found {spec}")
    if len(shape) == 2 and isinstance(shape[1], int) and shape[1] != columns:
        raise BundleError(f"model: expected input {spec.name!r} to have {columns} columns, found {spec}")


def _rows(specs: Sequence[TensorSpec]) -> int | None:
    fixed = {spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], int)}
    if fixed - {1}:
        raise BundleError(f"model: expected inputs of one row or of any number, found {max(fixed)} rows")
    return 1 if fixed else None
