"""A scikit-learn model over texts that is more than a vectorizer and a linear model: any steps of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.manifest import TaskSpec
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.sources.scikit_learn import compose
from ortolan_convert.sources.scikit_learn.features import RawColumn, RawColumns, RawTable
from ortolan_convert.sources.scikit_learn.table_answers import TableAnswers
from ortolan_convert.sources.scikit_learn.table_source import scout, text_configs, whole
from ortolan_convert.sources.scikit_learn.text_parts import TextInputs, as_float64
from ortolan_convert.text.variants import Prepared
from ortolan_convert.text.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import BuiltModel
    from ortolan_convert.parity import Answers
    from ortolan_convert.sources.scikit_learn.artifact import Artifact
    from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
    from ortolan_convert.sources.scikit_learn.table_source import Scouted
    from ortolan_convert.sources.scikit_learn.text_parts import Store

TEXT = "text"
"""Name of the one column that a model over texts has."""


@dataclass(frozen=True, slots=True)
class Tables:
    """How a variant stores the tables of coefficients that features of words are looked up in.

    Args:
        precision: the variant's name for it.
        store: coefficients [columns, features] to what is stored.
    """

    precision: str
    store: Store


@dataclass(frozen=True, slots=True)
class ComposedVariants:
    """A composed model in its variants; see `ortolan_convert.text.variants.TextModel`. Arithmetic is float64 in all."""

    fitted: Fitted
    scouted: Scouted

    @property
    def shrinks(self) -> bool:
        """Whether it has tables of coefficients, the only part that can be stored in fewer bytes."""
        return self.scouted.tables > 0

    def references(self) -> Iterator[Tables]:
        """Tables in float32, and in float64 where that is not exact enough; the rest is float64 anyway."""
        if self.shrinks:
            yield Tables("fp32", _as_float32)
        yield Tables("fp64", as_float64)

    def smaller(self, name: str, reference: Tables) -> Tables:  # noqa: ARG002 - of TextModel
        """Tables of another type."""
        return Tables(name, lambda coefficients: LINEAR_PASSES[name](coefficients, "float64"))

    def build(self, stored: Tables, nominal: Mapping[str, int]) -> BuiltModel:
        """The ONNX model; its outputs are float64: ``scores`` and ``probabilities``, or ``distances``; ``label``."""
        graph = GraphBuilder("float64")
        table = RawTable([RawColumn(TEXT)], None, {}, {}, TextInputs(stored.store, self.scouted.texts))
        found = compose.predicted(graph, self.fitted, (RawColumns(table, (0,)),))
        if found.distances is not None:
            graph.output(found.distances, "distances", "float64")
            return graph.build(nominal)
        scores = found.scores if found.scores is not None else found.probabilities
        if scores is None:
            raise TypeError("a classifier with neither scores nor probabilities")
        graph.output(scores, "scores", "float64")
        if found.probabilities is not None:
            graph.output(found.probabilities, "probabilities", "float64")
        if found.label is not None:
            graph.output(found.label, "label", "int64")
        return graph.build(nominal)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedText:
    """A fitted model over texts in Ortolan's terms.

    Args:
        version: of the scikit-learn it was made with; None if it does not say.
        fitted: the model.
        scouted: what its graph showed.
        asked: asks it.
    """

    version: str | None
    fitted: Fitted
    scouted: Scouted
    asked: TableAnswers

    @property
    def task(self) -> str:
        """Name of the task; ``tabular-regression`` for numbers: no task has texts alone for them."""
        return "text-classification" if self.asked.task == "tabular-classification" else self.asked.task

    @property
    def labels(self) -> tuple[Label, ...]:
        """Of a classifier."""
        return self.asked.labels

    @property
    def names(self) -> Sequence[object]:
        """What each label index stands for."""
        distances = self.scouted.prediction.distances
        return self.labels or range(0 if distances is None else int(distances.shape[1]))

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that took part."""
        steps = (self.fitted.model, *self.fitted.model.get_params(deep=True).values())
        modules = {type(step).__module__.partition(".")[0] for step in steps}
        if any(one.features.spec.tokenizer is not None for one in self.scouted.texts):
            modules.add("jieba")
        return ("scikit-learn", "joblib", "scipy", *sorted(modules & {"xgboost", "lightgbm", "catboost", "jieba"}))

    def answers(self, texts: Sequence[str]) -> Answers:
        """The model's own answers.

        Raises:
            ConversionError: it fails.
        """
        column = np.empty(len(texts), object)
        column[:] = texts
        return self.asked.ask({TEXT: column})

    def prepared(self) -> Prepared:
        """Everything that the variants of a bundle share."""
        config: dict[str, Any] = {"input": text_configs(self.scouted.texts)[TEXT]}
        if self.task == "clustering":
            config["clusters"] = len(self.names)
        else:
            config |= {"labels": list(self.labels), "decision": _decision(self.scouted.prediction)}
        return Prepared(
            source=self,
            model=ComposedVariants(self.fitted, self.scouted),
            task=TaskSpec(self.task, config),
            assets={path: content for one in self.scouted.texts for path, content in one.assets.items()},
            features=tuple(one.features for one in self.scouted.texts),
        )


def read_composed_text(artifacts: Sequence[Artifact]) -> ComposedText:
    """The model over texts that the artifacts make up together.

    Raises:
        UnsupportedError: a class or an option outside what is supported, by name.
        ConversionError: a part is missing, not fitted, or does not fit the others.
    """
    fitted = compose.best(whole(artifacts))
    columns = [RawColumn(TEXT)]
    scouted = scout(fitted, columns)
    return ComposedText(
        version=next((artifact.version for artifact in artifacts if artifact.version), None),
        fitted=fitted,
        scouted=scouted,
        asked=TableAnswers(fitted, columns, scouted.prediction),
    )


def _decision(prediction: Prediction) -> str:
    """The output that the label follows from."""
    if prediction.label is not None:
        return "label"
    return "scores" if prediction.by_scores or prediction.probabilities is None else "probabilities"


def _as_float32(coefficients: NDArray[Any]) -> Weights:
    stored = np.ascontiguousarray(coefficients.T, np.float32)
    return Weights(precision="fp32", stored=stored, compute="float64")
