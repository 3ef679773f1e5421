"""scikit-learn's artifacts: read once, then converted as what they turn out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.errors import ConversionError
from ortolan_convert.sources.scikit_learn.artifact import read_artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source, whole
from ortolan_convert.sources.scikit_learn.text_composed import ComposedText, read_composed_text
from ortolan_convert.sources.scikit_learn.text_pipeline import (
    cannot_take_words,
    is_linear,
    takes_texts,
    takes_texts_alone,
)
from ortolan_convert.sources.scikit_learn.text_source import read_text_source
from ortolan_convert.tables.bundle import table_bundle
from ortolan_convert.text.bundle import prepare, text_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.report import ConversionReport
    from ortolan_convert.request import Request
    from ortolan_convert.sources.scikit_learn.artifact import Artifact
    from ortolan_convert.sources.scikit_learn.text_source import TextSource


def convert_scikit_learn(request: Request) -> ConversionReport:
    """Convert a fitted pipeline or estimator; see :func:`ortolan_convert.convert.convert`."""
    request.without_config()
    request.progress("reading the artifact")
    artifacts = [read_artifact(path, kind, trust=request.trust) for path, kind in request.artifacts]
    source = _of_texts(artifacts)
    if source is None or source.task == "tabular-regression":
        return table_bundle(read_table_source(artifacts), request)
    return text_bundle(source, source.prepared() if isinstance(source, ComposedText) else prepare(source), request)


def _of_texts(artifacts: Sequence[Artifact]) -> TextSource | ComposedText | None:
    """The model over texts that the artifacts are; None if they take rows of a table.

    A vectorizer and a linear model become a graph of their own, which is much faster than the steps one by one.
    """
    refusal: ConversionError | None = None
    if takes_texts(artifacts):
        try:
            return read_text_source(artifacts)
        except ConversionError as error:
            refusal = error
    elif not takes_texts_alone(whole(artifacts).model):
        return None
    if refusal is not None and cannot_take_words(artifacts):
        raise refusal
    try:
        return read_composed_text(artifacts)
    except ConversionError:
        if refusal is not None and is_linear(artifacts):
            raise refusal from None
        raise
