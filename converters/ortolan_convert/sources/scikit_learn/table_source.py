"""A scikit-learn model over a table: its columns found out, its graph, and its own answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError
from ortolan.inputs.ngram_sets import KIND
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.provenance import installed
from ortolan_convert.sources.scikit_learn import boosting, compose, older
from ortolan_convert.sources.scikit_learn.features import RawColumn, RawColumns, RawTable
from ortolan_convert.sources.scikit_learn.inner import estimators_in
from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
from ortolan_convert.sources.scikit_learn.table_answers import TableAnswers
from ortolan_convert.sources.scikit_learn.table_limits import find_limits
from ortolan_convert.sources.scikit_learn.text_parts import PackedText, TextInputs, as_float64
from ortolan_convert.sources.scikit_learn.text_pipeline import is_vectorizer, takes_texts_alone
from ortolan_convert.tables.source import Column, TableSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan_convert.graph import Value
    from ortolan_convert.sources.scikit_learn.artifact import Artifact

MANY_COLUMNS = 1000
"""Of columns without names so many look like the features of a text vectorizer."""
_PACKAGES = ("scikit-learn", "joblib", "scipy")


def read_table_source(artifacts: Sequence[Artifact]) -> TableSource:
    """The table source that the artifacts make up together.

    Raises:
        UnsupportedError: a class or an option outside what is supported, by name.
        ConversionError: a part is missing, not fitted, or does not fit the others.
    """
    fitted = compose.best(whole(artifacts))
    alone = boosting.with_categories(fitted)
    if alone is not None:
        return alone
    columns = [RawColumn(name) for name in _column_names(fitted)]
    scouted = scout(fitted, columns)
    answers = TableAnswers(fitted, columns, scouted.prediction)
    found = find_limits(columns, answers, text_configs(scouted.texts))
    versions = [artifact.version for artifact in artifacts if artifact.version is not None]
    named = hasattr(fitted.model, "feature_names_in_")
    return TableSource(
        framework="scikit-learn",
        version=(versions[0] if versions else installed("scikit-learn")) or "unknown",
        packages=_packages(fitted.model),
        task=answers.task,
        columns=found,
        labels=answers.labels,
        targets=answers.targets,
        ask=answers.ask,
        build=_Build(fitted, columns, found, scouted.texts),
        assets={path: content for one in scouted.texts for path, content in one.assets.items()},
        notes=()
        if named or len(columns) < MANY_COLUMNS
        else (
            f"the model takes {len(columns):,} numbers without names; if they are the features of a text vectorizer, "
            f"give its file too: ortolan convert VECTORIZER MODEL",
        ),
    )


def _packages(model: Any) -> tuple[str, ...]:
    """The distributions that took part."""
    own = {type(one).__module__.partition(".")[0] for one in estimators_in(model)} - {"sklearn"}
    named = ("pandas",) if hasattr(model, "feature_names_in_") else ()
    return (*_PACKAGES, *named, *sorted(own))


@dataclass(frozen=True, slots=True)
class _Build:
    """Adds the model's nodes; see `ortolan_convert.tables.source.TableSource`."""

    fitted: Fitted
    raw: Sequence[RawColumn]
    columns: Sequence[Column]
    texts: tuple[PackedText, ...]

    def __call__(self, graph: GraphBuilder, numbers: Value | None, others: Mapping[str, Value]) -> Mapping[str, Value]:
        of_numbers = [i for i, column in enumerate(self.columns) if column.kind == "number"]
        places = {index: place for place, index in enumerate(of_numbers)}
        strings = {i: others[column.name] for i, column in enumerate(self.columns) if column.name in others}
        # What the steps say of the columns is known already; these copies take what they say again.
        copies = [RawColumn(column.name, none=column.none) for column in self.raw]
        table = RawTable(copies, numbers, places, strings, TextInputs(as_float64, self.texts))
        found = compose.predicted(graph, self.fitted, (RawColumns(table, tuple(range(len(copies)))),))
        return _outputs(graph, found)


def _outputs(graph: GraphBuilder, found: Prediction) -> dict[str, Value]:
    """The outputs by name; with ``label`` where the runtime would not find it by itself."""
    outputs = {
        name: value
        for name in ("probabilities", "scores", "values", "distances")
        if (value := getattr(found, name)) is not None
    }
    if found.label is not None:
        outputs["label"] = found.label
    elif found.by_scores and found.probabilities is not None and found.scores is not None:
        outputs["label"] = largest(graph, found.scores)
    return outputs


def largest(graph: GraphBuilder, value: Value) -> Value:
    """int64 [batch]: position of the largest of a row, the first of several."""
    return graph.node("ArgMax", value, shape=(value.shape[0],), dtype="int64", axis=1, keepdims=0)


@dataclass(frozen=True, slots=True)
class Scouted:
    """What building a graph once has shown.

    Args:
        prediction: what the model answers.
        texts: the vectorizers of columns of texts.
        tables: how many tables of coefficients of words there are.
    """

    prediction: Prediction
    texts: tuple[PackedText, ...]
    tables: int


def text_configs(texts: Sequence[PackedText]) -> dict[str, dict[str, object]]:
    """How the texts of each column become the model's inputs; see `ortolan.inputs.ngram_sets`."""
    names = dict.fromkeys(one.column for one in texts)
    return {name: {"kind": KIND, "sets": [one.config for one in texts if one.column == name]} for name in names}


def scout(fitted: Fitted, columns: list[RawColumn]) -> Scouted:
    """Build the graph once to find out what the columns hold; what is not used stays unknown."""
    graph = GraphBuilder("float64")
    everything = tuple(range(len(columns)))
    numbers = graph.input("numbers", "float64", ("batch", len(columns)))
    texts = TextInputs(as_float64)
    table = RawTable(columns, numbers, {index: index for index in everything}, {}, texts)
    prediction = compose.predicted(graph, fitted, (RawColumns(table, everything),))
    return Scouted(prediction, texts.pack(), texts.tables)


def whole(artifacts: Sequence[Artifact]) -> Fitted:
    """One estimator: the only one, or a pipeline of the transformers and the model that were saved apart.

    Raises:
        ConversionError: there is no estimator, no model, or more than one model.
    """
    entries = [entry for artifact in artifacts for entry in _entries(artifact.content, f"{artifact.name}: the object")]
    names = ", ".join(artifact.name for artifact in artifacts)
    estimators = [entry for entry in entries if hasattr(entry.model, "fit")]
    if not estimators:
        kinds = ", ".join(type(entry.model).__name__ for entry in entries) or "nothing"
        raise ConversionError(f"{names}: expected a fitted scikit-learn model, found {kinds}")
    models = [entry for entry in estimators if _is_model(entry.model)]
    if not models:
        first = estimators[0]
        compose.refuse_what_cannot_predict(first)
        raise ConversionError(f"{first.place}: {type(first.model).__name__} is no model; save it with its model")
    if len(models) > 1:
        listed = ", ".join(type(entry.model).__name__ for entry in models)
        raise ConversionError(f"{names}: expected one model, found {len(models)}: {listed}")
    if len(estimators) == 1:
        return models[0]
    from sklearn.pipeline import Pipeline

    # A vectorizer comes first; of the others the order is the one they were given in.
    before = sorted((one for one in estimators if one is not models[0]), key=lambda one: not is_vectorizer(one.model))
    steps = [(entry.place, entry.model) for entry in before]
    return Fitted(Pipeline([*steps, (models[0].place, models[0].model)]), f"{names}: the object")


def _is_model(estimator: Any) -> bool:
    return hasattr(estimator, "predict") or hasattr(type(estimator), "fit_predict")


def _entries(content: Any, place: str) -> list[Fitted]:
    """What a file holds: an estimator, or several under names."""
    if isinstance(content, dict):
        pairs = [(f"{place.rpartition(': ')[0]}: entry {key!r}", value) for key, value in content.items()]
    elif isinstance(content, list | tuple):
        pairs = [(f"{place.rpartition(': ')[0]}: entry {i}", value) for i, value in enumerate(content)]
    else:
        return [Fitted(content, place)]
    return [entry for name, value in pairs for entry in _entries(value, name)]


def _column_names(fitted: Fitted) -> list[str]:
    """The columns' names in the training data, else x0, x1, ….

    Raises:
        ConversionError: the model does not say how many there are.
        UnsupportedError: two of one name.
    """
    model = fitted.model
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        listed = [str(name) for name in names]
        if len(set(listed)) < len(listed):
            raise UnsupportedError(f"{fitted.place}: two columns of the training data have the same name")
        return listed
    if takes_texts_alone(model):
        return ["text"]
    count = _column_count(model)
    if count is None:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        try:
            check_is_fitted(model)
        except (NotFittedError, TypeError):
            name = type(model).__name__
            raise ConversionError(f"{fitted.place}: {name} is not fitted; save it after training") from None
        compose.refuse_first_step(fitted)
        raise ConversionError(f"{fitted.place}: {type(model).__name__} does not say how many columns it takes")
    return [f"x{index}" for index in range(int(count))]


def _column_count(model: Any) -> int | None:
    """How many columns a model takes; a pipeline may begin with steps that do nothing and know nothing."""
    count = older.feature_count(model)
    for _, step in getattr(model, "steps", ()):
        if count is None and step in (None, "passthrough"):
            continue
        return count if count is not None else _column_count(step)
    return count
