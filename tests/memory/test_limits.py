"""Real memory control groups, as small as boards are: a model works, or is refused; the kernel never has to kill it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITED = Path(__file__).with_name("limited")
LOAD_AND_RUN = """
import json, sys
import numpy as np
import ortolan
from ortolan.errors import MemoryBudgetError
path, low_memory = sys.argv[1], sys.argv[2] == "1"
try:
    with ortolan.load(path, low_memory=low_memory, threads=1) as model:
        for _ in range(5):
            answer = model.run({"x": np.ones((4, model.inputs[0].shape[1]), np.float32)})["y"]
        print(json.dumps({"worked": bool(np.isfinite(answer).all())}))
except MemoryBudgetError as error:
    print(json.dumps({"refused": str(error)}))
"""


@pytest.fixture(scope="module", autouse=True)
def control_groups() -> None:
    """Skips where no memory control group can be made."""
    probe = subprocess.run([LIMITED, "64", "true"], capture_output=True, text=True, check=False)
    if probe.returncode == 125:
        pytest.skip(f"needs root and memory control groups: {probe.stderr.strip()}")


@pytest.mark.parametrize("low_memory", [0, 1])
@pytest.mark.parametrize(("megabytes", "works"), [(512, True), (256, None), (128, False)])
def test_weights_inside_the_file(
    layers: Callable[..., object],
    saved: Callable[..., Path],
    in_process: Callable[..., dict[str, object]],
    megabytes: int,
    works: bool | None,
    low_memory: int,
) -> None:
    """100 MB of weights work within 512 MB; within 256 MB they may; within 128 MB they are refused."""
    path = saved(layers(6, 2048))
    found = in_process(LOAD_AND_RUN, path, low_memory, before=(str(LIMITED), str(megabytes)))
    assert found["status"] == 0, found["stderr"]
    if works is not None:
        assert ("worked" in found) is works, found
    if "refused" in found:
        assert "available" in str(found["refused"])


def test_mapped_weights_need_less(
    layers: Callable[..., object],
    saved: Callable[..., Path],
    in_process: Callable[..., dict[str, object]],
    tmp_path: Path,
) -> None:
    """A bundle of the same weights beside the file, not repacked, works within 192 MB."""
    bundle = convert([saved(layers(6, 2048), external=True)], tmp_path / "layers.bundle").bundle
    found = in_process(LOAD_AND_RUN, bundle.path, 1, before=(str(LIMITED), "192"))
    assert found.get("worked") is True, found
