"""scikit-learn's artifacts: read once, then converted as what they turn out to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.text_bundle import convert_text

if TYPE_CHECKING:
    from ortolan_convert.report import ConversionReport
    from ortolan_convert.request import Request


def convert_scikit_learn(request: Request) -> ConversionReport:
    """Convert a fitted pipeline or estimator; see :func:`ortolan_convert.convert.convert`."""
    return convert_text(request)
