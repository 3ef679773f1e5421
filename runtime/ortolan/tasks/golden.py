"""Golden samples: inputs kept in a bundle with the source's answers, to be asked again on the device."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.tasks.runner import raw_outputs
from ortolan.tasks.tensor import TensorRunner
from ortolan.types import Fidelity, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.bundle.directory import Bundle
    from ortolan.tasks.runner import Runner
    from ortolan.types import Array, Session

INPUTS_JSON, INPUTS_NPZ, OUTPUTS = "golden/inputs.json", "golden/inputs.npz", "golden/outputs.npz"
EMBEDDINGS = "embeddings"
"""Name of the source's vectors among the golden outputs."""
TOKENS, LENGTHS = "token_probabilities", "tokens"
"""Names of the source's probabilities of all texts' tokens, one text after the other, and of their numbers."""

MAX_UNPACKED = 1 << 30
"""Most bytes that the arrays of a golden file may have together."""

_Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs, and what the source model answered to each.

    Args:
        inputs: texts, or arrays by input name.
        outputs: per input the source's numbers by output name; for labels and clusters one row each; for embeddings the
            vector under `EMBEDDINGS`; for labels of tokens their probabilities [tokens, labels] under `TOKENS`.
        labels: per input the index of the source's label or cluster; None for embeddings, tokens and tensors.
    """

    inputs: Sequence[Any]
    outputs: Sequence[Mapping[str, Array]]
    labels: Sequence[int] | None


def read_golden(bundle: Bundle) -> Golden:
    """The golden samples of a bundle.

    Raises:
        BundleError: there are none, or the files are damaged.
    """
    files = bundle.manifest.files
    if OUTPUTS not in files or (INPUTS_JSON not in files) == (INPUTS_NPZ not in files):
        raise BundleError(f"expected {OUTPUTS} and one of {INPUTS_JSON} and {INPUTS_NPZ}; convert the model again")
    outputs = _arrays(bundle.read_file(OUTPUTS), OUTPUTS)
    if INPUTS_NPZ in files:
        inputs = _by_sample(_arrays(bundle.read_file(INPUTS_NPZ), INPUTS_NPZ), INPUTS_NPZ)
        answers = _by_sample(outputs, OUTPUTS)
        if len(inputs) != len(answers):
            raise BundleError(f"{OUTPUTS}: expected answers to {len(inputs)} inputs, found {len(answers)}")
        return Golden(inputs, answers, None)
    texts = _texts(bundle.read_file(INPUTS_JSON))
    if outputs.keys() == {EMBEDDINGS}:
        vectors = outputs[EMBEDDINGS]
        if vectors.ndim != 2 or len(vectors) != len(texts) or vectors.dtype.kind != "f":
            raise BundleError(f"{OUTPUTS}: expected a vector of floats for each of {len(texts)} texts")
        return Golden(texts, [{EMBEDDINGS: vector} for vector in vectors], None)
    if outputs.keys() == {TOKENS, LENGTHS}:
        return Golden(texts, _tokens_by_text(outputs, len(texts)), None)
    labels = outputs.pop("labels", np.zeros(0))
    if labels.shape != (len(texts),) or labels.dtype != np.int64:
        raise BundleError(f"{OUTPUTS}: expected labels int64[{len(texts)}], found {labels.dtype}{list(labels.shape)}")
    if not outputs or any(a.ndim != 2 or len(a) != len(texts) or a.dtype.kind != "f" for a in outputs.values()):
        raise BundleError(f"{OUTPUTS}: expected matrices of {len(texts)} rows of floats beside labels")
    columns = min(array.shape[1] for array in outputs.values())
    if len(texts) and not 0 <= int(labels.min()) <= int(labels.max()) < columns:
        raise BundleError(f"{OUTPUTS}: expected labels from 0 to {columns - 1}")
    rows = [{name: array[i] for name, array in outputs.items()} for i in range(len(texts))]
    return Golden(texts, rows, labels.tolist())


def compare(runner: Runner, session: Session, golden: Golden, promised: Fidelity) -> Fidelity:
    """Ask the golden inputs again and compare with the source's answers.

    A label counts as changed unless the source's own numbers for it and for the label answered here are less than
    twice ``promised.tolerance`` apart, and so does the label of a token. For embeddings (`embedding_distances`) and
    tensors a sample counts as changed beyond the tolerance.

    Raises:
        BundleError: the golden answers do not fit the model's outputs.
        SessionError: the model failed.
    """
    if golden.labels is None and golden.outputs and EMBEDDINGS in golden.outputs[0] and runner.metric == "embedding":
        return _compare_embeddings(runner, session, golden, promised)
    if golden.labels is None and golden.outputs and TOKENS in golden.outputs[0] and runner.metric == "token":
        return _compare_tokens(runner, session, golden, promised)
    if golden.labels is None:
        # Kept as tensors whatever the task: the model's own answers are compared.
        runner = TensorRunner(session)
    changed, worst = 0, 0.0
    for i, outputs in raw_outputs(runner, session, golden.inputs):
        expected = golden.outputs[i]
        if golden.labels is None:
            difference = max((_difference(outputs, expected, name) for name in expected), default=0.0)
            changed += difference > promised.tolerance
        else:
            name = next((n for n in ("probabilities", "distances", "scores") if n in expected), "scores")
            difference = _difference(outputs, expected, name)
            margin = _margin(expected[name], golden.labels[i], runner.decide(outputs))
            changed += not margin < 2 * promised.tolerance
        worst = max(worst, difference)
    return fidelity(runner.metric, len(golden.inputs), changed, worst, promised.inputs)


def embedding_distances(found: Array, expected: Array) -> NDArray[np.float64]:
    """How far vectors are from the source's: half their squared distance, relative to the source's squared length.

    For vectors of length 1 that is 1 minus the cosine. A vector that is not finite is infinitely far.

    Args:
        found: [n, d].
        expected: [n, d], the source's.

    Returns:
        float64 [n].
    """
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if ours.shape != theirs.shape:
        return np.full(len(theirs), np.inf)
    squares = np.maximum((theirs**2).sum(axis=1), np.finfo(np.float64).tiny)
    distances = ((ours - theirs) ** 2).sum(axis=1) / (2 * squares)
    return np.where(np.isfinite(distances), distances, np.inf)


def changed_tokens(found: Array, expected: Array, tie: float) -> tuple[int, float]:
    """Number of tokens with another label than the source's, and the largest difference of a probability.

    Args:
        found: [tokens, labels], probabilities.
        expected: [tokens, labels], the source's.
        tie: two labels whose probabilities are at most this far apart at the source are equal.
    """
    ours, theirs = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if ours.shape != theirs.shape or not np.isfinite(ours).all():
        return len(theirs), float("inf")
    rows = np.arange(len(theirs))
    gap = theirs[rows, theirs.argmax(axis=1)] - theirs[rows, ours.argmax(axis=1)]
    return int((gap > tie).sum()), float(np.abs(ours - theirs).max(initial=0.0))


def agrees(found: Fidelity, promised: Fidelity) -> bool:
    """Whether what `compare` found on a device is still the variant that was promised, and not a fault."""
    return found.drop == 0 and found.worst <= promised.tolerance


def fidelity(metric: str, n: int, changed: int, worst: float, inputs: str) -> Fidelity:
    """A Fidelity of ``changed`` among ``n`` samples, with its Wilson interval."""
    return Fidelity(metric, n, changed / n if n else 0.0, wilson(changed, n), worst, inputs)


def wilson(hits: int, n: int) -> Interval:
    """95 % interval of a share seen as ``hits`` of ``n``: Wilson, JASA 22 (1927), 209-212; 0 to 1 without samples."""
    if n == 0:
        return Interval(0.0, 1.0)
    share, z2 = hits / n, _Z95 * _Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n * n)) ** 0.5
    # The ends are exact where rounding would miss them.
    return Interval(0.0 if hits == 0 else middle - half, 1.0 if hits == n else middle + half)


def _compare_embeddings(runner: Runner, session: Session, golden: Golden, promised: Fidelity) -> Fidelity:
    changed, worst = 0, 0.0
    for encoded in runner.encode(golden.inputs):
        found = np.stack(runner.decode(session.run(encoded.feeds), encoded))
        expected = np.stack([golden.outputs[row][EMBEDDINGS] for row in encoded.rows])
        distances = embedding_distances(found, expected)
        changed += int((distances > promised.tolerance).sum())
        worst = max(worst, float(distances.max(initial=0.0)))
    return fidelity(runner.metric, len(golden.inputs), changed, worst, promised.inputs)


def _compare_tokens(runner: Any, session: Session, golden: Golden, promised: Fidelity) -> Fidelity:
    changed, worst, count = 0, 0.0, 0
    for encoded in runner.encode(golden.inputs):
        answers = runner.probabilities(session.run(encoded.feeds), encoded)
        for row, found in zip(encoded.rows, answers, strict=True):
            expected = golden.outputs[row][TOKENS]
            others, difference = changed_tokens(found, expected, 2 * promised.tolerance)
            changed, worst, count = changed + others, max(worst, difference), count + len(expected)
    return fidelity(runner.metric, count, changed, worst, promised.inputs)


def _tokens_by_text(outputs: Mapping[str, Array], texts: int) -> list[dict[str, Array]]:
    rows, lengths = outputs[TOKENS], outputs[LENGTHS]
    fits = rows.ndim == 2 and rows.dtype.kind == "f" and lengths.shape == (texts,) and lengths.dtype == np.int64
    if not fits or int(lengths.min(initial=0)) < 0 or int(lengths.sum()) != len(rows):
        raise BundleError(f"{OUTPUTS}: expected probabilities of the tokens of {texts} texts, and their numbers")
    return [{TOKENS: part} for part in np.split(rows, np.cumsum(lengths)[:-1])] if texts else []


def _margin(expected: Array, label: int, answered: int | None) -> float:
    """How far apart the source's numbers for its own label and for the one answered here are; 0 for the same label."""
    if answered == label:
        return 0.0
    if answered is None or answered >= len(expected):
        return float("inf")
    return abs(float(expected[label]) - float(expected[answered])) / _scale(expected)


def _scale(expected: Array) -> float:
    """What differences are divided by; 1 for probabilities, which are never larger."""
    numbers = np.abs(np.asarray(expected, np.float64))
    return max(1.0, float(numbers[np.isfinite(numbers)].max(initial=0.0)))


def _difference(outputs: Mapping[str, Array], expected: Mapping[str, Array], name: str) -> float:
    """Largest difference of one output, relative to the largest number expected if that is above 1."""
    if name not in outputs:
        raise BundleError(f"{OUTPUTS}: the model has no output {name!r}, only {', '.join(outputs)}")
    found, wanted = outputs[name], expected[name]
    if found.shape != wanted.shape:
        return float("inf")
    if wanted.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, wanted) else float("inf")
    ours, theirs = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))  # infinities and NaN have no difference
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(ours - theirs))
    gaps[np.isnan(gaps)] = np.inf
    return float(gaps.max(initial=0.0)) / _scale(wanted)


def _texts(raw: bytes) -> list[str]:
    try:
        texts = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{INPUTS_JSON}: expected JSON: {error}") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BundleError(f"{INPUTS_JSON}: expected a list of texts")
    return texts


def _arrays(raw: bytes, path: str) -> dict[str, NDArray[Any]]:
    import zipfile
    import zlib

    try:
        size = sum(entry.file_size for entry in zipfile.ZipFile(BytesIO(raw)).infolist())
        if size > MAX_UNPACKED:
            raise BundleError(f"{path}: expected at most {MAX_UNPACKED} bytes of arrays, found {size}")
        with np.load(BytesIO(raw), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except BundleError:
        raise
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path}: expected a .npz file of arrays: {error}") from None


def _by_sample(arrays: Mapping[str, NDArray[Any]], path: str) -> list[dict[str, Array]]:
    """Arrays named ``0000/<name>``, ``0001/<name>``, … as one dict per sample."""
    samples: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        number, slash, name = key.partition("/")
        if not slash or not number.isdecimal():
            raise BundleError(f"{path}: expected names like '0000/<name>', found {key!r}")
        samples.setdefault(number, {})[name] = array
    ordered = [samples[number] for number in sorted(samples, key=int)]
    if [int(number) for number in sorted(samples, key=int)] != list(range(len(ordered))):
        raise BundleError(f"{path}: expected samples numbered from 0000 without gaps")
    return ordered
