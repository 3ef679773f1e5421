"""What torch answers at several sizes of a network's free dimensions, for exported graphs to be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.pytorch import shapes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.sources.pytorch.flat import TorchNetwork

OTHER_SIZES = (16, 64, 224)
"""Tried in turn for free dimensions beyond the first axis where no usual size is given."""
CHECKED_SIZES = 3
"""At how many other sizes each free dimension is checked."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of the network by torch.

    Args:
        dims: sizes of the free dimensions.
        feeds: arrays by input name.
        answers: torch's, by output name.
        where: `` where batch is 3 (…)``, for messages; empty at the sizes of the export.
    """

    dims: Mapping[str, int]
    feeds: Tensors
    answers: Tensors
    where: str


def running_sizes(network: TorchNetwork, usual: Mapping[str, int]) -> dict[str, int]:
    """A size for each free dimension at which torch runs the network.

    Raises:
        ConversionError: there is none among those that are tried.
        UnsupportedError: it keeps a state in buffers, or gives no tensors.
    """
    failure: Exception | None = None
    for other in OTHER_SIZES:
        dims = {name: _within(size, network, name) for name, size in shapes.sizes(network.inputs, usual, other).items()}
        try:
            found = _answers_without_state(network, shapes.examples(network.inputs, dims))
        except UnsupportedError:
            raise
        except Exception as error:  # noqa: BLE001 - the network's own code may raise anything; reported below
            failure = failure or error
            continue
        if not found:
            raise UnsupportedError(f"{network.path}: expected tensors as its outputs, found none")
        return dims
    taken = ", ".join(f"{one.name} {list(one.shape)} {one.dtype}" for one in network.inputs)
    raise ConversionError(
        f"{network.path}: torch cannot run it on inputs of the shapes {taken} ({one_line(failure)}); correct them "
        "under source: inputs in the YAML file, and give usual sizes of free dimensions under dims"
    ) from failure


def trials_of(network: TorchNetwork, dims: Mapping[str, int]) -> Iterator[Trial]:
    """The network's answers at these sizes, and at others of each free dimension.

    Raises:
        UnsupportedError: a dimension has no other size at which torch runs the network.
    """
    yield _trial(network, dims, "")
    for name in shapes.free_dims(network.inputs):
        checked, failure = 0, None
        for size in _others(dims[name], (network.ranges or {}).get(name)):
            try:
                yield _trial(
                    network, {**dims, name: size}, f" where {name} is {size} (it was exported at {dims[name]})"
                )
            except Exception as error:  # noqa: BLE001 - not every size fits a network; none at all is reported below
                failure = error
                continue
            checked += 1
            if checked == CHECKED_SIZES:
                break
        if not checked:
            raise UnsupportedError(
                f"{network.path}: the dimension {name!r} is not free: torch itself runs at {dims[name]} and fails at "
                f"other sizes ({one_line(failure)}); declare the size"
            )


def output_shape(name: str, trials: Sequence[Trial]) -> tuple[int | str, ...] | None:
    """An output's sizes, and names of those that differed between trials; None where their number did."""
    found = [trial.answers[name].shape for trial in trials]
    if len({len(shape) for shape in found}) != 1:
        return None
    dims: list[int | str] = []
    for axis, seen in enumerate(zip(*found, strict=True)):
        same = [dim for dim in trials[0].dims if all(t.dims[dim] == size for t, size in zip(trials, seen, strict=True))]
        dims.append(seen[0] if len(set(seen)) == 1 else (*same, f"{name}.{axis}")[0])
    return tuple(dims)


def _trial(network: TorchNetwork, dims: Mapping[str, int], where: str) -> Trial:
    tensors = shapes.examples(network.inputs, dims, seed=1)
    answers = {name: tensor.numpy() for name, tensor in network.answers(tensors).items()}
    feeds = {one.name: tensor.numpy() for one, tensor in zip(network.inputs, tensors, strict=True)}
    return Trial(dims, feeds, answers, where)


def _answers_without_state(network: TorchNetwork, tensors: list[Any]) -> dict[str, Any]:
    """The network's answers.

    Raises:
        UnsupportedError: it changed a buffer, so that the next answers are others.
    """
    import torch

    before = {name: buffer.clone() for name, buffer in network.module.named_buffers()}
    found = network.answers(tensors)
    changed = [
        name.removeprefix("network.")
        for name, buffer in network.module.named_buffers()
        if name in before and not torch.equal(buffer, before[name])
    ]
    if changed:
        raise UnsupportedError(
            f"{network.path}: it changes its own buffers when it runs ({', '.join(changed)}); a state has to be an "
            "input and an output, and what is in training mode has to be switched by .eval() before it is exported"
        )
    return found


def _within(size: int, network: TorchNetwork, name: str) -> int:
    low, high = (network.ranges or {}).get(name, (1, size))
    return min(max(size, low), high)


def _others(size: int, bounds: tuple[int, int] | None) -> Iterator[int]:
    """Other sizes to check: one, the neighbours, and multiples, as networks that halve their input take them."""
    low, high = bounds or (1, 1 << 31)
    for other in dict.fromkeys((1, size + 1, 2 * size, size - 1, size + 2, 3 * size, size + 32, size // 2)):
        if low <= other <= high and other != size and other > 0:
            yield other
