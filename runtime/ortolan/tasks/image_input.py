"""What the image tasks share: images to the input tensor of a model, and the runs that answer them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ortolan.errors import BundleError, InputError, InputTypeError
from ortolan.inputs.image import ImageEncoder
from ortolan.inputs.image_geometry import Bounded, Placement, Unresized
from ortolan.inputs.image_source import ImageArray
from ortolan.tasks.runner import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.inputs.image_config import ImageConfig
    from ortolan.types import Array, Dim, RunControl, Session, TensorSpec

AnswerT = TypeVar("AnswerT")
"""What a task answers with."""

_USUAL = 64
"""Sides of made-up images for a model that takes images of any size as they are."""
_RECTANGLES = 12
"""Rectangles on a made-up image."""


class ImageInput:
    """The image side of a model with one input."""

    def __init__(self, encoder: ImageEncoder, spec: TensorSpec) -> None:
        """Args:
        encoder: image to tensor.
        spec: the model's input.
        """
        self.encoder = encoder
        self._name = spec.name
        self._shape = spec.shape

    @classmethod
    def open(cls, config: Mapping[str, object], session: Session) -> ImageInput:
        """From the ``"input"`` object of a task's configuration.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: a model whose input does not fit it.
        """
        encoder = ImageEncoder.open(config)
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise BundleError(f"model: expected one input, an image, found {names or 'none'}")
        spec = session.inputs[0]
        _check_fits(spec, encoder)
        return cls(encoder, spec)

    def one(self, x: object) -> tuple[dict[str, Array], Placement]:
        """The tensors of one image, and where on them it lies.

        Raises:
            InputTypeError, InputError, StorageError, MissingPackageError: see `ortolan.inputs.image_source.read_image`.
        """
        tensor, placement = self.encoder.encode(x)
        return {self._name: tensor}, placement

    def largest(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of the largest tensor, by input; None where the configuration sets no bound."""
        return {self._name: _shape(self.encoder.config, self.encoder.config.largest)}

    def of_tensors(self, feeds: Mapping[str, Array]) -> Encoded:
        """See `ImageRunner.of_tensors`."""
        shape = feeds[self._name].shape
        height, width = shape[2:] if self.encoder.config.layout == "nchw" else shape[1:3]
        size = width, height
        placement = Placement(image=size, resized=size, canvas=size)
        return Encoded(dict(feeds), list(range(shape[0])), [placement] * shape[0])

    def examples(self, count: int) -> list[dict[str, Array]]:
        """Tensors of made-up images, rectangles on a plain ground, of a usual size."""
        random = np.random.default_rng(0)
        return [self._made_up(*self._usual(), random) for _ in range(count)]

    def warm_up(self, session: Session) -> None:
        """Run the model once on such an image, a small one where the model takes any size."""
        resize = self.encoder.config.resize
        size = (2 * resize.multiple,) * 2 if isinstance(resize, Bounded) else self._usual()
        session.run(self._made_up(*size, np.random.default_rng(0)))

    def _usual(self) -> tuple[int, int]:
        """(width, height) of what a usual image becomes."""
        config = self.encoder.config
        plain = isinstance(config.resize, Unresized) and config.crop is None
        width, height = (_USUAL, _USUAL) if plain else self.encoder.place(1, 1).canvas
        if self._shape is None:
            return width, height
        known = self._shape[2:] if config.layout == "nchw" else self._shape[1:3]
        high, wide = (dim if isinstance(dim, int) else size for dim, size in zip(known, (height, width), strict=True))
        return wide, high

    def _made_up(self, width: int, height: int, random: np.random.Generator) -> dict[str, Array]:
        colors = random.integers(0, 256, (_RECTANGLES + 1, self.encoder.config.channels), np.uint8)
        image = np.tile(colors[-1], (height, width, 1))
        for color in colors[:-1]:
            left, top = int(random.integers(width)), int(random.integers(height))
            image[top : top + max(height // 6, 1), left : left + max(width // 6, 1)] = color
        return {self._name: self.encoder.normalized(image)}

    def runs(self, xs: Sequence[Any]) -> Iterator[Encoded]:
        """A run for each of many images. The context is a list of its placement.

        Several in one run are not faster on a processor: the largest steps of such models fill it with one image (6
        together took EfficientNet-Lite0 1.1 times as long for each as alone, 22 together PP-OCRv6 the same), and what
        is computed from an image takes many times its memory.

        Raises:
            InputTypeError: ``xs`` is a single image, or one of them is none.
            InputError: one that cannot be used; the message says which.
        """
        if isinstance(xs, (str, bytes, os.PathLike, ImageArray)) or (isinstance(xs, np.ndarray) and xs.ndim != 4):
            raise InputTypeError(f"expected a list of images, found a single {type(xs).__name__}; use predict for it")
        for row, x in enumerate(xs):
            try:
                feeds, placement = self.one(x)
            except InputError as error:
                raise type(error)(f"at position {row}: {error}") from error
            yield Encoded(feeds, [row], [placement])


class ImageRunner(Generic[AnswerT]):
    """A runner whose inputs are images: all of `ortolan.tasks.runner.Runner` but what the outputs mean."""

    def __init__(self, session: Session, image_input: ImageInput) -> None:
        """Args:
        session: the model.
        image_input: image to the model's input.
        """
        self.session = session
        self._input = image_input

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[AnswerT]:
        """The answers to the images at ``encoded.rows``."""
        raise NotImplementedError

    def decide(self, row: Mapping[str, Array]) -> int | None:  # noqa: ARG002 - part of Runner
        """None: only a class is a decision."""
        return None

    def encode(self, xs: Sequence[object]) -> Iterator[Encoded]:
        """The runs that together answer all images."""
        return self._input.runs(xs)

    def warm_up(self) -> None:
        """Run the model on a small made-up image."""
        self._input.warm_up(self.session)

    def feeds(self, x: object) -> dict[str, Array]:
        """The tensors of one image; errors as for `answer`."""
        return self._input.one(x)[0]

    def of_tensors(self, feeds: Mapping[str, Array]) -> Encoded:
        """The run of tensors that are there already, their pixels taken as those of the original image."""
        return self._input.of_tensors(feeds)

    def largest(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of the largest tensor of an image; see `ortolan.tasks.runner.BoundsInputs`."""
        return self._input.largest()

    def examples(self, count: int) -> list[dict[str, Array]]:
        """Tensors of small made-up images, for golden samples."""
        return self._input.examples(count)

    def answer(self, x: object, control: RunControl | None = None) -> AnswerT:
        """The answer to one image.

        Raises:
            InputTypeError, InputError, StorageError, MissingPackageError: an image that cannot be used.
            MemoryBudgetError: too little memory is left to decode it.
            SessionError: the model failed.
        """
        feeds, placement = self._input.one(x)
        return self.decode(self.session.run(feeds, control), Encoded(feeds, [0], [placement]))[0]


def _check_fits(spec: TensorSpec, encoder: ImageEncoder) -> None:
    """Check the model's input against the tensors that are made.

    Raises:
        BundleError: they do not fit.
    """
    config = encoder.config
    made = _shape(config, config.size)
    if spec.dtype == config.dtype and (spec.shape is None or _matches(spec.shape, made)):
        return
    wanted = ", ".join("?" if side is None else str(side) for side in made)
    raise BundleError(
        f"model: expected an input for {config.dtype}[{wanted}], which the task's configuration makes, found {spec}"
    )


def _shape(config: ImageConfig, size: tuple[int | None, int | None]) -> tuple[int | None, ...]:
    """Of the tensor of an image of (height, width)."""
    return (1, config.channels, *size) if config.layout == "nchw" else (1, *size, config.channels)


def _matches(shape: tuple[Dim, ...], made: tuple[int | None, ...]) -> bool:
    """Whether the sizes that are known on both sides are equal."""
    return len(shape) == len(made) and all(
        not isinstance(have, int) or side is None or have == side for have, side in zip(shape, made, strict=True)
    )
