"""``ortolan inspect``, ``verify``, ``pack``, ``unpack`` and ``subset``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result
from onnx import helper

from ortolan.bundle.directory import open_bundle
from ortolan.cli import bundle as commands
from ortolan.errors import OrtolanError, StorageError, UnknownNameError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.directory import Bundle


def run(name: str, *arguments: object) -> Result:
    """Run a command in this process; an OrtolanError is raised as the command raises it."""
    result = CliRunner().invoke(getattr(commands, name), [str(argument) for argument in arguments])
    if isinstance(result.exception, OrtolanError):
        raise result.exception
    return result


def test_inspect_tells_a_bundle(bundle: Bundle) -> None:
    """Task, origin and the figures of each variant, for people."""
    output = run("inspect", bundle.path).stdout
    for expected in (
        "bundle       doubled 数 1.0.0",
        "task         tensor",
        f"digest       {bundle.digest}",
        "from         onnx 1.22",
        "source       m (5 bytes, SHA-256 0000000000000000…)",
        "made with    python 3.11",
        "usual sizes  batch 1",
        "1.00% (0.10% to 5.00%) of 100 tensors",
        "onnxruntime 1.20.0, avx2",
    ):
        assert expected in output


def test_inspect_gives_json(bundle: Bundle) -> None:
    """Keys carry units; costs are those at the usual sizes."""
    found = json.loads(run("inspect", bundle.path, "--json").stdout)
    assert (found["schema"], found["kind"], found["digest"]) == ("ortolan.inspect/1", "bundle", bundle.digest)
    assert found["storage_bytes"] == sum(p.stat().st_size for p in bundle.path.rglob("*") if p.is_file())
    fp32, int8 = found["variants"]
    assert (fp32["variant"], int8["variant"]) == ("fp32", "int8")
    assert (int8["macs"], int8["activation_bytes"], int8["weight_bytes"]) == (3, 76, 12)
    assert int8["storage_bytes"] == bundle.manifest.variant_storage("int8")
    assert int8["fidelity"] == {
        "metric": "tensor",
        "n": 100,
        "drop": 0.01,
        "interval": [0.001, 0.05],
        "worst": 1.5e-7,
        "inputs": "samples",
    }


@pytest.fixture
def model_file(tmp_path: Path, external_model: Callable[..., bytes]) -> Path:
    """A bare model whose weights lie beside it."""
    path = tmp_path / "m.onnx"
    path.write_bytes(external_model(location="w.bin"))
    return path


def test_inspect_tells_a_model(model_file: Path) -> None:
    """Inputs and outputs, operators, parameters and external data."""
    lines = run("inspect", model_file).stdout.splitlines()
    assert lines == [
        f"model          m.onnx, {model_file.stat().st_size} bytes",
        "format         IR 8; operator sets ai.onnx 17",
        "producer       unknown",
        "input          x: float32[batch, 3]",
        "output         y: float32[batch, 3]",
        "parameters     3 float32 (12 bytes)",
        "operators      1 nodes: Mul 1",
        "external data  w.bin",
    ]


def test_inspect_gives_a_model_as_json(model_file: Path) -> None:
    """The same facts."""
    found = json.loads(run("inspect", model_file, "--json").stdout)
    assert (found["schema"], found["kind"], found["ir_version"]) == ("ortolan.inspect/1", "onnx", 8)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}]
    assert (found["parameters"], found["weight_bytes"], found["external_files"]) == (3, 12, ["w.bin"])
    assert found["operators"] == {"ai.onnx::Mul": 1}


def test_inspect_escapes_what_would_control_a_terminal(tmp_path: Path) -> None:
    """Names in a foreign model are anybody's text."""
    proto = helper.make_model(helper.make_graph([helper.make_node("\x1b[2J", [], ["\n"])], "g", [], []))
    helper.set_model_props(proto, {"k\x1b": "v\u202e"})
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    output = run("inspect", tmp_path / "m.onnx").stdout
    assert "\\x1b[2J 1" in output
    assert "k\\x1b = v\\u202e" in output
    assert all(character.isprintable() for line in output.splitlines() for character in line)


def test_verify_always_hashes_and_says_what_it_found(bundle: Bundle) -> None:
    """Exit status 1 for a changed file, also where the bundle is remembered as right."""
    assert run("verify", bundle.path).stdout.startswith("valid: 7 files, ")
    found = json.loads(run("verify", bundle.path, "--json").stdout)
    assert (found["schema"], found["valid"], found["files"]) == ("ortolan.verify/1", True, 7)
    (bundle.path / "golden/inputs.json").write_bytes(b"{}")
    with pytest.raises(VerificationError) as caught:
        run("verify", bundle.path)
    assert caught.value.exit_status == 1


def test_pack_and_unpack_name_their_results_by_default(bundle: Bundle, tmp_path: Path) -> None:
    """X.bundle becomes X.bundle.tar and the reverse; nothing is printed on standard output."""
    packed = run("pack", bundle.path)
    assert packed.stdout == ""
    assert packed.stderr.startswith(f"wrote {tmp_path / 'doubled.bundle.tar'}, ")
    with pytest.raises(StorageError, match="already exists"):
        run("unpack", tmp_path / "doubled.bundle.tar")
    run("unpack", tmp_path / "doubled.bundle.tar", "--overwrite")
    run("unpack", tmp_path / "doubled.bundle.tar", "-o", tmp_path / "other")
    assert open_bundle(tmp_path / "other").digest == bundle.digest


def test_subset_writes_a_smaller_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """With the variants that are named."""
    run("subset", bundle.path, "--variant", "int8", "-o", tmp_path / "small")
    assert [v.name for v in open_bundle(tmp_path / "small").manifest.components[0].variants] == ["int8"]
    with pytest.raises(UnknownNameError, match="did you mean 'int8'"):
        run("subset", bundle.path, "--variant", "int88", "-o", tmp_path / "x")
    assert run("subset", bundle.path, "-o", tmp_path / "x").exit_code == 2


@pytest.mark.parametrize("name", ["inspect", "verify", "pack", "unpack", "subset"])
def test_every_command_explains_itself(name: str) -> None:
    """Its help has a sentence and each option a text."""
    output = run(name, "--help").stdout
    assert "Usage:" in output
    command = getattr(commands, name)
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
