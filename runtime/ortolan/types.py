"""The few types everything shares. They hold facts and do no input or output."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal, Protocol

from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    """Any numpy array that can be a tensor."""

Dim = int | str | None
"""One dimension of a tensor: a size, the name of a free dimension, or None for a free one without a name."""

Basis = Literal["measured", "predicted"]
"""Where a figure comes from: measured on the hardware in question, or predicted by ``choose.cost``."""

Validity = Literal["valid", "invalid", "unknown"]
"""Whether a measurement can be relied on."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of a model's input or output.

    Args:
        name: as in the graph.
        dtype: numpy's name of the element type (``"float32"``, ``"int64"``, …); ``"str"`` for strings.
        shape: one entry per axis, None if the rank is unknown.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        shape = "…" if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{shape}]"


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its uncertainty: it lies between ``low`` and ``high`` (inclusive), in SI units."""

    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """The interval that holds nothing but ``value``."""
        return cls(value, value)

    @property
    def middle(self) -> float:
        """Geometric mean of the ends (arithmetic if one is not positive): errors of prediction are factors."""
        if self.low > 0:
            return float((self.low * self.high) ** 0.5)
        return (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A cost as a function of a model's free dimensions: a sum of ``coefficient * product(dimensions)``.

    ``Polynomial(((1024, ()), (4, ("batch", "terms"))))`` is ``1024 + 4 * batch * terms``.
    """

    terms: tuple[tuple[float, tuple[str, ...]], ...]

    def at(self, dims: Mapping[str, int]) -> float:
        """Value at the given sizes.

        Raises:
            KeyError: a dimension without a size.
        """
        total = 0.0
        for coefficient, names in self.terms:
            product = coefficient
            for name in names:
                product *= dims[name]
            total += product
        return total


SLACK = 1e-4
"""What float32 arithmetic differs by between processors and providers, relative to the largest number compared."""

HALF_SLACK = 2.0**-8
"""The same of float16, which some processors compute in (Arm's from the A76 on) and others widen to float32.

One rounding is off by up to 2**-11 (IEEE 754 binary16: 11 bits), a sum of n numbers likely by no more than sqrt(n)
times that (Higham & Mary, SIAM J. Sci. Comput. 41 (2019), A2815): this is for 64 roundings in a row. A small perceptron
was off by 1.5e-3 on an A76.
"""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How far a variant's answers are from its source's.

    Args:
        metric: what was compared: ``"label"`` (a decision changed), ``"cluster"``, ``"token"`` (the label of one token
            of the texts), ``"embedding"`` (a vector's distance, see `ortolan.tasks.golden.embedding_distances`) or
            ``"tensor"`` (a number; both beyond tolerance).
        n: number of samples compared; of tokens, those of all texts.
        drop: share of the samples whose decision changed, 0 to 1. Equal-score ties do not count as changed.
        interval: 95 % Wilson interval of ``drop``.
        worst: largest absolute difference of a compared number (probabilities where the model has them, otherwise
            scores divided by the larger of 1 and the largest absolute score of that sample).
        inputs: ``"samples"`` of the user, or ``"generated"`` from the declared types.
        slack: what another processor's or provider's arithmetic may add, by the variant's precision.
    """

    metric: str
    n: int
    drop: float
    interval: Interval
    worst: float
    inputs: str
    slack: float = SLACK

    @property
    def tolerance(self) -> float:
        """Largest difference from the source's golden answers that is still this variant and not a fault.

        Half as much again as was seen at conversion, and ``slack``.
        """
        return 1.5 * self.worst + self.slack


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How a session runs a model.

    Args:
        provider: short name of a row of ``engine.providers``, e.g. ``"cpu"``, or ``"cuda-or-cpu"`` for best effort.
        provider_options: passed to the provider as they are, sorted pairs.
        threads: intra-op threads; None for what the process may use.
        spinning: whether idle threads of the pool spin.
        arena: whether the CPU memory arena is used.
        mmap: whether weights are mapped from their file where the format allows.
        prepack: whether weights are repacked for the kernels at load (faster, more memory).
    """

    provider: str = "cpu"
    provider_options: tuple[tuple[str, str], ...] = ()
    threads: int | None = None
    spinning: bool = False
    arena: bool = True
    mmap: bool = True
    prepack: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a bundle: a variant of each component, and how to run it."""

    variants: tuple[tuple[str, str], ...]
    """(component, variant) pairs, sorted by component."""
    config: SessionConfig

    @property
    def name(self) -> str:
        """E.g. ``int8 on cpu, 2 threads``."""
        variants = "+".join(dict.fromkeys(variant for _, variant in self.variants))
        threads = self.config.threads
        tail = "" if threads is None else f", {threads} thread{'' if threads == 1 else 's'}"
        return f"{variants} on {self.config.provider}{tail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known of a candidate on some hardware, and why it was rejected if it was.

    Args:
        latency: seconds for one input, end to end; None if unknown.
        peak_memory: bytes of peak resident memory of the process; None if unknown.
        storage: bytes on disk of the bundle with this variant alone.
        transfer: seconds to send that over the link; None without a link.
        drop: upper end of the fidelity interval's point estimate, i.e. ``Fidelity.drop``.
        basis: whether latency and memory were measured on this hardware or predicted.
        rejection: one sentence, or None if the candidate may be used.
    """

    candidate: Candidate
    latency: Interval | None
    peak_memory: Interval | None
    storage: int
    transfer: float | None
    drop: float
    basis: Basis
    rejection: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What was chosen, and everything that was considered.

    Args:
        chosen: the candidate to run.
        assessments: all candidates, best first, the rejected last.
        reason: one sentence: why the chosen one.
        notes: what a user should know, e.g. that a best-effort provider was replaced by the CPU.
    """

    chosen: Candidate
    assessments: tuple[Assessment, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.chosen.name}: {self.reason}" if self.reason else self.chosen.name]
        lines += [f"  not {a.candidate.name}: {a.rejection}" for a in self.assessments if a.rejection]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a loaded model in bytes.

    Args:
        predicted_peak: upper end of the prediction made before loading; None if unknown.
        measured_peak: peak resident memory of the whole process so far (VmHWM); None where the system hides it.
    """

    predicted_peak: int | None
    measured_peak: int | None


class RunControl(Protocol):
    """Deadline and cancellation of one call; belongs to the call, never to the shared model."""

    def cancel(self) -> None:
        """Ask the call to stop; it stops between two nodes of the graph."""


class BoundSession(Protocol):
    """A session's preallocated inputs and outputs; one thread's. Write inputs in place, call it, read outputs."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def __call__(self, control: RunControl | None = None) -> None:
        """Run once on the present content of ``inputs``; ``outputs`` are overwritten.

        Raises:
            SessionError: onnxruntime failed.
            DeadlineExceeded, Cancelled: by ``control``; ``outputs`` mean nothing then.
            UsageError: another thread is in this call.
            ClosedError: the model was closed.
        """


class Session(Protocol):
    """A loaded model: onnxruntime's, a fake one in tests, later a worker process."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    placement: Mapping[str, int]
    """Number of graph nodes per execution provider; empty if it cannot be known."""
    config: SessionConfig

    def run(self, feeds: Mapping[str, Array], control: RunControl | None = None) -> dict[str, Array]:
        """All outputs by name. Thread-safe.

        Raises:
            InputError: wrong names, dtypes, byte order, ranks or shapes.
            SessionError: onnxruntime failed.
            ClosedError: after ``close``.
        """

    def bind(self, feeds: Mapping[str, Array]) -> BoundSession:
        """Preallocate for inputs of these shapes and dtypes; their values are copied in once."""

    def close(self) -> None:
        """Release the model; further calls raise ClosedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the instrument found for one candidate on one machine. Samples are seconds, memory is bytes.

    Args:
        candidate: what ran.
        variant_digest: of its files: subsets and rollbacks of a bundle keep their measurements.
        workload: name of the inputs, e.g. ``"golden"``.
        hardware_id: ``Hardware.id`` of the machine.
        runtime_id: e.g. ``"onnxruntime 1.32.0"``.
        load: seconds of each load of the model, one per process.
        first_run: seconds of each first run, one per process.
        samples: steady-state latencies in seconds, one tuple per process, in order of measurement, none dropped.
        peak_memory: bytes of VmHWM of a process that was not timed; None where the system hides it.
        validity: whether the result can be relied on.
        warnings: one sentence each, with what to do.
        faithful: whether the golden samples were answered within the variant's fidelity; None if not checked.
    """

    candidate: Candidate
    variant_digest: str
    workload: str
    hardware_id: str
    runtime_id: str
    load: tuple[float, ...]
    first_run: tuple[float, ...]
    samples: tuple[tuple[float, ...], ...] = field(repr=False)
    peak_memory: int | None
    validity: Validity
    warnings: tuple[str, ...] = ()
    faithful: bool | None = None
