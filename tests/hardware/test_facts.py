"""Hardware has an id that is the same from start to start, and a plain form that is read back strictly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ortolan.errors import ManifestError
from ortolan.hardware.facts import Cache, Cores, Hardware

PI = Hardware(
    board="Raspberry Pi 4 Model B Rev 1.5",
    processor="bcm2711",
    architecture="aarch64",
    cores=(Cores(part="Cortex-A72", count=4, max_hz=1_800_000_000),),
    features=("asimd",),
    ram_bytes=3_884_312 * 1024,
    caches=(Cache(level=1, kind="data", bytes=32768),),
    kernel="6.12.47",
    drivers=(("l4t", "36.4"),),
)


def test_id_is_a_known_value() -> None:
    """The id names stored measurements: changing how it is made loses them all."""
    assert PI.id == "bde1725de3d972ce"


def test_id_survives_a_few_pages_of_memory_more_or_less() -> None:
    """The kernel reserves a little more or less at each start."""
    assert replace(PI, ram_bytes=3_884_312 * 1024 - 100_000).id == PI.id


@pytest.mark.parametrize(
    "other",
    [
        replace(PI, cores=(Cores(part="Cortex-A72", count=4, max_hz=1_500_000_000),)),
        replace(PI, cores=(Cores(part="Cortex-A72", count=4, max_hz=1_800_000_000, cap_hz=600_000_000),)),
        replace(PI, ram_bytes=2**30),
        replace(PI, kernel="6.12.48"),
        replace(PI, power_mode="7W"),
        replace(PI, drivers=(("l4t", "36.5"),)),
        replace(PI, features=("asimd", "asimddp")),
    ],
)
def test_id_changes_with_what_changes_speed(other: Hardware) -> None:
    """Clocks, caps, memory, kernel, power mode, drivers and extensions each make another machine."""
    assert other.id != PI.id


def test_hardware_survives_json() -> None:
    """What is written is read back equal."""
    import json

    assert Hardware.from_json(json.loads(json.dumps(PI.to_json()))) == PI


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": 64}, "hardware.architecture: expected str, got int"),
        ({"ram_bytes": "4 GB"}, "hardware.ram_bytes: expected int, got str"),
        ({"cores": [{"part": "Cortex-A72", "count": True}]}, "hardware.cores[0].count: expected int, got bool"),
        ({"drivers": [["l4t", "36"]]}, "hardware.drivers: expected object, got array"),
    ],
)
def test_wrong_descriptions_name_the_place(change: dict[str, object], message: str) -> None:
    """Errors carry the dotted path."""
    with pytest.raises(ManifestError) as caught:
        Hardware.from_json({**PI.to_json(), **change})

    assert str(caught.value) == message


def test_unknown_fact_is_refused() -> None:
    """A misspelt key is not passed over."""
    with pytest.raises(ManifestError, match=r"^hardware\.cpus: unknown key; known here: board, processor"):
        Hardware.from_json({**PI.to_json(), "cpus": 4})
