"""Task ``embedding``: a text to a vector whose direction is its meaning.

Its configuration::

    {"input": {"kind": "tokens", ...},     # see ortolan.inputs.tokens
     "output": "last_hidden_state",        # float32 [batch, sequence, d], or [batch, d] if the model pools by itself
     "pooling": "mean",                    # mean, cls, max or last, padding left out; null for [batch, d]
     "normalize": true}                    # whether vectors are divided by their Euclidean length
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.fields import Record
from ortolan.errors import BundleError, ManifestError
from ortolan.tasks.texts import open_text_input
from ortolan.tasks.token_input import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.tasks.texts import TextTensors
    from ortolan.types import Array, RunControl, Session

    Vectors = NDArray[np.float32]

_KEYS = ("input", "output", "pooling", "normalize")
SMALLEST_LENGTH = 1e-12
"""A vector shorter than this is divided by this instead of its length, as torch.nn.functional.normalize does."""


class EmbeddingRunner:
    """Text -> tokens -> hidden states -> one vector."""

    metric: Metric = "embedding"

    def __init__(
        self,
        session: Session,
        text_input: TextTensors,
        output: str,
        pooling: Callable[[Vectors, NDArray[np.float32]], Vectors] | None,
        *,
        normalize: bool,
    ) -> None:
        """Args:
        session: the model.
        text_input: text to the model's inputs.
        output: name of the output to take.
        pooling: hidden states [batch, sequence, d] and mask [batch, sequence] of ones and zeros -> [batch, d]; None if
            the output has the vectors already.
        normalize: whether vectors are made unit length.
        """
        self.session = session
        self._input = text_input
        self._output = output
        self._pooling = pooling
        self._normalize = normalize
        shape = next(spec.shape for spec in session.outputs if spec.name == output)
        last = shape[-1] if shape else None
        self.dimensions: int | None = last if isinstance(last, int) else None

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> EmbeddingRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        config = task.config
        Record(config, "task.config", _KEYS)
        output, pooling, normalize = config.get("output"), config.get("pooling"), config.get("normalize")
        if not isinstance(output, str):
            raise ManifestError("task.config.output", f"expected the name of an output, found {output!r}")
        if pooling is not None and (not isinstance(pooling, str) or pooling not in POOLINGS):
            raise ManifestError("task.config.pooling", f"expected {', '.join(POOLINGS)} or null, found {pooling!r}")
        if not isinstance(normalize, bool):
            raise ManifestError("task.config.normalize", f"expected true or false, found {normalize!r}")
        text_input = open_text_input(config, 1, sessions, read_asset)
        session = sessions["model"]
        _check_output(session, output, rank=2 if pooling is None else 3)
        return cls(session, text_input, output, None if pooling is None else POOLINGS[pooling], normalize=normalize)

    def text_feeds(self, text: str) -> dict[str, Array]:
        """The tensors of one text; see `ortolan.tasks.runner.TakesTexts`."""
        return self._input.one(text)

    def encode(self, xs: Sequence[str]) -> Iterator[Encoded]:
        """The runs that together answer all texts; see `ortolan.tasks.runner.Runner`."""
        return self._input.batches(xs)

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Vectors]:
        """The vectors of the texts at ``encoded.rows``."""
        return list(self.vectors(outputs, encoded.feeds))

    def vectors(self, outputs: Mapping[str, Array], feeds: Mapping[str, Array]) -> Vectors:
        """float32 [batch, d] from a run's outputs and what it was fed."""
        found: Vectors = outputs[self._output]  # type: ignore[assignment]  # float32 was checked when opened
        if self._pooling is not None:
            mask = feeds.get(MASK)
            weights = np.ones(found.shape[:2], np.float32) if mask is None else mask.astype(np.float32)
            found = self._pooling(found, weights)
        if self._normalize:
            lengths = np.sqrt(np.einsum("bd,bd->b", found, found))
            found = found / np.maximum(lengths, np.float32(SMALLEST_LENGTH))[:, None]
        return found

    def decide(self, row: Mapping[str, Array]) -> None:
        """Vectors decide nothing."""

    def warm_up(self) -> None:
        """Embed an empty text."""
        self.answer("")

    def answer(self, x: str, control: RunControl | None = None) -> Vectors:
        """float32 [d], the vector of one text.

        Raises:
            InputTypeError: it is no str.
            InputError: a text that the model cannot take.
            SessionError: the model failed.
        """
        feeds = self._input.one(x)
        vector: Vectors = self.vectors(self.session.run(feeds, control), feeds)[0]
        return vector


def _mean(hidden: Vectors, mask: NDArray[np.float32]) -> Vectors:
    counts = np.maximum(mask.sum(axis=1, keepdims=True), np.float32(1))
    mean: Vectors = np.einsum("bsd,bs->bd", hidden, mask) / counts
    return mean


def _first(hidden: Vectors, mask: NDArray[np.float32]) -> Vectors:
    # The first that is no padding, which may stand on the left.
    return np.asarray(hidden[np.arange(len(hidden)), mask.argmax(axis=1)])


def _last(hidden: Vectors, mask: NDArray[np.float32]) -> Vectors:
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return np.asarray(hidden[np.arange(len(hidden)), last])


def _max(hidden: Vectors, mask: NDArray[np.float32]) -> Vectors:
    return np.asarray(np.where(mask[:, :, None] > 0, hidden, np.float32(-np.inf)).max(axis=1))


POOLINGS: Mapping[str, Callable[[Vectors, NDArray[np.float32]], Vectors]] = {
    "mean": _mean,
    "cls": _first,
    "max": _max,
    "last": _last,
}
"""Hidden states and mask to one vector per text, by name."""


def _check_output(session: Session, name: str, rank: int) -> None:
    spec = next((spec for spec in session.outputs if spec.name == name), None)
    if spec is None:
        names = ", ".join(spec.name for spec in session.outputs)
        raise BundleError(f"model: expected an output {name!r}, found {names or 'none'}")
    if spec.dtype != "float32" or (spec.shape is not None and len(spec.shape) != rank):
        axes = "[batch, sequence, d]" if rank == 3 else "[batch, d]"
        raise BundleError(f"model: expected output {name!r} to be float32{axes}, found {spec}")
