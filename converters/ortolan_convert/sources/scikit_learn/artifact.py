"""Reads a scikit-learn artifact from its file: pickles only with trust, skops with its types checked."""

from __future__ import annotations

import re
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, MissingPackageError, OrtolanError, TrustRequiredError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.packages import require
from ortolan_convert.sources.recognise import compression_of, open_decompressed, read_head
from ortolan_convert.sources.scikit_learn.stand_ins import PICKLERS, read_with_stand_ins

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.sources.kinds import Kind
    from ortolan_convert.sources.scikit_learn.stand_ins import Missing

_VERSION = re.compile(rb"_sklearn_version.{1,200}?(\d+\.\d+(?:\.\d+)*(?:\.?(?:dev|rc|post)\d+)?)", re.DOTALL)
SCANNED_BYTES = 1 << 30
"""How much of an artifact is searched for the version it was made with."""

SKOPS_ALLOWED = frozenset(
    {
        *(f"sklearn.feature_selection._univariate_selection.{name}" for name in ("chi2", "f_classif", "f_regression")),
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
        "numpy.dtype",
    }
)
"""Types of scikit-learn that hold numbers only and that skops does not trust by itself."""
SKOPS_COMPILED = frozenset(
    {
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn._loss.loss.HalfTweedieLoss",
        "scipy.sparse._csr.csr_matrix",
    }
)
"""Types whose compiled code follows the positions that a file gives it, unchecked: they are read with trust."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a file held.

    Args:
        name: the file's name, for messages.
        content: the object.
        version: of the scikit-learn it was made with; None if it does not say.
    """

    name: str
    content: Any
    version: str | None


def read_artifact(path: Path, kind: Kind, *, trust: bool) -> Artifact:
    """The object in a scikit-learn artifact.

    Raises:
        TrustRequiredError: a pickle, or a skops file with trees, without trust; nothing in it has run.
        MissingPackageError: scikit-learn, joblib or skops is not installed.
        UnsupportedError: a skops file with types outside the known ones.
        ConversionError: it is damaged, or of a version that cannot be read.
    """
    if kind == "pickle" and not trust:
        raise TrustRequiredError(
            f"{path}: reading a joblib or pickle file runs code from it; if you trust where it comes from, add --trust"
        )
    require("sklearn", "scikit-learn", "sklearn")
    version = made_with(path, kind)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            content = _read_skops(path, trust=trust) if kind == "skops" else _read_pickle(path)
    except OrtolanError:
        raise
    except MemoryError:
        raise ConversionError(f"{path}: does not fit into memory, or is damaged") from None
    except Exception as error:
        missing = read_with_stand_ins(path) if kind == "pickle" else None
        if missing is None or not missing.harmless:
            raise _explained(path, missing, version, error) from error
        content, caught = missing.content, []
    for warning in caught:
        version = version or getattr(warning.message, "original_sklearn_version", None)
    return Artifact(path.name, content, version)


def made_with(path: Path, kind: Kind) -> str | None:
    """The scikit-learn version an artifact says it was made with, found without loading it."""
    try:
        with ExitStack() as stack:
            if kind == "skops":
                import zipfile

                archive = stack.enter_context(zipfile.ZipFile(path))
                stream: Any = stack.enter_context(archive.open("schema.json"))
            else:
                stream = open_decompressed(path, compression_of(read_head(path)[0]), stack)
            return _find_version(stream)
    except Exception as error:  # noqa: BLE001 - only a hint for messages; reading the artifact reports what is wrong
        del error
        return None


def _find_version(stream: Any) -> str | None:
    tail, read = b"", 0
    while read < SCANNED_BYTES and (chunk := stream.read(1 << 20)):
        if match := _VERSION.search(tail + chunk):
            return match[1].decode()
        read += len(chunk)
        tail = chunk[-300:]
    return None


def _read_pickle(path: Path) -> Any:
    joblib = require("joblib", "joblib", "sklearn")
    return joblib.load(path)


def _read_skops(path: Path, *, trust: bool) -> Any:
    skops = require("skops.io", "skops", "sklearn")
    found = set(skops.get_untrusted_types(file=path)) - SKOPS_ALLOWED
    compiled, untrusted = sorted(found & SKOPS_COMPILED), sorted(found - SKOPS_COMPILED)
    if untrusted:
        raise UnsupportedError(
            f"{path}: holds types outside scikit-learn's known ones, which are not loaded: {', '.join(untrusted)}"
        )
    if compiled and not trust:
        raise TrustRequiredError(
            f"{path}: holds {', '.join(compiled)}, whose compiled code does not check what a file says; if you trust "
            f"where it comes from, add --trust"
        )
    return skops.load(path, trusted=sorted(SKOPS_ALLOWED | SKOPS_COMPILED))


def _explained(path: Path, missing: Missing | None, version: str | None, error: Exception) -> OrtolanError:
    """What a failure to load means for the user."""
    import sklearn

    package = missing.package if missing else None
    if package == "jieba":
        return MissingPackageError(f"{path}: its tokenizer is jieba; install it: pip install 'ortolan[jieba]'")
    if package in PICKLERS:
        return MissingPackageError(f"{path}: saved with {package}; install it to read the file: pip install {package}")
    if missing and missing.custom:
        return UnsupportedError(f"{path}: {missing.custom}, which is not part of scikit-learn and cannot be converted")
    reason = one_line(error)
    if version is not None and version != sklearn.__version__:
        return ConversionError(
            f"{path}: made with scikit-learn {version}, which the installed {sklearn.__version__} cannot read "
            f"({reason}); convert it where scikit-learn {version} is installed"
        )
    if isinstance(error, ImportError | AttributeError):
        return ConversionError(f"{path}: needs something that is not installed here ({reason})")
    return ConversionError(f"{path}: damaged or cut short, it cannot be read ({reason})")
