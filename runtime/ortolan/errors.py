"""Every error Ortolan raises on purpose.

Each also inherits the built-in it resembles, so that ``except ValueError`` or ``except TimeoutError`` in an
application works without knowing this module::

    OrtolanError
    ├── UsageError                  ValueError        an argument or option that makes no sense           (exit 2)
    │   └── UnknownNameError        LookupError       an unknown provider, profile, variant, task…        (exit 2)
    ├── BundleError                 ValueError        a bundle that cannot be used
    │   ├── ManifestError                             its JSON is not what the format says
    │   ├── ArchiveError                              its .tar is damaged or hostile
    │   └── VerificationError                         a file changed, is missing, or was added            (exit 1)
    ├── ModelFileError              ValueError        an ONNX file that is damaged, hostile or unsupported
    ├── MissingPackageError         ImportError       a package is not installed; the message names the extra
    ├── RuntimeTooOldError          RuntimeError      the installed onnxruntime is older than the variant needs
    ├── ProviderUnavailableError    RuntimeError      an execution provider cannot do the work here
    ├── SessionError                RuntimeError      onnxruntime failed to load or run a model
    ├── NoCandidateError            RuntimeError      no variant meets the constraints; says why for each
    ├── MemoryBudgetError           MemoryError       the predicted peak exceeds the budget
    ├── DeadlineExceeded            TimeoutError      a call ran past its deadline
    ├── Cancelled                   RuntimeError      a call was cancelled
    ├── ClosedError                 RuntimeError      a call on a closed model
    ├── InputError                  ValueError        an input of the wrong name, shape or content
    │   └── InputTypeError          TypeError         an input of the wrong type or dtype
    ├── TaskMismatchError           TypeError         the bundle's task is not the one asked for
    ├── StorageError                OSError           a file or directory could not be read or written
    ├── MeasurementError            RuntimeError      a benchmark could not be carried out
    └── ConversionError             ValueError        an artifact that cannot become a bundle
        ├── TrustRequiredError      PermissionError   reading it would run code, and --trust was not given
        ├── UnsupportedError        NotImplementedError   a step, option or operator outside what is supported
        └── ParityError                               the result's answers differ from the source's       (exit 1)

``exit_status`` is what the command line returns: 1 a check failed, 2 misuse, 3 any other Ortolan error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class OrtolanError(Exception):
    """Base of every error Ortolan raises on purpose."""

    exit_status: ClassVar[int] = 3


class UsageError(OrtolanError, ValueError):
    """An argument or option that makes no sense."""

    exit_status = 2


class UnknownNameError(UsageError, LookupError):
    """A name that is not among the known ones; the message suggests the nearest.

    Args:
        kind: what the name stands for, e.g. ``"variant"``.
        name: the name given.
        known: the names that would have been accepted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.6)
        hint = f"did you mean {_either(near)}?" if near else f"known: {', '.join(names) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class BundleError(OrtolanError, ValueError):
    """A bundle that cannot be used."""


class ManifestError(BundleError):
    """A manifest or component description that is not what the format says.

    Args:
        path: dotted path of the offending value, e.g. ``components.model.variants.int8.ep``; empty for the whole.
        problem: what was expected and what was found.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class ArchiveError(BundleError):
    """A bundle archive that is damaged or hostile."""


class VerificationError(BundleError):
    """A bundle with a changed, missing or unlisted file."""

    exit_status = 1


class ModelFileError(OrtolanError, ValueError):
    """An ONNX file that is damaged, hostile or of an unsupported version."""


class MissingPackageError(OrtolanError, ImportError):
    """A package that is needed is not installed; the message names the extra to install."""


class RuntimeTooOldError(OrtolanError, RuntimeError):
    """The installed onnxruntime is older than the variant needs."""


class ProviderUnavailableError(OrtolanError, RuntimeError):
    """An execution provider that was asked for cannot do the work here."""


class SessionError(OrtolanError, RuntimeError):
    """onnxruntime failed to load or to run a model."""


class NoCandidateError(OrtolanError, RuntimeError):
    """No variant meets the constraints; the message gives the reason for each."""


class MemoryBudgetError(OrtolanError, MemoryError):
    """The predicted peak of memory exceeds what is allowed or available."""


class DeadlineExceeded(OrtolanError, TimeoutError):
    """A call ran past its deadline."""


class Cancelled(OrtolanError, RuntimeError):
    """A call was cancelled by its RunControl."""


class ClosedError(OrtolanError, RuntimeError):
    """A call on a model that was closed."""


class InputError(OrtolanError, ValueError):
    """An input of the wrong name, shape or content."""


class InputTypeError(InputError, TypeError):
    """An input of the wrong type, dtype or byte order."""


class TaskMismatchError(OrtolanError, TypeError):
    """The bundle's task is not the one the caller asked for."""


class StorageError(OrtolanError, OSError):
    """A file or directory could not be read or written."""


class MeasurementError(OrtolanError, RuntimeError):
    """A benchmark could not be carried out."""


class ConversionError(OrtolanError, ValueError):
    """An artifact that cannot become a bundle."""


class TrustRequiredError(ConversionError, PermissionError):
    """Reading the artifact would run code from it, and trust was not given."""


class UnsupportedError(ConversionError, NotImplementedError):
    """A step, option or operator outside what is supported; the message names it and its place."""


class ParityError(ConversionError):
    """The converted model's answers differ from the source's."""

    exit_status = 1


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
