"""Networks of PyTorch that cannot become a graph are refused by the operator, the layer, the dimension or the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import ortolan_convert
from ortolan.errors import ParityError, UnsupportedError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")
nn = torch.nn


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Bessel()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stage(x)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add_(x.sum(0))
        return x + self.seen


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = x.sum()
        return x


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("turn", torch.ones(4, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(x * self.turn)


def saved(module: Any, path: Path, *, how: str) -> Path:
    if how == "program":
        program = torch.export.export(module, (torch.ones(3, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
        torch.export.save(program, path)
    elif how == "script":
        torch.jit.script(module).save(str(path))
    else:
        torch.jit.trace(module, torch.ones(3, 4)).save(str(path))
    return path


def configured(tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text("source: {inputs: [{name: x, shape: [batch, 4]}]}")
    return tmp_path / "task.yaml"


@pytest.mark.parametrize(("how", "operator"), [("program", r"prims\.bessel_j0"), ("script", "aten::special_bessel_j0")])
def test_an_unknown_operator_of_a_file(how: str, operator: str, tmp_path: Path) -> None:
    """Named with the layer it came from."""
    path = saved(Deep().eval(), tmp_path / "model.pt2", how=how)
    config = None if how == "program" else configured(tmp_path)
    with pytest.raises(UnsupportedError, match=rf"operator {operator} \(in the layer stage\.1\.1\)$"):
        convert(path, tmp_path / "a.bundle", config=config)


def test_an_unknown_operator_of_a_module(tmp_path: Path) -> None:
    """The same in memory."""
    with pytest.raises(
        UnsupportedError, match=r"^Deep: ONNX has no counterpart .*bessel_j0 \(in the layer stage\.1\.1\)$"
    ):
        ortolan_convert.from_torch(Deep(), torch.ones(2, 4), tmp_path / "a.bundle", dynamic_shapes={})


def test_a_module_that_changes_its_buffers(tmp_path: Path) -> None:
    """State is named; it has to go in and out."""
    with pytest.raises(UnsupportedError, match=r"changes its own buffers when it runs \(seen\)"):
        ortolan_convert.from_torch(Counts(), torch.ones(2, 4), tmp_path / "a.bundle", dynamic_shapes={})


def test_torchscript_that_changes_its_attributes(tmp_path: Path) -> None:
    """State is named there too."""
    path = saved(Remembers(), tmp_path / "model.pt", how="script")
    with pytest.raises(UnsupportedError, match=r"forward changes its own attributes \(last\)"):
        convert(path, tmp_path / "a.bundle", config=configured(tmp_path))


@pytest.mark.parametrize("how", ["program", "trace"])
def test_dropout_of_training_in_a_graph(how: str, tmp_path: Path) -> None:
    """What was exported or traced in training mode cannot be switched any more."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    path = saved(module.train(), tmp_path / "model.pt2", how=how)
    with pytest.raises(UnsupportedError, match=r"in training mode \(.*dropout.*\(in the layer 1\)\)"):
        convert(path, tmp_path / "a.bundle")


def test_an_exported_program_of_float64(tmp_path: Path) -> None:
    """Its types are fixed: it has to be exported again."""
    program = torch.export.export(nn.Linear(4, 3).double(), (torch.ones(2, 4, dtype=torch.float64),))
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedError, match=r"export the module again after \.float\(\)"):
        convert(tmp_path / "model.pt2", tmp_path / "a.bundle")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["memory", "script"])
def test_quantized_modules(how: str, tmp_path: Path) -> None:
    """PyTorch's own quantization is refused by name."""
    quantized = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)), {nn.Linear})
    with pytest.raises(UnsupportedError, match="quantized by PyTorch"):
        if how == "memory":
            ortolan_convert.from_torch(quantized, torch.ones(2, 4), tmp_path / "a.bundle")
        else:
            convert(
                saved(quantized, tmp_path / "m.pt", how="script"), tmp_path / "a.bundle", config=configured(tmp_path)
            )


def test_complex_buffers(tmp_path: Path) -> None:
    """Refused by name."""
    with pytest.raises(UnsupportedError, match=r"turn is complex \(torch\.complex64\)"):
        ortolan_convert.from_torch(Complex(), torch.ones(2, 4), tmp_path / "a.bundle")


def test_a_dimension_that_torch_itself_cannot_vary(tmp_path: Path) -> None:
    """Declared free, refused with the size that works."""
    with pytest.raises(UnsupportedError, match=r"dimension 'features' is not free: torch itself runs at 4 and fails"):
        ortolan_convert.from_torch(
            nn.Linear(4, 3), torch.ones(2, 4), tmp_path / "a.bundle", dynamic_shapes={"input": {1: "features"}}
        )


def test_values_that_decide_the_way_of_a_module(tmp_path: Path) -> None:
    """Control flow on values is lost when a module in memory is traced: found by comparing, or refused before."""

    class Either(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if bool(x.sum() > 0) else x - 1

    with pytest.raises((UnsupportedError, ParityError)):
        ortolan_convert.from_torch(
            Either(), torch.ones(2, 4), tmp_path / "a.bundle", dynamic_shapes={"x": {0: "batch"}}
        )
