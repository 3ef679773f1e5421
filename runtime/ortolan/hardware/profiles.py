"""Profiles: hardware with the figures that predictions rest on. Each figure says where it comes from.

Boards are YAML files beside this module, one each. ``here`` is the profile of this machine; it is made without YAML,
since every load needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ortolan.errors import ManifestError, UnknownNameError, UsageError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ortolan.hardware.facts import Hardware

Source = Literal["measured", "datasheet", "estimated"]
"""Measured on that very board (the source says by whom), taken or computed from a datasheet, or estimated."""

_DIRECTORY = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number above zero and where it comes from."""

    value: float
    basis: Source
    source: str


@dataclass(frozen=True, slots=True)
class Label:
    """A text and where it comes from."""

    value: str
    basis: Source
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What an execution provider does on some hardware.

    Args:
        call_overhead_s: seconds that one run of a model takes that computes next to nothing.
        fp32_flops: float32 operations per second (a multiply-add is two), of one core for the CPU.
        int8_ops: the same for 8-bit integers.
        memory_bandwidth_bytes_s: bytes per second read from main memory, by one core for the CPU.
        memory_bytes: resident bytes of a Python process with numpy, onnxruntime, Ortolan and a tiny model.
    """

    call_overhead_s: Figure
    fp32_flops: Figure
    int8_ops: Figure
    memory_bandwidth_bytes_s: Figure
    memory_bytes: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Speeds of a machine.

    Args:
        python_speed: speed of one thread of Python, relative to the machine that ``choose.cost``'s constants were
            measured on.
        storage_read_bytes_s: bytes per second read from the system's storage.
        providers: short name of each execution provider that can work there.
    """

    python_speed: Figure
    storage_read_bytes_s: Figure
    providers: Mapping[str, Rates]


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What runs on it: operating system, its Python, and the newest onnxruntime to be had per execution provider."""

    os: Label | None
    python: Label | None
    onnxruntime: Mapping[str, Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Hardware, its software, its speeds and its price.

    Args:
        name: as given to ``--profile``; ``"here"`` for this machine.
        title: its name in the market.
        hardware: its facts.
        hardware_source: where those come from.
        available_ram_bytes: memory a new process may take once the system has started; None if it must be probed.
        software: None entries are unknown.
        calibration: its speeds.
        price_usd: None if unknown.
    """

    name: str
    title: str
    hardware: Hardware
    hardware_source: Label
    available_ram_bytes: Figure | None
    software: Software
    calibration: Calibration
    price_usd: Figure | None

    def tagged(self) -> Iterator[tuple[str, Figure | Label]]:
        """Every figure with its dotted name."""
        yield "hardware", self.hardware_source
        for name, value in (("os", self.software.os), ("python", self.software.python)):
            if value is not None:
                yield f"software.{name}", value
        for provider, version in self.software.onnxruntime.items():
            yield f"software.onnxruntime.{provider}", version
        if self.available_ram_bytes is not None:
            yield "available_ram_bytes", self.available_ram_bytes
        yield "calibration.python_speed", self.calibration.python_speed
        yield "calibration.storage_read_bytes_s", self.calibration.storage_read_bytes_s
        for provider, rates in self.calibration.providers.items():
            for name in Rates.__dataclass_fields__:
                yield f"calibration.providers.{provider}.{name}", getattr(rates, name)
        if self.price_usd is not None:
            yield "price_usd", self.price_usd


def profile_names() -> tuple[str, ...]:
    """Names of the boards, sorted."""
    return tuple(sorted(path.stem for path in _DIRECTORY.glob("*.yaml")))


def load_profile(name: str) -> Profile:
    """The profile of a board.

    Raises:
        UnknownNameError: no such board; the nearest names are suggested.
        UsageError: its file is damaged; the message has the dotted path.
    """
    names = profile_names()
    if name not in names:
        raise UnknownNameError("profile", name, [*names, "here"])
    return read_profile(name, (_DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"))


def read_profile(name: str, yaml_text: str) -> Profile:
    """A profile from its YAML text.

    Raises:
        UsageError: no YAML, or not a profile; the message has the dotted path.
    """
    import yaml

    from ortolan.hardware.profile_format import parse_profile

    try:
        return parse_profile(name, yaml.safe_load(yaml_text))
    except yaml.YAMLError as error:
        raise UsageError(f"profile {name!r} is not YAML: {' '.join(str(error).split())}") from error
    except ManifestError as error:
        raise UsageError(f"profile {name!r}: {error}") from error


def here(root: Path = Path("/"), *, onnxruntime: Mapping[str, str] | None = None) -> Profile:
    """The profile of this machine: probed facts, and speeds estimated from them.

    Args:
        root: see ``probe``.
        onnxruntime: version per execution provider that can be used here; None if that is not known, in which case
            the CPU provider is taken to be there in a version that is new enough.
    """
    from ortolan.hardware.estimate import estimate
    from ortolan.hardware.probe import probe

    hardware = probe(root)
    versions = {
        provider: Label(version, "measured", "installed here") for provider, version in (onnxruntime or {}).items()
    }
    return Profile(
        name="here",
        title=hardware.board or hardware.processor or hardware.architecture,
        hardware=hardware,
        hardware_source=Label("probed", "measured", "/proc and /sys of this machine"),
        available_ram_bytes=None,
        software=Software(os=None, python=None, onnxruntime=versions),
        calibration=estimate(hardware, tuple(versions) or ("cpu",)),
        price_usd=None,
    )
