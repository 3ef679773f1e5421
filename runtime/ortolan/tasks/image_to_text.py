"""Task ``image-to-text``: the image of a line of text to the text, by connectionist temporal classification (CTC).

::

    task: image-to-text
    config:
      input: {kind: image, …}     # ortolan.inputs.image_config says what it takes; usually resize: {to: height, …}
      output: logits              # float32[batch, steps, classes]; may be left out if it is the only output
      activation: softmax         # none if the graph's numbers are probabilities
      charset: charset.txt        # an asset with one symbol a line
      append: [" "]               # symbols after those of the charset
      blank: 0                    # class of the blank; the symbols are the other classes, in order

Decoding is greedy: the best class of each step, repetitions merged, blanks dropped (Graves et al., ICML 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from ortolan.bundle.fields import Record, array, choice, integer
from ortolan.errors import BundleError, ManifestError
from ortolan.inputs.image_config import given_or
from ortolan.tasks.image_input import ImageInput, ImageRunner
from ortolan.tasks.labels import named, only_output, read_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.types import Array, Session

_KEYS = ("input", "output", "activation", "charset", "append", "blank")


@dataclass(frozen=True, slots=True)
class RecognizedText:
    """The answer to one image.

    Args:
        text: what is written; empty if nothing was found.
        score: mean probability of its symbols, 0 to 1; 0 for an empty text.
    """

    text: str
    score: float


class ImageToTextRunner(ImageRunner[RecognizedText]):
    """Image -> tensor as wide as the text -> a class per step -> text."""

    metric: Metric = "tensor"

    def __init__(
        self,
        session: Session,
        image_input: ImageInput,
        *,
        output: str,
        activation: Literal["softmax", "none"],
        symbols: Sequence[str],
        blank: int,
    ) -> None:
        """Args:
        session: the model.
        image_input: image to the model's input.
        output: name of the output float32[batch, steps, classes].
        activation: what makes probabilities of its numbers.
        symbols: text of each class; the blank's is empty.
        blank: class of the blank.
        """
        super().__init__(session, image_input)
        self._output = output
        self._activation = activation
        self._symbols = symbols
        self._blank = blank

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> ImageToTextRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        config = dict(task.config)
        record = Record(config, "task.config", _KEYS)
        spec = only_output(session, config.get("output"), "task.config.output")
        if spec.dtype != "float32" or (spec.shape is not None and len(spec.shape) != 3):
            raise BundleError(f"model: expected an output float32[batch, steps, classes], found {spec}")
        symbols = read_lines(record.get("charset", named), read_asset)
        symbols += given_or(record, config, "append", array(_symbol), ())
        blank = record.get("blank", integer(0, len(symbols)))
        symbols.insert(blank, "")
        classes = None if spec.shape is None else spec.shape[2]
        if isinstance(classes, int) and classes != len(symbols):
            raise BundleError(
                f"model: expected {len(symbols)} classes: the charset, what is appended, and the blank; found {spec}"
            )
        return cls(
            session,
            ImageInput.open(config, session),
            output=spec.name,
            activation=cast('Literal["softmax", "none"]', record.get("activation", choice(("softmax", "none")))),
            symbols=symbols,
            blank=blank,
        )

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[RecognizedText]:  # noqa: ARG002 - of Runner
        """The answers to the images at ``encoded.rows``."""
        numbers = cast("NDArray[np.float32]", outputs[self._output])
        if numbers.ndim != 3 or numbers.shape[2] != len(self._symbols):
            raise BundleError(
                f"model: expected numbers [batch, steps, {len(self._symbols)}], found {list(numbers.shape)}"
            )
        return [self._text(row) for row in numbers]

    def _text(self, numbers: NDArray[np.float32]) -> RecognizedText:
        """Of one image: [steps, classes]."""
        classes = numbers.argmax(axis=1)
        begins = np.ones(len(classes), np.bool_)
        begins[1:] = classes[1:] != classes[:-1]
        kept = np.flatnonzero(begins & (classes != self._blank))
        if not len(kept):
            return RecognizedText("", 0.0)
        best = numbers[kept].astype(np.float64)
        scores = best[np.arange(len(kept)), classes[kept]]
        if self._activation == "softmax":
            scores = 1 / np.exp(best - scores[:, None]).sum(axis=1)
        return RecognizedText("".join([self._symbols[i] for i in classes[kept].tolist()]), float(scores.mean()))


def _symbol(value: object, at: str) -> str:
    if not isinstance(value, str) or not value:
        raise ManifestError(at, f"expected a symbol, found {value!r}")
    return value
