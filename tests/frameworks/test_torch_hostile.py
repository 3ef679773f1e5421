"""Files of PyTorch that are damaged, of another kind than their name says, or have code in them."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.errors import ConversionError, OrtolanError, TrustRequiredError, UnsupportedError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture(autouse=True)
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that must not appear; every test here is also that one."""
    path = tmp_path / "canary"
    os.environ["CANARY"] = str(path)
    yield path
    assert not path.exists()
    assert not list(tmp_path.glob("*.bundle*"))
    assert not list(tmp_path.glob(".*"))


class Touch:
    """Touches the canary when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(os.environ["CANARY"]),)


def refused(path: Path, error: type[Exception], expected: str, **options: Any) -> None:
    with pytest.raises(error, match=expected):
        convert(path, path.parent / "out.bundle", **options)


def exported(tmp_path: Path) -> Path:
    program = torch.export.export(nn.Linear(4, 3), (torch.ones(5, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, tmp_path / "good.pt2")
    return tmp_path / "good.pt2"


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> Path:
    """The same archive with other content: None drops a member, ``more`` adds some."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = change(member.filename, old.read(member))
            if content is not None:
                new.writestr(member.filename, content)
        top = old.namelist()[0].partition("/")[0]
        for name, content in more.items():
            new.writestr(f"{top}/{name}", content)
    return target


def in_program(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """An exported program whose JSON is changed."""

    def edited(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        change(program)
        return json.dumps(program).encode()

    return rewritten(exported(tmp_path), tmp_path / "bad.pt2", edited)


CODE = "__import__('pathlib').Path(__import__('os').environ['CANARY']).touch()"


def _size(program: Any) -> Any:
    return program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"][0]["as_expr"]


def _expression(program: Any) -> None:
    _size(program)["expr_str"] = CODE


def _hidden_expression(program: Any) -> None:
    _size(program)["expr_str"] = f"Max(Symbol('s77', integer=True), (lambda: {CODE})())"


def _attribute(program: Any) -> None:
    _size(program)["expr_str"] = "Symbol('s0').__class__.__mro__"


def _guard(program: Any) -> None:
    program["guards_code"] = [f"{CODE} or L['input'].size()[0] > 1"]


def _operator(program: Any) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"


def _file_operator(program: Any) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.inductor.accumulate_grad_.default"


def _argument_name(program: Any) -> None:
    program["graph_module"]["graph"]["inputs"][0]["as_tensor"]["name"] = f"x={CODE}"


def _key(program: Any) -> None:
    program["graph_module"]["graph"]["tensor_values"][f"x={CODE}"] = {}


def _class_in_a_tree(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    context = json.dumps({"__enum__": True, "fqn": "antigravity:geohash", "name": "x"})
    signature["out_spec"] = json.dumps([1, {"type": "builtins.dict", "context": context, "children_spec": []}])


def _factory_in_a_tree(program: Any) -> None:
    signature = program["graph_module"]["module_call_graph"][0]["signature"]
    context = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
    signature["out_spec"] = json.dumps(
        [1, {"type": "collections.defaultdict", "context": context, "children_spec": []}]
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (_expression, "expr_str"),
        (_hidden_expression, "expr_str"),
        (_attribute, "expr_str"),
        (_guard, "guards_code"),
        (_operator, "target: 'torch.os.system'"),
        (_file_operator, "target"),
        (_argument_name, "name"),
        (_key, "tensor_values: the name"),
        (_class_in_a_tree, "out_spec"),
        (_factory_in_a_tree, "out_spec"),
    ],
)
def test_an_exported_program_with_code_in_its_strings(change: Any, key: str, tmp_path: Path) -> None:
    """torch.export.load would evaluate several of these; none is read without trust."""
    refused(in_program(tmp_path, change), TrustRequiredError, rf"run more than a graph.*{key}.*add --trust")


def test_torch_itself_runs_such_an_expression(tmp_path: Path, canary: Path) -> None:
    """The reason for the check: weights_only does not cover it."""
    from ortolan_convert.sources.pytorch.checked_archives import weights_only

    with weights_only(), pytest.raises(Exception):  # noqa: B017 - whatever torch says of the result
        torch.export.load(in_program(tmp_path, _expression))
    assert canary.exists()
    canary.unlink()


def test_pickles_in_an_exported_program(tmp_path: Path) -> None:
    """As its examples, which torch reads without weights_only if that fails; as an opaque constant."""
    stream = io.BytesIO()
    torch.save({"a": Touch()}, stream)
    good = exported(tmp_path)
    bad = rewritten(
        good,
        tmp_path / "bad.pt2",
        lambda name, content: stream.getvalue() if name.endswith("sample_inputs/model.pt") else content,
    )
    refused(bad, ConversionError, "cannot read it")
    config = {
        "config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
    }
    bad = rewritten(
        good,
        tmp_path / "worse.pt2",
        lambda name, content: json.dumps(config).encode() if name.endswith("model_constants_config.json") else content,
        **{"data/constants/opaque_obj_0": pickle.dumps(Touch())},
    )
    refused(bad, TrustRequiredError, "path_name: 'opaque_obj_0'")


def test_compiled_code_beside_a_program(tmp_path: Path) -> None:
    """A library in the archive, which torch.export.load would load too."""
    bad = rewritten(
        exported(tmp_path),
        tmp_path / "bad.pt2",
        lambda name, content: content,
        **{"data/aotinductor/model/c.so": b"\x7fELF", "data/aotinductor/model/c_metadata.json": b"{}"},
    )
    refused(bad, UnsupportedError, "compiled by AOTInductor", trust=True)


def test_two_archives_in_one(tmp_path: Path) -> None:
    """Readers that disagree about what is in an archive are what such a file is for."""
    path = exported(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("good/models/model.json", "{}")
    refused(path, ConversionError, "two readers of zip archives find different files|damaged")


class Saves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "canary")
        return x


class Reads(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.ops.aten.from_file("/etc/hostname", False, 1, dtype=torch.uint8)


class SavesWhenLoaded(nn.Module):
    @torch.jit.export
    def __getstate__(self) -> str:
        return "state"

    @torch.jit.export
    def __setstate__(self, state: str) -> None:
        torch.save(torch.ones(1), "canary")
        self.training = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("module", [Saves, Reads, SavesWhenLoaded])
def test_torchscript_that_opens_files(module: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TorchScript can write and read files, also while it is loaded: without trust it is neither loaded nor run."""
    torch.jit.script(module()).save(str(tmp_path / "model.pt"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary").unlink(missing_ok=True)
    refused(tmp_path / "model.pt", TrustRequiredError, r"asks for (save|from_file) .*add --trust")


def test_torchscripts_file_operators_are_those_known_here() -> None:
    """All operators of this torch with a file name among their arguments are refused."""
    from ortolan_convert.sources.pytorch.checked_archives import _FILES, _NAMESPACES

    schemas = torch._C._jit_get_all_schemas()
    named = {
        schema.name
        for schema in schemas
        if any(word in argument.name for argument in schema.arguments for word in ("file", "url", "directory"))
    }
    assert {"aten::save", "aten::from_file"} <= named
    for name in named:
        namespace, _, operator = name.partition("::")
        source = f"torch.{operator}(x) ops.{namespace}.{operator}(x)".encode()
        assert _FILES.search(source) or _NAMESPACES.search(source), name


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", [lambda: Touch(), lambda: {"w": torch.ones(2), "code": [Touch()]}])
def test_a_canary_among_weights(zipped: bool, content: Any, tmp_path: Path) -> None:
    """The message names what it asks for."""
    torch.save(content(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    refused(
        tmp_path / "w.pt", TrustRequiredError, r"asks for pathlib\.Path|asks for .*pathlib", module="collections:abc"
    )


def test_the_environment_cannot_switch_the_check_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has a variable for that."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"code": Touch()}, tmp_path / "w.pt")
    refused(tmp_path / "w.pt", TrustRequiredError, "add --trust")
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"


def saved(form: str, path: Path) -> Path:
    module = nn.Linear(40, 3)
    if form == "program":
        return exported(path.parent)
    if form == "script":
        torch.jit.trace(module, torch.ones(2, 40)).save(str(path))
    elif form == "safetensors":
        from safetensors.torch import save_file

        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = ["program", "script", "zip", "legacy", "safetensors"]


@pytest.mark.parametrize("form", FORMS)
def test_truncated_files(form: str, tmp_path: Path) -> None:
    """At every tenth of its length: one error of ours."""
    path = saved(form, tmp_path / "whole")
    whole = path.read_bytes()
    for tenth in range(10):
        (tmp_path / "cut").write_bytes(whole[: len(whole) * tenth // 10])
        with pytest.raises(OrtolanError) as caught:
            convert(tmp_path / "cut", tmp_path / "out.bundle", module="torch.nn:Identity" if tenth else None)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bits(form: str, tmp_path: Path) -> None:
    """Wherever they are, an error of ours; in an archive a changed weight is found out too."""
    path = saved(form, tmp_path / "whole")
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        (tmp_path / "flipped").write_bytes(changed)
        try:
            convert(tmp_path / "flipped", tmp_path / "out.bundle")
        except OrtolanError as error:
            assert "\n" not in str(error)
        else:
            import shutil

            # In padding, which nothing reads.
            shutil.rmtree(tmp_path / "out.bundle")
            assert form in {"program", "script"}


def test_a_changed_weight_in_an_archive(tmp_path: Path) -> None:
    """torch itself reads it without a word."""
    torch.save(nn.Linear(40, 3).state_dict(), tmp_path / "w.pt")
    whole = bytearray((tmp_path / "w.pt").read_bytes())
    at = whole.find(torch.load(tmp_path / "w.pt")["weight"].numpy().tobytes()[:16])
    whole[at] ^= 1
    (tmp_path / "w.pt").write_bytes(whole)
    torch.load(tmp_path / "w.pt")
    refused(tmp_path / "w.pt", ConversionError, "damaged: .* is not what its checksum says")


def test_a_future_version(tmp_path: Path) -> None:
    """Refused as one that this torch cannot read."""
    bad = in_program(tmp_path, lambda program: program["schema_version"].update(major=99))
    refused(bad, ConversionError, r"torch .*cannot (read|open) it")
    bad = rewritten(
        saved("script", tmp_path / "s.pt"),
        tmp_path / "future.pt",
        lambda name, content: b"99\n" if name.endswith("/version") else content,
    )
    refused(bad, ConversionError, r"torch .*cannot (read|open) it")


def test_names_that_lie(tmp_path: Path) -> None:
    """A zip called .pt, a pickle called .safetensors, weights called .onnx: content decides."""
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    refused(tmp_path / "a.pt", UnsupportedError, "a zip archive without a model that is known")
    (tmp_path / "b.safetensors").write_bytes(pickle.dumps(Touch()))
    refused(tmp_path / "b.safetensors", TrustRequiredError, "pickle")
    refused(saved("zip", tmp_path / "c.onnx"), OrtolanError, "holds weights without the network")
    (tmp_path / "d.pt2").write_bytes(b"")
    refused(tmp_path / "d.pt2", ConversionError, "the file is empty")
