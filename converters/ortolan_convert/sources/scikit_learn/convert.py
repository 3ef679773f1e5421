"""scikit-learn's artifacts: read once, then converted as what they turn out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.sources.scikit_learn.artifact import read_artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source
from ortolan_convert.sources.scikit_learn.text_pipeline import takes_texts
from ortolan_convert.table_bundle import table_bundle
from ortolan_convert.text_bundle import convert_text

if TYPE_CHECKING:
    from ortolan_convert.report import ConversionReport
    from ortolan_convert.request import Request


def convert_scikit_learn(request: Request) -> ConversionReport:
    """Convert a fitted pipeline or estimator; see :func:`ortolan_convert.convert.convert`."""
    request.without_config()
    request.progress("reading the artifact")
    artifacts = [read_artifact(path, kind, trust=request.trust) for path, kind in request.artifacts]
    if takes_texts(artifacts):
        return convert_text(request, artifacts)
    return table_bundle(read_table_source(artifacts), request)
