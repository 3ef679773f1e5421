"""Small networks of PyTorch in every form it saves them, to bundles whose answers are torch's."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
import ortolan_convert
from ortolan.errors import ConversionError, ParityError, UnsupportedError, UsageError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state directory of the test's own, and the same weights every time."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    torch.manual_seed(0)
    yield


@pytest.fixture
def written_out() -> Iterator[None]:
    """Attention written out: its fast path is one operator, which is for running and not for saving."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images).flatten(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 2)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(frames)
        return self.head(states[:, -1])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(self.embedding(ids), src_key_padding_mask=mask == 0)
        return hidden.mean(1)


class Several(nn.Module):
    """Two inputs; a mapping with a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> dict[str, Any]:
        total = self.left(a) + self.right(b)
        return {"total": total, "parts": (total.sum(1), total.argmax(1))}


def answers(bundle: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    with ortolan.load(bundle, threads=1) as model:
        return dict(model.run(feeds))


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5, rtol=1e-5)


NETWORKS: list[tuple[Callable[[], Any], dict[str, tuple[tuple[int | str, ...], str]]]] = [
    (Mlp, {"x": (("batch", 6), "float32")}),
    (Cnn, {"images": (("batch", 3, "height", "width"), "float32")}),
    (Recurrent, {"frames": (("batch", "time", 4), "float32")}),
    (Block, {"ids": (("batch", "sequence"), "int64"), "mask": (("batch", "sequence"), "int64")}),
]


def made(inputs: dict[str, tuple[tuple[int | str, ...], str]], size: int) -> dict[str, Any]:
    random = np.random.default_rng(size)
    found = {}
    for name, (shape, dtype) in inputs.items():
        sizes = [size if isinstance(dim, str) else dim for dim in shape]
        values = random.standard_normal(sizes) if dtype == "float32" else random.integers(1, 40, sizes)
        found[name] = values.astype(dtype)
    return found


def declared(inputs: dict[str, tuple[tuple[int | str, ...], str]], path: Path, more: str = "") -> Path:
    rows = [
        f"{{name: {name}, shape: [{', '.join(map(str, shape))}], dtype: {dtype}}}"
        for name, (shape, dtype) in inputs.items()
    ]
    path.write_text(f"source:\n  inputs: [{', '.join(rows)}]\n{textwrap.indent(more, '  ')}")
    return path


@pytest.mark.parametrize(("network", "inputs"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_module_in_memory(network: Callable[[], Any], inputs: dict[str, Any], tmp_path: Path) -> None:
    """At sizes it was not exported with, and in inference mode though it is not; the module stays as it is."""
    module = network()
    free = {name: {a: d for a, d in enumerate(shape) if isinstance(d, str)} for name, (shape, _) in inputs.items()}
    examples = {name: torch.from_numpy(array) for name, array in made(inputs, 12).items()}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    report = ortolan_convert.from_torch(module, examples, tmp_path / "a.bundle", dynamic_shapes=free, quantize=[])
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert report.provenance.framework == "torch"
    for size in (1, 3, 21):
        feeds = made(inputs, size)
        expected = module.eval()(*(torch.from_numpy(array) for array in feeds.values()))
        same(answers(report.bundle.path, feeds)["output"], expected)


@pytest.mark.parametrize(("network", "inputs"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("how", ["script", "trace"])
def test_torchscript(
    network: Callable[[], Any], inputs: dict[str, Any], how: str, tmp_path: Path, written_out: None
) -> None:
    """Scripted and traced, with free dimensions declared; what neither exporter knows is named."""
    module = network().eval()
    examples = tuple(torch.from_numpy(array) for array in made(inputs, 12).values())
    scripted = torch.jit.script(module) if how == "script" else torch.jit.trace(module, examples)
    scripted.save(str(tmp_path / "model.anything"))
    np.savez(tmp_path / "samples.npz", **made(inputs, 14))
    request = {
        "config": declared(inputs, tmp_path / "task.yaml"),
        "samples": tmp_path / "samples.npz",
        "quantize": [],
    }
    if (network, how) == (Block, "script"):
        with pytest.raises(UnsupportedError, match=r"operator prim::is_nested \(in the layer encoder.*\)"):
            convert(tmp_path / "model.anything", tmp_path / "a.bundle", **request)
        return
    report = convert(tmp_path / "model.anything", tmp_path / "a.bundle", **request)
    for size in (1, 5):
        feeds = made(inputs, size)
        same(answers(report.bundle.path, feeds)["output"], module(*map(torch.from_numpy, feeds.values())))


def test_an_exported_program_brings_its_own_shapes(tmp_path: Path) -> None:
    """Free dimensions with bounds, keyword arguments, a mapping as the result: all found in the file."""
    module = Several().eval()
    batch = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(
        module, (torch.ones(4, 4),), {"b": torch.ones(4, 2)}, dynamic_shapes={"a": {0: batch}, "b": {0: batch}}
    )
    torch.export.save(program, tmp_path / "model.pt2")
    report = convert(tmp_path / "model.pt2", tmp_path / "a.bundle", quantize=[])
    feeds = {"a": np.ones((7, 4), np.float32), "b": np.full((7, 2), 2, np.float32)}
    expected = module(*map(torch.from_numpy, feeds.values()))
    found = answers(report.bundle.path, feeds)
    assert list(found) == ["total", "parts_0", "parts_1"]
    same(found["total"], expected["total"])
    same(found["parts_1"], expected["parts"][1])
    with ortolan.load(report.bundle.path) as model:
        assert [spec.shape for spec in model.inputs] == [("batch", 4), ("batch", 2)]


def test_names_of_a_programs_inputs_can_be_declared(tmp_path: Path) -> None:
    """The YAML file gives inputs, dimensions and outputs other names; other shapes than its own are refused."""
    program = torch.export.export(Mlp().eval(), (torch.ones(4, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "model.pt2")
    config = declared({"rows": (("n", 6), "float32")}, tmp_path / "task.yaml", "outputs: [logits]\n")
    report = convert(tmp_path / "model.pt2", tmp_path / "a.bundle", config=config, quantize=[])
    assert list(answers(report.bundle.path, {"rows": np.ones((3, 6), np.float32)})) == ["logits"]
    config = declared({"rows": (("n", 7), "float32")}, tmp_path / "task.yaml")
    with pytest.raises(UnsupportedError, match=r"not those it was exported with: x \['batch', 6\] float32"):
        convert(tmp_path / "model.pt2", tmp_path / "b.bundle", config=config)


def test_a_traced_file_says_what_it_was_traced_with(tmp_path: Path) -> None:
    """Nothing declared: shapes come out of the file, and the first axis proves free."""
    torch.jit.trace(Cnn().eval(), torch.ones(2, 3, 16, 16)).save(str(tmp_path / "model.pt"))
    report = convert(tmp_path / "model.pt", tmp_path / "a.bundle", quantize=[])
    with ortolan.load(report.bundle.path) as model:
        assert model.inputs[0].shape == ("batch", 3, 16, 16)


def test_a_size_that_tracing_fixed_is_found_out(tmp_path: Path) -> None:
    """A batch size that became a constant: refused where it is declared free, fixed and said where it was found."""

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(int(x.shape[0]), 6) * int(x.shape[0])

    traced = torch.jit.trace(Fixed(), torch.ones(2, 6))
    traced.save(str(tmp_path / "model.pt"))
    with pytest.raises((UnsupportedError, ParityError), match=r"'?batch'? is"):
        convert(
            tmp_path / "model.pt",
            tmp_path / "a.bundle",
            config=declared({"x": (("batch", 6), "float32")}, tmp_path / "task.yaml"),
        )
    report = convert(tmp_path / "model.pt", tmp_path / "a.bundle", quantize=[])
    assert any("no dimension proved free" in warning for warning in report.warnings)
    with ortolan.load(report.bundle.path) as model:
        assert model.inputs[0].shape == (2, 6)


def test_control_flow_on_values_stays_in_torchscript(tmp_path: Path) -> None:
    """An if of a scripted module takes both ways in the bundle."""

    class Either(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.sum() > 0):
                y = x * 2
            else:
                y = x - 1
            return y

    torch.jit.script(Either()).save(str(tmp_path / "model.pt"))
    config = declared({"x": (("batch", 3), "float32")}, tmp_path / "task.yaml")
    report = convert(tmp_path / "model.pt", tmp_path / "a.bundle", config=config, quantize=[])
    for sign in (1, -1):
        feeds = {"x": np.full((2, 3), sign, np.float32)}
        np.testing.assert_array_equal(
            answers(report.bundle.path, feeds)["output"], feeds["x"] * 2 if sign > 0 else feeds["x"] - 1
        )


def test_samples_give_shapes_types_and_values(tmp_path: Path) -> None:
    """Without a declaration a module out of a file takes what the arrays are; they are what is compared."""
    module = Block()
    ids = np.random.default_rng(0).integers(2, 50, (20, 9))
    np.savez(tmp_path / "samples.npz", ids=ids, mask=np.ones_like(ids))
    examples = (torch.from_numpy(ids), torch.ones(20, 9, dtype=torch.int64))
    report = ortolan_convert.from_torch(
        module, examples, tmp_path / "a.bundle", samples=tmp_path / "samples.npz", quantize=[]
    )
    assert report.variants[0].fidelity.n == 20
    same(answers(report.bundle.path, {"ids": ids, "mask": np.ones_like(ids)})["output"], module.eval()(*examples))


def test_without_shapes_the_error_shows_what_to_write(tmp_path: Path) -> None:
    """The names are the network's own."""
    torch.jit.script(Mlp()).save(str(tmp_path / "model.pt"))
    with pytest.raises(
        UsageError, match=r"source: \{inputs: \[\{name: x, shape: \[batch, \.\.\.\], dtype: float32\}\]\}"
    ):
        convert(tmp_path / "model.pt", tmp_path / "a.bundle")


def test_training_mode_is_left_and_said(tmp_path: Path) -> None:
    """A scripted module remembers the mode it was saved in; the bundle is of the other one."""
    module = Mlp()
    torch.jit.script(module).save(str(tmp_path / "model.pt"))
    config = declared({"x": (("batch", 6), "float32")}, tmp_path / "task.yaml")
    report = convert(tmp_path / "model.pt", tmp_path / "a.bundle", config=config, quantize=[])
    assert any("saved in training mode" in warning and "layers.2" in warning for warning in report.warnings)
    feeds = {"x": np.ones((2, 6), np.float32)}
    same(answers(report.bundle.path, feeds)["output"], module.eval()(torch.ones(2, 6)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type_become_float32(dtype: Any, tmp_path: Path) -> None:
    """The reference is of float32, and that is said."""
    module = Mlp().to(dtype)
    report = ortolan_convert.from_torch(module, torch.ones(2, 6, dtype=dtype), tmp_path / "a.bundle", quantize=[])
    assert any("became float32" in warning for warning in report.warnings)
    assert next(module.parameters()).dtype == dtype
    found = answers(report.bundle.path, {"x": np.ones((2, 6), np.float32)})["output"]
    same(found, module.eval().float()(torch.ones(2, 6)))


def test_the_declared_type_of_a_module_that_fails_is_said(tmp_path: Path) -> None:
    """Shapes that do not fit the network: what was tried, and what torch said."""
    torch.jit.script(Mlp()).save(str(tmp_path / "model.pt"))
    config = declared({"x": (("batch", 5), "float32")}, tmp_path / "task.yaml")
    with pytest.raises(ConversionError, match=r"cannot run it on inputs of the shapes x \['batch', 5\] float32"):
        convert(tmp_path / "model.pt", tmp_path / "a.bundle", config=config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("source: {shapes: 3}", "source.shapes: unknown key; known: arguments, weights"),
        ("source: {inputs: [{name: x}]}", r"source.inputs\[0\]: expected name, shape"),
        ("source: {inputs: [{name: x, shape: [0]}]}", r"source.inputs\[0\].shape: expected sizes"),
        ("source: {inputs: [{name: x, shape: [1], dtype: float}]}", r"source.inputs\[0\].dtype: expected one of"),
        ("source: {outputs: [a, a]}", "source.outputs: expected different names"),
        ("source: {weights: a}", "source.weights is for checkpoints, this is a TorchScript model"),
        ("source: {arguments: {n: 1}}", "source.arguments are for the factory"),
        ("source: {submodule: nothing}", "no part 'nothing'; it has: layers"),
    ],
)
def test_a_wrong_description(text: str, expected: str, tmp_path: Path) -> None:
    """Each is refused with the place in the file."""
    torch.jit.script(Mlp()).save(str(tmp_path / "model.pt"))
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises((UsageError, ConversionError), match=expected):
        convert(tmp_path / "model.pt", tmp_path / "a.bundle", config=tmp_path / "task.yaml")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"module": "no module"}, "expected a torch.nn.Module, found str"),
        ({"example_inputs": ()}, "expected tensors, found none"),
        ({"example_inputs": (3,)}, "expected tensors, found int"),
        ({"dynamic_shapes": {"y": {0: "n"}}}, "dynamic_shapes.y: no such input; expected x"),
        ({"dynamic_shapes": {"x": {2: "n"}}}, "dynamic_shapes.x: no axis 2; the example has 2"),
        ({"max_drop": 2}, "max_drop: expected a share"),
    ],
)
def test_wrong_arguments_of_from_torch(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    """Each is named."""
    arguments = {"module": Mlp(), "example_inputs": torch.ones(2, 6), "output": tmp_path / "a.bundle", **changes}
    with pytest.raises(UsageError, match=expected):
        ortolan_convert.from_torch(**arguments)


def test_weights_lie_beside_the_graph(tmp_path: Path) -> None:
    """However large a model is, its graph file stays small: beyond 2 GB there is no other way."""
    import onnx

    report = ortolan_convert.from_torch(nn.Linear(300, 400), torch.ones(2, 300), tmp_path / "a.bundle", quantize=[])
    file = report.bundle.path / "model" / "fp32" / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    assert file.stat().st_size < 2000 < (file.parent / "weights.bin").stat().st_size
    assert [one.data_location for one in model.graph.initializer if np.prod(one.dims) > 1000] == [1]
    assert model.ir_version <= 10
    assert max(opset.version for opset in model.opset_import) <= 21
