"""The configuration of task ``audio-stream``, as it stands in a bundle.

::

    task: audio-stream
    config:
      sample_rate: 16000
      samples: {input: input, shape: [1, 576]}   # context + chunk samples, the newest last
      chunk: 512                                 # new samples of each run
      context: 64                                # samples of the run before, in front of them; zeros at the start
      full_scale: 1.0                            # what the model calls the loudest sample
      constants: {sr: 16000}                     # inputs that never change
      states:                                    # what a run hands to the next
        - {input: state, output: stateN, shape: [2, 1, 128], initial: 0, growth: none}
      answer: {output: output, labels: null}     # output with the score, or with one score per label
      channels: refuse                           # or mean, first: what is done with several channels of a file
      resample: false                            # whether files of other rates are resampled, or refused
      last: pad                                  # or drop: what becomes of an incomplete chunk at the end
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ortolan.bundle.fields import Record, array, choice, integer, join, mapping, mismatch, number, optional, text
from ortolan.errors import BundleError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.inputs.audio import Channels
    from ortolan.types import Array, TensorSpec

MAX_SAMPLES = 1 << 24
"""Most samples of one run."""
MAX_STATE = 1 << 28
"""Most numbers of one state."""

_NAME = text(re.compile(r"[^\x00]{1,256}", re.DOTALL), "a name of 1 to 256 characters")
_DEFAULTS: Mapping[str, object] = {
    "context": 0,
    "full_scale": 1.0,
    "constants": {},
    "states": [],
    "answer": None,
    "channels": "refuse",
    "resample": False,
    "last": "pad",
}
_KEYS = ("sample_rate", "samples", "chunk", *_DEFAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """What a stream is told.

    Args:
        sample_rate: samples per second.
        input: the model's input that takes the samples.
        chunk: new samples of each run.
        context: samples kept from the run before.
        full_scale: the model's value of the loudest sample.
        states: (input, output) of each state.
        start: values of all inputs before the first chunk.
        answers: the outputs that are no states.
        answer: the one with the score, or None.
        labels: label of each of its numbers, or None if it has a single one.
        channels: what is done with several channels of a file.
        resample: whether files of other rates are resampled.
        last: what becomes of an incomplete chunk at the end.
    """

    sample_rate: int
    input: str
    chunk: int
    context: int
    full_scale: float
    states: tuple[tuple[str, str], ...]
    start: Mapping[str, Array]
    answers: tuple[str, ...]
    answer: str | None
    labels: tuple[str, ...] | None
    channels: Channels
    resample: bool
    last: Literal["pad", "drop"]


def parse_stream(
    raw: Mapping[str, object], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> StreamConfig:
    """The configuration in ``raw``, checked against the model.

    Raises:
        ManifestError: a missing, unknown or wrong value.
        BundleError: the model's inputs or outputs are not those that are named.
    """
    at = "task.config"
    record = Record({**_DEFAULTS, **raw}, at, _KEYS)
    takes, gives = {spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs}
    chunk = record.get("chunk", integer(1, MAX_SAMPLES))
    context = record.get("context", integer(0, MAX_SAMPLES))
    start: dict[str, Array] = {}
    name = record.get("samples", lambda value, place: _samples(value, place, takes, chunk + context, start))
    for constant, value in record.get("constants", mapping(number(), key=_NAME)).items():
        place = join(join(at, "constants"), constant)
        spec = _new(takes, start, constant, place)
        shape = [dim if isinstance(dim, int) else 1 for dim in spec.shape or ()]
        start[constant] = _filled(spec, shape, value, place)
    states = record.get("states", array(lambda value, place: _state(value, place, takes, gives, start), most=1000))
    for missing in [spec for spec in inputs if spec.name not in start]:
        raise BundleError(f"model: expected a state or a constant for input {missing.name!r}, found none")
    carried = [output for _, output in states]
    if len(set(carried)) < len(carried):
        raise ManifestError(f"{at}.states", "expected distinct outputs, found one twice")
    answers = tuple(spec.name for spec in outputs if spec.name not in carried)
    answer, labels = record.get("answer", lambda value, place: _answer(value, place, answers))
    return StreamConfig(
        sample_rate=record.get("sample_rate", integer(1, 1 << 20)),
        input=name,
        chunk=chunk,
        context=context,
        full_scale=record.get("full_scale", number(1e-9, 1e9)),
        states=states,
        start=start,
        answers=answers,
        answer=answer,
        labels=labels,
        channels=cast("Channels", record.get("channels", choice(("refuse", "mean", "first")))),
        resample=record.get("resample", _flag),
        last=cast("Literal['pad', 'drop']", record.get("last", choice(("pad", "drop")))),
    )


def _samples(value: object, at: str, takes: Mapping[str, TensorSpec], size: int, start: dict[str, Array]) -> str:
    record = Record(value, at, ("input", "shape"))
    name = record.get("input", _NAME)
    spec = _new(takes, start, name, f"{at}.input")
    if spec.dtype != "float32":
        raise BundleError(f"model: expected input {name!r} to take float32 samples, found {spec}")
    shape = record.get("shape", array(integer(1, MAX_SAMPLES), least=1, most=8))
    if math.prod(shape) != size or max(shape) != size:
        raise ManifestError(
            f"{at}.shape", f"expected one axis of {size} samples (chunk + context) and others of 1, found {list(shape)}"
        )
    start[name] = _filled(spec, shape, 0.0, f"{at}.shape")
    return name


def _state(
    value: object,
    at: str,
    takes: Mapping[str, TensorSpec],
    gives: Mapping[str, TensorSpec],
    start: dict[str, Array],
) -> tuple[str, str]:
    if not isinstance(value, dict):
        mismatch("object", value, at)
    record = Record({"initial": 0, "growth": "none", **value}, at, ("input", "output", "shape", "initial", "growth"))
    name, output = record.get("input", _NAME), record.get("output", _NAME)
    spec = _new(takes, start, name, f"{at}.input")
    if output not in gives:
        raise BundleError(f"{at}.output: the model has no output {output!r}, only {', '.join(gives)}")
    if gives[output].dtype != spec.dtype:
        raise BundleError(f"{at}: expected an output like the input {spec}, found {gives[output]}")
    record.get("growth", choice(("none",)))
    shape = record.get("shape", array(integer(1, MAX_STATE), most=16))
    if math.prod(shape) > MAX_STATE:
        raise ManifestError(f"{at}.shape", f"expected at most {MAX_STATE} numbers, found {math.prod(shape)}")
    start[name] = _filled(spec, shape, record.get("initial", number()), f"{at}.initial")
    return name, output


def _answer(value: object, at: str, answers: Sequence[str]) -> tuple[str | None, tuple[str, ...] | None]:
    if value is None:
        return None, None
    if not isinstance(value, dict):
        mismatch("object or null", value, at)
    record = Record({"labels": None, **value}, at, ("output", "labels"))
    name = record.get("output", _NAME)
    if name not in answers:
        raise BundleError(
            f"{at}.output: expected an output that is no state, found {name!r}; it has {', '.join(answers)}"
        )
    return name, record.get("labels", optional(array(_NAME, least=2)))


def _new(takes: Mapping[str, TensorSpec], start: Mapping[str, Array], name: str, at: str) -> TensorSpec:
    if name not in takes:
        raise BundleError(f"{at}: the model has no input {name!r}, only {', '.join(takes)}")
    if name in start:
        raise ManifestError(at, f"input {name!r} is named twice")
    return takes[name]


def _filled(spec: TensorSpec, shape: Sequence[int], value: float, at: str) -> Array:
    """An array for the input, filled with the value."""
    fits = spec.shape is None or (
        len(spec.shape) == len(shape)
        and all(dim == size for dim, size in zip(spec.shape, shape, strict=True) if isinstance(dim, int))
    )
    if not fits:
        raise BundleError(f"{at}: the model's input is {spec}, which {list(shape)} does not fit")
    try:
        dtype: np.dtype[Any] = np.dtype(spec.dtype)
        with np.errstate(all="ignore"):
            filled: Array = np.full(shape, value, dtype)
    except (TypeError, OverflowError):
        raise ManifestError(at, f"{value!r} is no value of {spec}") from None
    if filled.size and filled.flat[0] != value and dtype.kind != "f":
        raise ManifestError(at, f"{value!r} is no value of {spec}")
    return filled


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        mismatch("bool", value, at)
    return value
