"""A scikit-learn model's own answers to the rows of a table."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.parity import Answers
from ortolan_convert.sources.packages import require
from ortolan_convert.sources.scikit_learn import older
from ortolan_convert.sources.scikit_learn.registry import key_of
from ortolan_convert.sources.scikit_learn.text_pipeline import takes_texts_alone
from ortolan_convert.sources.scikit_learn.ties import twins_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.sources.scikit_learn.features import RawColumn
    from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
    from ortolan_convert.tables.source import Rows

CHUNK = 1000
"""Rows that are asked at once."""
MOVED = 1e-7
"""What moving the training data by a trifle changes of a number, relative to it, where nothing is tied."""


class TableAnswers:
    """Asks a fitted estimator.

    Args:
        fitted: the estimator.
        columns: of the table, with what the steps said of them.
        prediction: what is converted of its answers, which are to be compared.
    """

    def __init__(self, fitted: Fitted, columns: Sequence[RawColumn], prediction: Prediction) -> None:
        self._model = fitted.model
        self._twins = twins_of(fitted.model)
        self._place = fitted.place
        self._columns = columns
        self._wanted = prediction
        self._named = hasattr(fitted.model, "feature_names_in_")
        self._texts_alone = takes_texts_alone(fitted.model)
        if self._named:
            require("pandas", "pandas", "sklearn")
        self.labels: tuple[Label, ...] = ()
        self.targets: tuple[str, ...] = ()
        if prediction.distances is not None:
            self.task = "clustering"
        elif prediction.values is not None:
            self.task = "tabular-regression"
            count = int(prediction.values.shape[1])
            self.targets = ("value",) if count == 1 else tuple(f"value{index}" for index in range(count))
        else:
            self.task = "tabular-classification"
            self.labels = self._read_labels()

    def _read_labels(self) -> tuple[Label, ...]:
        classes = labels_of(self._model)
        if classes is None or (isinstance(classes, list) and any(np.ndim(one) for one in classes)):
            raise UnsupportedError(f"{self._place}: several outputs or labels at once are not supported")
        labels = tuple(one.item() if isinstance(one, np.generic) else one for one in classes)
        if len(labels) < 2:
            raise UnsupportedError(f"{self._place}: expected at least two classes, found {len(labels)}")
        if not all(isinstance(label, str | int | float) for label in labels):
            raise UnsupportedError(f"{self._place}: expected labels that are text or numbers")
        return labels

    def ask(self, rows: Rows) -> Answers:
        """The model's answers to rows of all columns but unused ones.

        Raises:
            ConversionError: the model refuses them.
        """
        found = self._of(self._model, rows)
        if not self._twins:
            return found
        # Where rounding decides which neighbours count, there is no answer to reach.
        slack = np.zeros(len(found.labels))
        for twin in self._twins:
            other = self._of(twin, rows)
            differs = other.labels != found.labels
            for name, numbers in found.numbers.items():
                gap = np.abs(other.numbers[name] - numbers)
                differs |= (gap > MOVED * np.maximum(1.0, np.abs(numbers))).any(axis=1)
            slack[differs] = np.inf
        return replace(found, slack=slack)

    def _of(self, model: Any, rows: Rows) -> Answers:
        count = len(next(iter(rows.values())))
        parts = [
            self._asked(model, {name: values[start : start + CHUNK] for name, values in rows.items()})
            for start in range(0, count, CHUNK)
        ]
        return Answers(
            labels=np.concatenate([part.labels for part in parts]),
            numbers={name: np.concatenate([part.numbers[name] for part in parts]) for name in parts[0].numbers},
            decided_by=parts[0].decided_by,
        )

    def refuses(self, rows: Rows) -> bool:
        """Whether the model takes such rows not."""
        try:
            self._of(self._model, rows)
        except ConversionError:
            return True
        return False

    def _asked(self, model: Any, rows: Rows) -> Answers:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return self._answers(*_last(model, self._table(rows)))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, FloatingPointError) as error:
            raise ConversionError(
                f"{self._place}: {type(self._model).__name__} does not answer ({one_line(error)}); "
                f"give rows that it takes with --samples ROWS.csv"
            ) from error

    def _answers(self, model: Any, table: Any) -> Answers:
        wanted = self._wanted
        numbers: dict[str, NDArray[Any]] = {}
        if wanted.distances is not None:
            numbers["distances"] = np.asarray(model.transform(table), np.float64)
            return Answers(np.asarray(model.predict(table), np.int64), numbers, "distances")
        if wanted.values is not None:
            values = np.asarray(model.predict(table), np.float64)
            numbers["values"] = values.reshape(len(values), -1)
            return Answers(np.zeros(len(values), np.int64), numbers, "values")
        if wanted.probabilities is not None and hasattr(model, "predict_proba"):
            numbers["probabilities"] = older.row_probabilities(model, table)
        if wanted.scores is not None and hasattr(model, "decision_function"):
            numbers["scores"] = both_sides(np.asarray(model.decision_function(table), np.float64))
        decided_by = "scores" if wanted.by_scores or wanted.probabilities is None else "probabilities"
        position = {label: index for index, label in enumerate(self.labels)}
        labels = np.array(
            [position[label] for label in np.asarray(model.predict(table)).reshape(-1).tolist()], np.int64
        )
        return Answers(labels, numbers, decided_by)

    def _table(self, rows: Rows) -> Any:
        """The rows as the model was trained on them: a data frame if it had names, else an array."""
        count = len(next(iter(rows.values())))
        columns = [self._column(column, rows.get(column.name), count) for column in self._columns]
        if self._texts_alone:
            return columns[0].tolist()
        if self._named:
            import pandas as pd

            return pd.DataFrame(
                {c.name: pd.Series(v, dtype=v.dtype) for c, v in zip(self._columns, columns, strict=True)}
            )
        if any(values.dtype.hasobject for values in columns):
            table = np.empty((count, len(columns)), object)
            for index, values in enumerate(columns):
                table[:, index] = values
            return table
        return np.stack(columns, axis=1)

    @staticmethod
    def _column(column: RawColumn, values: NDArray[Any] | None, count: int) -> NDArray[Any]:
        if values is None:
            return np.zeros(count)
        if values.dtype.hasobject:
            values = values.copy()
            values[[value is None for value in values.tolist()]] = column.none
        return values


def _last(model: Any, table: Any) -> tuple[Any, Any]:
    """A pipeline's model, and what its steps make of the rows, which then is not done for each of its answers again."""
    while key_of(model) == "Pipeline":
        if len(model.steps) > 1:
            table = model[:-1].transform(table)
        model = model.steps[-1][1]
    return model, table


def labels_of(model: Any) -> Any:
    """A classifier's classes in the order of its numbers; an outlier detector's -1 and 1; a mixture's components."""
    from sklearn.base import is_outlier_detector

    if hasattr(model, "classes_"):
        return model.classes_
    if is_outlier_detector(model):
        return [-1, 1]
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    components = getattr(last, "n_components", None)
    return list(range(components)) if hasattr(last, "precisions_cholesky_") and components is not None else None


def both_sides(scores: NDArray[Any]) -> NDArray[Any]:
    """float64 [n, classes]: a single column as ``[-s, s]``."""
    if scores.ndim == 1 or scores.shape[1] == 1:
        column = scores.reshape(-1, 1)
        return np.concatenate([-column, column], axis=1)
    return scores
