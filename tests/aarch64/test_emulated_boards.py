"""What runs on a Raspberry Pi: its kernels, its wheels, its facts; bundles that were made on x86-64."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ortolan
from ortolan.bundle.directory import open_bundle
from ortolan.errors import Cancelled, MissingPackageError
from ortolan.hardware.probe import probe
from ortolan.tasks.golden import agrees

numbers = runpy.run_path(str(Path(__file__).with_name("answering.py")))["numbers"]
BOARD = os.environ.get("ORTOLAN_TEST_BOARD", "")
BUNDLES = Path(os.environ.get("ORTOLAN_TEST_BUNDLES", ""))
pytestmark = pytest.mark.skipif(not BOARD, reason="`make test-aarch64` emulates the boards this needs")

BOARDS = {
    "pi-zero-2w": ("Raspberry Pi Zero 2 W Rev 1.0", "Cortex-A53", ("asimd",)),
    "pi-4": ("Raspberry Pi 4 Model B Rev 1.5", "Cortex-A72", ("asimd",)),
    "pi-5": ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76", ("asimd", "asimddp", "asimdhp", "fphp")),
}
"""Model, core and the extensions that kernels are chosen by."""

TEXTS = ("char", "word", "clusters")
TENSORS = ("fp32", "fp16", "int8", "conv", "odd")
TASKS = ("image", "table", "stream", "embed")
CLOSE = 1e-4
"""Two processors' float32 arithmetic differs by less; of probabilities."""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def expected() -> dict[str, dict[str, list[object]]]:
    content: dict[str, dict[str, list[object]]] = json.loads((BUNDLES / "expected.json").read_text(encoding="utf-8"))
    return content


def test_facts_are_the_boards() -> None:
    """The probe finds the emulated processor, by its part number and features."""
    model, part, features = BOARDS[BOARD]
    hardware = probe()
    assert platform.machine() == "aarch64"
    assert (hardware.architecture, hardware.board) == ("aarch64", model)
    # The clocks and capacities below /sys are the emulating machine's.
    assert ({cores.part for cores in hardware.cores}, hardware.core_count) == ({part}, 4)
    assert hardware.features == features


def test_facts_of_a_whole_board(tmp_path: Path) -> None:
    """With the board's own files beside /proc/cpuinfo, also its memory, clock and system on chip."""
    files = {
        "proc/cpuinfo": Path("/proc/cpuinfo").read_text(encoding="ascii"),
        "proc/meminfo": "MemTotal:         425792 kB\nMemFree:          191000 kB\nMemAvailable:     270336 kB\n",
        "proc/device-tree/compatible": "raspberrypi,board\0brcm,bcm0000\0",
        "proc/device-tree/model": f"{BOARDS[BOARD][0]}\0",
        **{f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": "1000000\n" for n in range(4)},
        **{f"sys/devices/system/cpu/cpu{n}/cpu_capacity": "1024\n" for n in range(4)},
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    hardware = probe(tmp_path)
    assert (hardware.processor, hardware.ram_bytes) == ("bcm0000", 425_792 * 1024)
    assert [(cores.part, cores.count, cores.max_hz) for cores in hardware.cores] == [(BOARDS[BOARD][1], 4, 10**9)]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_get_the_sources_answers(name: str, expected: dict[str, dict[str, list[object]]]) -> None:
    """Labels are equal, one by one and all at once."""
    with ortolan.load(BUNDLES / f"{name}.bundle", variant="fp32") as model:
        assert [answer.label for answer in model.predict_batch(expected["texts"])] == expected["answers"][name]
        singles = [model.predict(text).label for text in expected["texts"][:5]]
    assert singles == expected["answers"][name][:5]


def test_probabilities_are_the_sources(expected: dict[str, dict[str, list[object]]]) -> None:
    """To 1e-5."""
    with ortolan.load(BUNDLES / "char.bundle", ortolan.TextClassifier, variant="fp32") as model:
        answers = model.predict_batch(expected["texts"])
    found = [[answer.probabilities[label] for label in sorted(answer.probabilities or {})] for answer in answers]
    np.testing.assert_allclose(found, expected["answers"]["char.probabilities"], atol=1e-5)


@pytest.mark.parametrize("name", [*TEXTS, *TENSORS, *TASKS])
def test_golden_samples_are_within_fidelity(name: str) -> None:
    """Every variant, float32, float16 and int8, answers as it did on x86-64."""
    path = BUNDLES / f"{name}.bundle"
    for variant in open_bundle(path).manifest.components[0].variants:
        with ortolan.load(path, variant=variant.name) as model:
            found = model.check()
        assert found.n >= 16
        assert agrees(found, variant.info.fidelity), (variant.name, found)


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    """What the bundles of `TASKS` were asked on x86-64, and what they answered."""
    with np.load(BUNDLES / "asked.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", TASKS)
def test_images_rows_sound_and_texts_get_the_answers_of_x86(name: str, asked: dict[str, Any]) -> None:
    """Arrays of an image's right size, rows of a table, sound chunk by chunk, tokens of the wheel for aarch64."""
    with ortolan.load(BUNDLES / f"{name}.bundle") as model:
        found = [numbers(name, model, one) for one in asked[f"{name}.asked"]]
    np.testing.assert_allclose(found, asked[f"{name}.answered"], atol=CLOSE)


def test_sound_in_pieces_is_the_whole(asked: dict[str, Any]) -> None:
    """The state goes from chunk to chunk, wherever the sound is cut."""
    sound, expected = asked["stream.asked"][0], asked["stream.answered"][0]
    with ortolan.load(BUNDLES / "stream.bundle", ortolan.Streamer) as model:
        stream = model.stream()
        chunks = [chunk for piece in np.array_split(sound, 17) for chunk in stream.push(piece)]
        found = [chunk.score for chunk in (*chunks, *stream.flush())]
    np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_an_image_file_names_what_it_needs() -> None:
    """There is no Pillow here, and arrays needed none."""
    assert importlib.util.find_spec("PIL") is None
    with (
        ortolan.load(BUNDLES / "image.bundle", ortolan.ImageClassifier) as model,
        pytest.raises(MissingPackageError, match=r"ortolan\[image\]"),
    ):
        model.predict(b"\xff\xd8\xff\xe0 a JPEG file")


def test_a_real_model_of_others_answers() -> None:
    """magika, on the first of its golden samples: all of them take minutes to emulate."""
    path = BUNDLES / "magika.bundle"
    if not path.exists():
        pytest.skip("the package registry gives no magika")
    with np.load(path / "golden/inputs.npz") as inputs, np.load(path / "golden/outputs.npz") as outputs:
        feeds = {name.removeprefix("0000/"): inputs[name] for name in inputs.files if name.startswith("0000/")}
        expected = {name.removeprefix("0000/"): outputs[name] for name in outputs.files if name.startswith("0000/")}
    with ortolan.load(path) as model:
        found = model.run(feeds)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=CLOSE)


def test_a_bare_model_runs_and_binds() -> None:
    """A bare .onnx loads; run and bind agree with the product by hand."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    weights = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    with ortolan.load(BUNDLES / "bare.onnx") as model:
        np.testing.assert_allclose(model.run({"x": x})["y"], x @ weights)
        bound = model.bind({"x": x})
        bound.inputs["x"][...] = 2 * x
        bound()
        np.testing.assert_allclose(bound.outputs["y"], 2 * (x @ weights))


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 33])
def test_integer_products_of_any_height_agree(rows: int) -> None:
    """The int8 kernels work in blocks of rows; each remainder has code of its own."""
    x = np.random.default_rng(rows).standard_normal((rows, 64)).astype(np.float32)
    with ortolan.load(BUNDLES / "int8.bundle") as model:
        together = model.run({"x": x})["y"]
        assert together.shape == (rows, 10)
        np.testing.assert_allclose(together.sum(axis=1), np.ones(rows), atol=CLOSE)
        with ortolan.load(BUNDLES / "fp32.bundle") as reference:
            np.testing.assert_allclose(together, reference.run({"x": x})["y"], atol=0.05)


def test_a_deadline_ends_a_call() -> None:
    """Threads and timers work as on any other machine."""
    with ortolan.load(BUNDLES / "bare.onnx") as model:
        control = ortolan.RunControl(timeout=60)
        control.cancel()
        with pytest.raises(Cancelled):
            model.run({"x": np.zeros((1, 3), np.float32)}, control)
