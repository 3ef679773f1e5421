"""Tasks ``tabular-classification`` and ``tabular-regression``: a row of a table to a label, or to numbers.

::

    task: tabular-classification
    config:
      columns: {input: X, cast: round, features: [length, entropy]}    # see ortolan.inputs.column_config
      labels: [weak, strong]
      probabilities: probabilities      # output [rows, labels], or [rows, 1]: of the second of two labels
      scores: scores                    # output of decision scores; one of the two must be there
      label: label                      # output with the model's own decision; absent: the largest number decides

    task: tabular-regression
    config:
      columns: {features: [{name: age, input: age}, {name: city, input: city}]}
      output: variable                  # output [rows, targets] or [rows]
      targets: [price]
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ortolan.bundle.fields import Record, array, join, optional, text
from ortolan.errors import BundleError, ManifestError, SessionError
from ortolan.inputs.columns import Columns
from ortolan.tasks.runner import Encoded
from ortolan.tasks.text_classification import Classification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.column_config import Feature
    from ortolan.inputs.columns import Row
    from ortolan.tasks.runner import Metric
    from ortolan.tasks.text_classification import Label
    from ortolan.types import Array, RunControl, Session, TensorSpec

AnswerT = TypeVar("AnswerT")
"""What a task answers with."""

_NAME = text(re.compile(r"[^\x00]{1,256}", re.DOTALL), "a name of 1 to 256 characters")
_CONFIG = "task.config"
_CLOSE = 1e-3
"""Two labels whose numbers are nearer than this may change places on another processor."""


@dataclass(frozen=True, slots=True)
class Regression:
    """The answer to one row.

    Args:
        value: the number predicted; of several targets the first one's.
        values: the number of each target.
    """

    value: float
    values: Mapping[str, float]


class TabularRunner(Generic[AnswerT]):
    """Rows to answers: what the tasks over rows of a table share."""

    def __init__(self, session: Session, columns: Columns) -> None:
        self.session = session
        self.columns = columns

    def answers(self, outputs: Mapping[str, Array], count: int) -> list[AnswerT]:
        """The answers to ``count`` rows."""
        raise NotImplementedError

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[AnswerT]:
        """The answers to the rows at ``encoded.rows``."""
        return self.answers(outputs, len(encoded.rows))

    def encode(self, xs: Any) -> Iterator[Encoded]:
        """The runs that together answer all rows: a list of rows or a 2-D array."""
        return (Encoded(feeds, rows) for rows, feeds in self.columns.batches(xs))

    def largest(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of the tensors of as many rows as one run takes; see `ortolan.tasks.runner.BoundsInputs`."""
        return {feature.input: (self.columns.most_rows,) for feature in self.columns.features if feature.is_alone}

    def examples(self, count: int) -> list[dict[str, Array]]:
        """Rows of small whole numbers and empty strings."""
        random = np.random.default_rng(0)
        features = self.columns.features
        largest = 2 if any(one.dtype == "bool" for one in features) else 16
        rows = random.integers(0, largest, (count, len(features))).tolist()
        pairs = [zip(row, features, strict=True) for row in rows]
        return [self.columns.one([_example(n, feature) for n, feature in pair]) for pair in pairs]

    def warm_up(self) -> None:
        """Answer a row of zeros and empty strings, unless the model refuses such a one."""
        row = [_example(0, feature) for feature in self.columns.features]
        # A model may know its categories and refuse all others: no reason not to load it.
        with contextlib.suppress(SessionError):
            self.session.run(self.columns.one(row))

    def answer(self, x: Row, control: RunControl | None = None) -> AnswerT:
        """The answer to one row.

        Raises:
            InputTypeError: no row, or a value of the wrong type.
            InputError: wrong names, another number of values, a missing value that may not be.
            SessionError: the model failed.
        """
        return self.answers(self.session.run(self.columns.one(x), control), 1)[0]


class TabularClassificationRunner(TabularRunner[Classification]):
    """Row -> columns -> model -> label."""

    metric: Metric = "label"

    def __init__(
        self, session: Session, columns: Columns, labels: Sequence[Label], outputs: Mapping[str, str | None]
    ) -> None:
        """Args:
        session: the model.
        columns: rows to the model's inputs.
        labels: label of each column of the outputs.
        outputs: names of the model's outputs under ``probabilities``, ``scores`` and ``label``; None where it has none.
        """
        super().__init__(session, columns)
        self.labels = tuple(labels)
        self._probabilities, self._scores, self._label = (outputs[key] for key in ("probabilities", "scores", "label"))
        self._positions = {label: i for i, label in enumerate(labels)}

    @classmethod
    def open(
        cls,
        task: TaskSpec,
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,
    ) -> TabularClassificationRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        keys = ("probabilities", "scores", "label")
        record = Record({**dict.fromkeys(keys), **task.config}, _CONFIG, ("columns", "labels", *keys))
        labels = record.get("labels", array(_label, least=2))
        if len(set(labels)) < len(labels):
            raise ManifestError(f"{_CONFIG}.labels", "expected distinct labels, found one twice")
        outputs = {key: record.get(key, optional(_NAME)) for key in keys}
        specs = {spec.name: spec for spec in session.outputs}
        if outputs["probabilities"] is None and outputs["scores"] is None:
            raise ManifestError(_CONFIG, "expected the name of an output under probabilities or scores, found neither")
        for key in ("probabilities", "scores"):
            name = outputs[key]
            if name is not None:
                _check_numbers(_output(specs, name, join(_CONFIG, key)), len(labels), alone=len(labels) == 2)
        if outputs["label"] is not None:
            spec = _output(specs, outputs["label"], f"{_CONFIG}.label")
            if spec.shape is None or len(spec.shape) not in (1, 2):
                raise BundleError(f"model: expected output {spec.name!r} to have the shape [rows], found {spec}")
        columns = record.get("columns", lambda value, at: Columns.open(value, session.inputs, at, read_asset))
        return cls(session, columns, labels, outputs)

    def examples(self, count: int) -> list[dict[str, Array]]:
        """Rows of small whole numbers and empty strings, none of which is decided by rounding if enough are not."""
        return sorted(super().examples(4 * count), key=self._is_close)[:count]

    def _is_close(self, feeds: dict[str, Array]) -> bool:
        answer = self.answers(self.session.run(feeds), 1)[0]
        second, first = sorted((answer.probabilities or answer.scores).values())[-2:]
        return first - second < _CLOSE

    def answers(self, outputs: Mapping[str, Array], count: int) -> list[Classification]:  # noqa: ARG002 - outputs tell
        """The answers to ``count`` rows."""
        probabilities = self._rows(outputs, self._probabilities, _rest)
        scores = self._rows(outputs, self._scores, np.negative)
        deciding = scores if probabilities is None else probabilities
        if deciding is None:
            raise BundleError("model: neither probabilities nor scores among the outputs")
        best = self._decided(outputs, deciding)
        if probabilities is None:
            return [Classification(b, row[b], None, row) for b, row in zip(best, self._named(scores), strict=True)]
        likely = self._named(probabilities)
        by_label = likely if scores is None else self._named(scores)
        return [Classification(b, p[b], p, s) for b, p, s in zip(best, likely, by_label, strict=True)]

    def decide(self, row: Mapping[str, Array]) -> int:
        """Index of the label: the model's own decision if it gives one, else its largest number."""
        outputs = {name: np.asarray(value)[None] for name, value in row.items()}
        return self._positions[self.answers(outputs, 1)[0].label]

    def _rows(self, outputs: Mapping[str, Array], name: str | None, of_one: Callable[[Any], Any]) -> Any:
        """The output as [rows, labels]; a single column is the second label's, and ``of_one`` gives the first one's."""
        if name is None:
            return None
        values: Any = outputs[name]
        if values.ndim == 1:
            values = values[:, None]
        if values.shape[1] == 1 and len(self.labels) == 2:
            return np.concatenate([of_one(values), values], axis=1)
        if values.shape[1] != len(self.labels):
            raise BundleError(
                f"model: expected output {name!r} to have {len(self.labels)} columns, found {list(values.shape)}"
            )
        return values

    def _named(self, rows: Any) -> list[dict[Label, float]]:
        """Numbers by label, of rows that `_rows` has seen to have one for each."""
        return [dict(zip(self.labels, row)) for row in rows.tolist()]  # noqa: B905 - slower

    def _decided(self, outputs: Mapping[str, Array], deciding: Any) -> list[Label]:
        """The label of each row: the model's own decision if it gives one, else its largest number."""
        if self._label is None:
            return [self.labels[i] for i in deciding.argmax(axis=1).tolist()]
        found = outputs[self._label].reshape(-1).tolist()
        try:
            # A label of another type that is equal, such as 1.0 for 1, becomes the declared one.
            return [self.labels[self._positions[label]] for label in found]
        except KeyError as error:
            raise BundleError(f"model: answered {error.args[0]!r}, which is none of {_CONFIG}.labels") from None


class TabularRegressionRunner(TabularRunner[Regression]):
    """Row -> columns -> model -> numbers."""

    metric: Metric = "tensor"

    def __init__(self, session: Session, columns: Columns, output: str, targets: Sequence[str]) -> None:
        """Args:
        session: the model.
        columns: rows to the model's inputs.
        output: name of the output with the numbers.
        targets: name of each of its columns.
        """
        super().__init__(session, columns)
        self.targets = tuple(targets)
        self._output = output

    @classmethod
    def open(
        cls,
        task: TaskSpec,
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,
    ) -> TabularRegressionRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        record = Record(task.config, _CONFIG, ("columns", "output", "targets"))
        targets = record.get("targets", array(_NAME, least=1))
        if len(set(targets)) < len(targets):
            raise ManifestError(f"{_CONFIG}.targets", "expected distinct names, found one twice")
        name = record.get("output", _NAME)
        spec = _output({spec.name: spec for spec in session.outputs}, name, f"{_CONFIG}.output")
        _check_numbers(spec, len(targets), alone=len(targets) == 1)
        columns = record.get("columns", lambda value, at: Columns.open(value, session.inputs, at, read_asset))
        return cls(session, columns, name, targets)

    def answers(self, outputs: Mapping[str, Array], count: int) -> list[Regression]:
        """The answers to ``count`` rows."""
        values = outputs[self._output]
        if values.size != count * len(self.targets):
            raise BundleError(
                f"model: expected output {self._output!r} to have the shape [{count}, {len(self.targets)}], "
                f"found {list(values.shape)}"
            )
        rows = values.reshape(count, len(self.targets)).tolist()
        return [Regression(row[0], dict(zip(self.targets, row))) for row in rows]  # noqa: B905 - slower, and looked at

    def decide(self, row: Mapping[str, Array]) -> None:
        """Numbers decide nothing."""


def _rest(probabilities: Any) -> Any:
    """The first label's probabilities, of the second's."""
    return 1 - probabilities


def _example(number: int, feature: Feature) -> str | float:
    """A value that the feature takes."""
    if feature.values is not None:
        return feature.values[number % len(feature.values)]
    return "" if feature.takes_strings else number


def _label(value: object, at: str) -> Label:
    if not isinstance(value, str | int | float | bool):
        raise ManifestError(at, f"expected str, int, float or bool, found {type(value).__name__}")
    return value


def _output(specs: Mapping[str, TensorSpec], name: str, at: str) -> TensorSpec:
    if name not in specs:
        raise BundleError(f"{at}: expected an output of the model, found {name!r}; it has {', '.join(specs)}")
    spec = specs[name]
    if spec.dtype.startswith(("seq(", "map(")):
        raise BundleError(
            f"{at}: output {name!r} is a sequence of maps ({spec.dtype}), a tensor is needed; convert the model "
            "without ZipMap: skl2onnx.to_onnx(model, options={'zipmap': False})"
        )
    return spec


def _check_numbers(spec: TensorSpec, columns: int, *, alone: bool) -> None:
    """Check for numbers of shape [rows, columns]; ``alone`` allows a single column, with or without an axis for it."""
    shape = spec.shape
    if shape is not None and spec.dtype.startswith("float"):
        if len(shape) == 2 and (not isinstance(shape[1], int) or shape[1] in (columns, 1 if alone else columns)):
            return
        if len(shape) == 1 and alone:
            return
    raise BundleError(f"model: expected output {spec.name!r} to be floats of shape [rows, {columns}], found {spec}")
