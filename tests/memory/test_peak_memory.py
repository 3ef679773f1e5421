"""The predicted peak against real processes, and what is done with it."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ortolan
from ortolan.bundle.onnxfile import read_model
from ortolan.errors import MemoryBudgetError
from ortolan_convert.analysis.costs import costs_of
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., object]
    InProcess = Callable[..., dict[str, object]]

LOAD_AND_RUN = """
import json, sys
import numpy as np
import ortolan
path, rows, low_memory = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
with ortolan.load(path, low_memory=low_memory, threads=1) as model:
    spec = model.inputs[0]
    for _ in range(5):
        model.run({spec.name: np.ones((rows, spec.shape[1]), np.float32)})
    memory = model.memory
print(json.dumps({"predicted": memory.predicted_peak, "measured": memory.measured_peak}))
"""
CHANGING_SHAPES = """
import json, random, sys
import numpy as np
import ortolan
def private():
    # Pages of files that are mapped are left out: they become shared and private as other processes come and go.
    with open("/proc/self/smaps_rollup") as rows:
        return 1024 * sum(int(row.split()[1]) for row in rows if row.startswith("Private_Dirty"))
# The C library gives the end of its heap back when it happens to be free: a single moment may be 1 MB below the rest.
draw, found = random.Random(0), {200: [], 1000: []}
with ortolan.load(sys.argv[1], low_memory=sys.argv[2] == "1", threads=1) as model:
    width, rows = model.inputs[0].shape[1], int(sys.argv[3])
    for run in range(1, 1001):
        model.run({"x": np.ones((draw.randint(1, rows), width), np.float32)})
        for until, readings in found.items():
            if until - 100 < run <= until:
                readings.append(private())
print(json.dumps({"until_200": max(found[200]), "until_1000": max(found[1000])}))
"""
RARE_SHAPES = """
import json, sys
import numpy as np
import ortolan
from ortolan.engine.arena import EVERY, anonymous_bytes
with ortolan.load(sys.argv[1], threads=1) as model:
    small, large = (np.ones((rows, 1024), np.float32) for rows in (10, 4000))
    for _ in range(2 * EVERY):
        model.run({"x": small})
    before = anonymous_bytes()
    model.run({"x": large})
    grown = anonymous_bytes()
    for _ in range(EVERY):
        model.run({"x": small})
    print(json.dumps({"before": before, "grown": grown, "after": anonymous_bytes()}))
"""


ONE_RUN = """
import ctypes, json, sys
import numpy as np
import ortolan
def status(key):
    with open("/proc/self/status") as rows:
        return next(1024 * int(row.split()[1]) for row in rows if row.startswith(key))
# Without the arena large tensors are mapped one by one, and unmapped at once when they are freed.
with ortolan.load(sys.argv[1], low_memory=True, threads=1) as model:
    x = np.ones((1, model.inputs[0].shape[1], 512, 512), np.float32)
    for _ in range(2):
        model.run({"x": x})
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # VmHWM starts anew
    model.run({"x": x})
    print(json.dumps({"alive": status("VmHWM") - before + x.nbytes}))
"""
PICTURES = {
    "whole blocks": ("16", "y = Conv <pads = [1, 1, 1, 1]> (x, k)", {"k": (16, 16, 3, 3)}),
    "channels that fill no block": ("24", "y = Conv <pads = [1, 1, 1, 1]> (x, k)", {"k": (24, 24, 3, 3)}),
    "a picture": ("3", "y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, k)", {"k": (16, 3, 3, 3)}),
    "gates": (
        "16",
        """a = Conv <pads = [1, 1, 1, 1]> (x, k) s = Sigmoid(a) b = Mul(a, s)
        c = Conv <pads = [1, 1, 1, 1]> (b, k) t = Sigmoid(c) y = Mul(c, t)""",
        {"k": (16, 16, 3, 3)},
    ),
    "parts": (
        "32",
        """a = Conv <pads = [1, 1, 1, 1]> (x, k) u, v = Split <axis = 1> (a, sizes)
        c = Conv <pads = [1, 1, 1, 1]> (v, k2) d = Add(v, c) y = Concat <axis = 1> (u, v, d)""",
        {"k": (32, 32, 3, 3), "k2": (16, 16, 3, 3)},
    ),
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the layout in blocks is that of x86-64")
@pytest.mark.parametrize("name", PICTURES)
def test_convolutions_take_what_is_worked_out(
    model_of: Make, saved: Callable[..., Path], in_process: InProcess, name: str
) -> None:
    """What one run has at its worst moment is what the graph says, give or take pages and small tensors."""
    channels, body, kernels = PICTURES[name]
    weights = {key: np.zeros(shape, np.float32) for key, shape in kernels.items()}
    if name == "parts":
        weights["sizes"] = np.array([16, 16])
    path = saved(model_of(f"g (float[1, {channels}, h, w] x) => (float[1, c, p, q] y) {{ {body} }}", **weights))
    found = in_process(ONE_RUN, path)
    expected = costs_of(path, read_model(path)).activation_bytes
    assert found["status"] == 0, found["stderr"]
    assert expected is not None
    # Processors without AVX-512 have smaller blocks, which need less filling.
    assert 0.75 <= found["alive"] / expected.at({"h": 512, "w": 512}) <= 1.03


@pytest.mark.parametrize("low_memory", [0, 1])
@pytest.mark.parametrize(("external", "rows"), [(False, 4), (True, 4), (True, 4000)])
def test_a_prediction_is_above_the_peak_and_close(
    layers: Make,
    saved: Callable[..., Path],
    tmp_path: Path,
    in_process: InProcess,
    external: bool,
    rows: int,
    low_memory: int,
) -> None:
    """Of models that are heavy in weights inside the file, in mapped ones, or in activations."""
    path = saved(layers(4, 1024), external=external)
    config = tmp_path / "task.yaml"
    config.write_text(f"dims: {{rows: 1}}\nmax_dims: {{rows: {rows}}}\n", encoding="utf-8")
    bundle = convert([path], tmp_path / "layers.bundle", config=config).bundle

    found = in_process(LOAD_AND_RUN, bundle.path, rows, low_memory)

    assert found["status"] == 0, found["stderr"]
    assert 1 <= found["predicted"] / found["measured"] <= 1.5, found


@pytest.mark.parametrize("low_memory", [0, 1])
@pytest.mark.parametrize(("width", "rows"), [(16, 3000), (64, 1000), (256, 50), (256, 1000), (512, 25), (512, 300)])
def test_changing_shapes_do_not_pile_up(
    layers: Make, saved: Callable[..., Path], in_process: InProcess, width: int, rows: int, low_memory: int
) -> None:
    """Private bytes are at most 2 % more in runs 901 to 1,000 than in runs 101 to 200, however small the model is.

    The largest input and output are granted once more: whether the C library finds room for the application's own
    arrays between others or takes new memory depends on where these happen to lie, even on the length of a path.
    """
    found = in_process(CHANGING_SHAPES, saved(layers(4, width)), low_memory, rows)
    assert found["status"] == 0, found["stderr"]
    own_arrays = 2 * rows * width * 4
    assert found["until_1000"] <= 1.02 * found["until_200"] + own_arrays, found


def test_one_large_input_among_small_ones_does_not_stay(
    layers: Make, saved: Callable[..., Path], in_process: InProcess
) -> None:
    """Onnxruntime's arena keeps what it took once; it is given back when it is seen."""
    found = in_process(RARE_SHAPES, saved(layers(4, 1024)))
    assert found["status"] == 0, found["stderr"]
    assert found["grown"] > found["before"] + 30_000_000, found
    assert found["after"] < found["before"] + 3_000_000, found


def test_a_bare_file_has_a_prediction(layers: Make, saved: Callable[..., Path]) -> None:
    """Its weights, and a bound for what is unknown, on top of what the process has."""
    path = saved(layers(2, 512))
    with ortolan.load(path) as model:
        memory = model.memory
        assert memory.predicted_peak is not None
        assert memory.predicted_peak > path.stat().st_size + 40_000_000
        assert any("unknown" in note for note in model.plan.notes)


def test_a_refusal_names_the_parts(layers: Make, saved: Callable[..., Path], tmp_path: Path) -> None:
    """And what may help; nothing was loaded."""
    bundle = convert([saved(layers(2, 256))], tmp_path / "layers.bundle", quantize=[]).bundle
    with pytest.raises(MemoryBudgetError) as caught:
        ortolan.load(bundle.path, max_memory="1MB")
    message = str(caught.value)
    for part in ("process up to", "weights up to", "prepacking up to", "activations up to"):
        assert part in message
    assert message.endswith("raise max_memory, or try low_memory=True, or take a smaller variant or model")
    with pytest.raises(MemoryBudgetError, match=r"raise max_memory, or take a smaller variant or model$"):
        ortolan.load(bundle.path, max_memory="1MB", low_memory=True)


def test_what_the_process_has_already_counts(layers: Make, saved: Callable[..., Path], tmp_path: Path) -> None:
    """The budget is the process's: an application's own memory leaves less for the model."""
    bundle = convert([saved(layers(1, 64))], tmp_path / "layers.bundle").bundle
    with ortolan.load(bundle.path) as model:
        before = model.memory.predicted_peak
    own = bytearray(100_000_000)
    own[::4096] = b"x" * len(own[::4096])
    with ortolan.load(bundle.path) as model:
        after = model.memory.predicted_peak
    assert before is not None and after is not None
    assert after - before > 90_000_000


def test_a_bundle_says_what_its_activations_take(layers: Make, saved: Callable[..., Path], tmp_path: Path) -> None:
    """As a function of its free dimensions, with the largest sizes it was declared for."""
    config = tmp_path / "task.yaml"
    config.write_text("dims: {rows: 2}\nmax_dims: {rows: 50}\n", encoding="utf-8")
    bundle = convert([saved(layers(2, 64))], tmp_path / "layers.bundle", config=config).bundle
    manifest = bundle.manifest
    info = manifest.components[0].variants[0].info
    assert (manifest.dims, manifest.largest) == ({"rows": 2}, {"rows": 50})
    assert info.macs is not None and info.macs.at(manifest.dims) == 2 * 2 * 64 * 64
    assert info.activation_bytes is not None
    assert info.activation_bytes.at({"rows": 10}) >= 3 * 10 * 64 * 4
    assert info.weights is not None and info.weights.repacked == 2 * 64 * 64 * 4
    ours = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))["additional_metadata"]["ortolan"]
    assert ours["max_dims"] == {"rows": 50}


def test_axes_without_a_name_are_called_after_their_input(
    model_of: Make, saved: Callable[..., Path], tmp_path: Path
) -> None:
    """So that their sizes can be given, and costs can depend on them."""
    path = saved(model_of("g (float[?, 4] x) => (float[?, 4] y) { y = Relu(x) }"))
    config = tmp_path / "task.yaml"
    config.write_text("dims: {x.0: 3}\n", encoding="utf-8")
    bundle = convert([path], tmp_path / "layers.bundle", config=config).bundle
    info = bundle.manifest.components[0].variants[0].info
    assert bundle.manifest.dims == {"x.0": 3}
    assert info.activation_bytes is not None and info.activation_bytes.at({"x.0": 10}) == 2 * 10 * 4 * 4
