"""Profiles: every board's file is whole, and a damaged one is an error with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ortolan.errors import UnknownNameError, UsageError
from ortolan.hardware import profiles
from ortolan.hardware.probe import probe
from ortolan.hardware.profiles import Figure, Rates, here, load_profile, profile_names, read_profile

FILES = Path(profiles.__file__).parent / "profiles"


def _damaged(path: str, value: object) -> str:
    data = yaml.safe_load((FILES / "raspberry-pi-5.yaml").read_text())
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(data)


def test_the_boards() -> None:
    """These names are part of the command line."""
    assert profile_names() == (
        "generic-aarch64",
        "generic-x86-64",
        "jetson-orin-nano",
        "raspberry-pi-4b",
        "raspberry-pi-5",
        "raspberry-pi-zero-2-w",
    )


@pytest.mark.parametrize("name", profile_names())
def test_every_figure_has_a_source(name: str) -> None:
    """Nothing is tagged measured without saying where."""
    profile = load_profile(name)

    tagged = dict(profile.tagged())
    assert {f"calibration.providers.cpu.{rate}" for rate in Rates.__dataclass_fields__} <= set(tagged)
    assert profile.software.onnxruntime.keys() == profile.calibration.providers.keys()
    for figure in tagged.values():
        assert figure.source
        assert figure.basis != "measured" or "https://" in figure.source


def test_boards_rank_as_they_do_in_life() -> None:
    """Speeds grow from the Zero 2 W over the 4 to the 5."""
    speeds = [load_profile(f"raspberry-pi-{name}").calibration.python_speed.value for name in ("zero-2-w", "4b", "5")]

    assert speeds == sorted(speeds)


def test_unknown_board_suggests_near_ones() -> None:
    """The message names boards that are spelt alike."""
    with pytest.raises(UnknownNameError) as caught:
        load_profile("raspberry-pi-4")

    assert str(caught.value).startswith("unknown profile 'raspberry-pi-4'; did you mean 'raspberry-pi-4b'")


def test_path_is_no_board_name() -> None:
    """A name is looked up, never joined to a path."""
    with pytest.raises(UnknownNameError):
        load_profile("../profiles/raspberry-pi-5")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("calibration.python_speed.value", "fast", "calibration.python_speed.value: expected number, got str"),
        ("calibration.python_speed.basis", "guessed", "calibration.python_speed.basis: expected 'measured' or "),
        ("calibration.python_speed.source", None, "calibration.python_speed.source: missing"),
        ("calibration.providers", {}, "calibration.providers: expected at least 1 entry, got 0"),
        ("calibration.providers.cpu.fp32_flops", None, "calibration.providers.cpu.fp32_flops: missing"),
        ("hardware.ram_bytes", "8 GB", "hardware.ram_bytes: expected int, got str"),
        ("hardware.cpu", "fast", "hardware.cpu: unknown key"),
        ("prize_usd", 60, "prize_usd: unknown key"),
        ("software.python", 3.13, "software.python: expected object, got float"),
    ],
)
def test_damaged_profile_names_the_place(path: str, value: object, message: str) -> None:
    """Errors carry the profile's name and the dotted path."""
    with pytest.raises(UsageError) as caught:
        read_profile("mine", _damaged(path, value))

    assert str(caught.value).startswith(f"profile 'mine': {message}")


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True])
def test_figures_are_finite_and_above_zero(value: float) -> None:
    """A rate of zero would be divided by."""
    with pytest.raises(UsageError, match=r"calibration\.python_speed\.value"):
        read_profile("mine", _damaged("calibration.python_speed.value", value))


@pytest.mark.parametrize("text", ["{", "- a\n- b", "", "a: !!python/object:os.system x", "title: [1"])
def test_what_is_no_profile_is_a_usage_error(text: str) -> None:
    """Broken YAML, other YAML and YAML that would run code are refused in one line."""
    with pytest.raises(UsageError) as caught:
        read_profile("mine", text)

    assert "\n" not in str(caught.value)


def test_here_is_what_probing_says() -> None:
    """This machine's profile has its facts, and speeds that are all estimates."""
    profile = here(onnxruntime={"cpu": "1.32.0"})

    assert profile.hardware == probe()
    assert profile.software.onnxruntime["cpu"].value == "1.32.0"
    rates = profile.calibration.providers["cpu"]
    assert {figure.basis for name, figure in profile.tagged() if isinstance(figure, Figure)} == {"estimated"}
    assert rates.fp32_flops.value > 1e8


def test_estimates_agree_with_the_boards_own_figures(board: object) -> None:
    """A probed Raspberry Pi 5 is estimated within a factor of two of its profile."""
    estimated = here(board("pi-5"))  # type: ignore[operator] # fixture of this directory
    known = load_profile("raspberry-pi-5")

    pairs = [(estimated.calibration.python_speed, known.calibration.python_speed)]
    ours, theirs = estimated.calibration.providers["cpu"], known.calibration.providers["cpu"]
    pairs += [(getattr(ours, name), getattr(theirs, name)) for name in Rates.__dataclass_fields__]
    for one, other in pairs:
        assert 0.5 <= one.value / other.value <= 2


def test_here_needs_no_yaml() -> None:
    """It is on the way to every load."""
    import subprocess
    import sys

    code = "import sys; from ortolan.hardware.profiles import here; here(); sys.exit('yaml' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
