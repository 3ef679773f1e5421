"""Weights and checkpoints of PyTorch with the module that --module makes."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError, UsageError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

torch = pytest.importorskip("torch")
nn = torch.nn

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=8, tied=False):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 4 if tied else 3)
        if tied:
            self.body[0] = nn.Linear(4, 4)
            self.body[1] = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 4)
            self.head.weight = self.body[0].weight

    def forward(self, x):
        return self.head(self.body(x))

    @classmethod
    def wide(cls, factor):
        return cls(8 * factor)

def broken():
    raise RuntimeError("no disk")

def text():
    return "a net"
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module ``nets`` where the user is, as users have it; a state directory; the same weights every time."""
    import importlib
    import sys

    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.yaml").write_text("source: {inputs: [{name: x, shape: [batch, 4]}]}")
    sys.modules.pop("nets", None)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        made = importlib.import_module("nets")
    torch.manual_seed(0)
    yield made
    sys.modules.pop("nets", None)


def trained(module: Any) -> Any:
    """In inference mode, with running means that are not the first ones."""
    module(torch.randn(64, 4))
    return module.eval()


def converted(path: Path, *, module: str | None = "nets:Net", **options: Any) -> Any:
    return convert(
        path,
        path.parent / "out.bundle",
        config=path.parent / "task.yaml",
        module=module,
        quantize=[],
        overwrite=True,
        **options,
    )


def check(report: Any, module: Any) -> None:
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    with ortolan.load(report.bundle.path, threads=1) as model:
        found = model.run({"x": x})["output"]
    np.testing.assert_allclose(found, module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict(zipped: bool, nets: Any, tmp_path: Path) -> None:
    """Of today's form and of the one before PyTorch 1.6, with weights that are not contiguous."""
    net = trained(nets.Net())
    weights = net.state_dict()
    weights["head.weight"] = weights["head.weight"].T.contiguous().T
    torch.save(weights, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    report = converted(tmp_path / "w.pth")
    check(report, net)
    assert report.provenance.sources[0].name == "w.pth"
    assert not [warning for warning in report.warnings if "entry" in warning or "prefix" in warning]


def test_safetensors(nets: Any, tmp_path: Path) -> None:
    """Needs no trust, and takes a tensor of two names stored once."""
    from safetensors.torch import save_model

    net = trained(nets.Net(tied=True))
    save_model(net, str(tmp_path / "w.safetensors"))
    (tmp_path / "task.yaml").write_text("source: {arguments: {tied: true}, inputs: [{name: x, shape: [batch, 4]}]}")
    check(converted(tmp_path / "w.safetensors"), net)


def test_arguments_and_a_factory_below_a_class(nets: Any, tmp_path: Path) -> None:
    """``module:Class.method`` with what the YAML file says."""
    net = trained(nets.Net.wide(2))
    torch.save(net.state_dict(), tmp_path / "w.pt")
    (tmp_path / "task.yaml").write_text("source: {arguments: {factor: 2}, inputs: [{name: x, shape: [batch, 4]}]}")
    check(converted(tmp_path / "w.pt", module="nets:Net.wide"), net)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model._orig_mod.", "state_dict.model.module."])
def test_a_prefix_of_all_names_is_left_out(prefix: str, nets: Any, tmp_path: Path) -> None:
    """What DataParallel, torch.compile and Lightning put in front; it is said."""
    net = trained(nets.Net())
    torch.save({prefix + name: one for name, one in net.state_dict().items()}, tmp_path / "w.pt")
    report = converted(tmp_path / "w.pt")
    check(report, net)
    assert any(repr(prefix) in warning for warning in report.warnings)


def test_weights_out_of_a_training_checkpoint(nets: Any, tmp_path: Path) -> None:
    """Optimizer, epoch and random state are passed over; the entry is said."""
    net = nets.Net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(8, 4)).sum().backward()
    optimizer.step()
    net.eval()
    checkpoint = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "optimizer_weights": dict(net.state_dict()),
        "rng": torch.get_rng_state(),
        "model": {"net": collections.OrderedDict(("module." + k, v) for k, v in net.state_dict().items())},
    }
    torch.save(checkpoint, tmp_path / "w.pt")
    report = converted(tmp_path / "w.pt")
    check(report, net)
    assert any("'model.net'" in warning for warning in report.warnings)


def test_two_sets_of_weights_that_fit(nets: Any, tmp_path: Path) -> None:
    """The user says which, except where they are equal."""
    net, average = trained(nets.Net()), trained(nets.Net())
    torch.save({"model": net.state_dict(), "model_ema": average.state_dict()}, tmp_path / "w.pt")
    with pytest.raises(
        UsageError, match=r"'model', 'model_ema' all fit and are not the same.*source: \{weights: model\}"
    ):
        converted(tmp_path / "w.pt")
    (tmp_path / "task.yaml").write_text("source: {weights: model_ema, inputs: [{name: x, shape: [batch, 4]}]}")
    check(converted(tmp_path / "w.pt"), average)
    (tmp_path / "task.yaml").write_text("source: {weights: ema, inputs: [{name: x, shape: [batch, 4]}]}")
    with pytest.raises(UsageError, match="no such entry of weights; it has: model, model_ema"):
        converted(tmp_path / "w.pt")
    (tmp_path / "task.yaml").write_text("source: {inputs: [{name: x, shape: [batch, 4]}]}")
    torch.save({"model": net.state_dict(), "copy": net.state_dict()}, tmp_path / "w.pt")
    check(converted(tmp_path / "w.pt"), net)


def test_weights_that_do_not_fit_are_named(nets: Any, tmp_path: Path) -> None:
    """Missing, unexpected and of another shape, each by name."""
    weights = dict(trained(nets.Net()).state_dict())
    del weights["head.bias"], weights["body.1.num_batches_tracked"]
    weights["extra.weight"] = torch.ones(1)
    weights["body.0.weight"] = torch.ones(9, 4)
    torch.save(weights, tmp_path / "w.pt")
    shapes = r"of another shape: body\.0\.weight \[9, 4\] instead of \[8, 4\]"
    with pytest.raises(ConversionError, match=rf"missing: head\.bias; unexpected: extra\.weight; {shapes}$"):
        converted(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_type(dtype: Any, nets: Any, tmp_path: Path) -> None:
    """Become float32, which is said."""
    net = trained(nets.Net()).to(dtype)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    report = converted(tmp_path / "w.pt")
    check(report, net.float())
    assert sum("became float32" in warning for warning in report.warnings) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("head.bias", np.nan), ("body.0.weight", -np.inf), ("body.1.running_mean", np.inf)]
)
def test_numbers_that_are_not_finite(name: str, value: float, nets: Any, tmp_path: Path) -> None:
    """Refused with the tensor's name."""
    weights = trained(nets.Net()).state_dict()
    weights[name].view(-1)[1] = value
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(ConversionError, match=rf"1 of \d+ numbers of {name} are not finite"):
        converted(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensor: tensor.to_sparse(), r"head.weight is sparse"),
        (lambda tensor: tensor.to(torch.complex64), r"head.weight is complex \(torch.complex64\)"),
        (lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "head.weight is quantized by PyTorch"),
    ],
)
def test_tensors_without_a_place_in_a_graph(change: Any, expected: str, nets: Any, tmp_path: Path) -> None:
    """Refused by name."""
    weights = trained(nets.Net()).state_dict()
    weights["head.weight"] = change(weights["head.weight"])
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(UnsupportedError, match=expected):
        converted(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("module", "error", "expected"),
    [
        (None, UsageError, "holds weights without the network they are for; give --module"),
        ("nets", UsageError, "expected PACKAGE.MODULE:FACTORY"),
        ("nets:Missing", UsageError, "cannot be imported: module 'nets' has no attribute 'Missing'"),
        ("no_such_package:Net", UsageError, "cannot be imported: No module named"),
        ("nets:broken", ConversionError, r"calling it with source.arguments \{\} fails: RuntimeError: no disk"),
        ("nets:text", UsageError, "expected it to make a torch.nn.Module, found str"),
    ],
)
def test_a_wrong_module(module: str | None, error: type[Exception], expected: str, nets: Any, tmp_path: Path) -> None:
    """Each is told apart."""
    torch.save(nets.Net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(error, match=expected):
        converted(tmp_path / "w.pt", module=module)


def test_content_that_is_no_weights(nets: Any, tmp_path: Path) -> None:
    """Called by what it is."""
    torch.save({"epoch": 3, "losses": [1.0]}, tmp_path / "w.pt")
    with pytest.raises(ConversionError, match="expected tensors by name, found a mapping with epoch, losses"):
        converted(tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ConversionError, match=r"expected tensors by name, found builtins\.list"):
        converted(tmp_path / "w.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_a_whole_pickled_module(zipped: bool, inside: bool, nets: Any, tmp_path: Path) -> None:
    """Needs trust, which names what it asks for; then no --module. Its weights alone go into what --module makes."""
    net = trained(nets.Net())
    torch.save({"model": net, "epoch": 1} if inside else net, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(TrustRequiredError, match=r"asks for .*nets\.Net"):
        converted(tmp_path / "w.pt", module=None)
    check(converted(tmp_path / "w.pt", module=None, trust=True), net)
    check(converted(tmp_path / "w.pt", trust=True), net)


def test_a_whole_module_of_a_class_that_is_gone(nets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be imported is named, with the way out."""
    torch.save(trained(nets.Net()), tmp_path / "w.pt")
    monkeypatch.delattr(nets, "Net")
    with pytest.raises(ConversionError, match=r"cannot be imported here .*Net.*state_dict\(\) and --module"):
        converted(tmp_path / "w.pt", module=None, trust=True)


def test_a_factorys_prints_do_not_reach_standard_output(
    nets: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is the report's."""
    (tmp_path / "loud.py").write_text("import nets\ndef make():\n    print('hello')\n    return nets.Net()\n")
    net = trained(nets.Net())
    torch.save(net.state_dict(), tmp_path / "w.pt")
    check(converted(tmp_path / "w.pt", module="loud:make"), net)
    output = capsys.readouterr()
    assert "hello" not in output.out
    assert "hello" in output.err
