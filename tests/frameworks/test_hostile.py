"""Damaged and hostile files of the large frameworks: a typed error in one line, nothing run, nothing left, no crash.

The conversions of a framework run in one process of their own, so that a loader that crashes takes no test with it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TORCH = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
place = Path(sys.argv[1])
network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
example = torch.zeros(2, 4)
torch.save(network.state_dict(), place / "torch-weights.pt")
torch.save(network.state_dict(), place / "torch-weights-legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"state_dict": network.state_dict(), "epoch": 3}, place / "torch-weights-checkpoint.pt")
torch.jit.trace(network, example).save(place / "torchscript.pt")
batch = torch.export.Dim("batch")
torch.export.save(torch.export.export(network, (example,), dynamic_shapes=({0: batch},)), place / "torch-exported.pt2")
save_file(network.state_dict(), place / "safetensors.safetensors")
"""
TENSORFLOW = """
import sys
from pathlib import Path
import keras, tensorflow as tf
place = Path(sys.argv[1])
x = keras.Input((4,))
model = keras.Model(x, keras.layers.Dense(2, activation="softmax")(keras.layers.Dense(8, activation="relu")(x)))
model.save(place / "keras.keras")
model.save(place / "hdf5.h5")
model.export(place / "saved-model", verbose=False)
(place / "tflite.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""
BOOSTING = """
import sys
from pathlib import Path
import catboost, lightgbm, numpy as np, xgboost
place = Path(sys.argv[1])
random = np.random.default_rng(0)
rows = random.normal(size=(200, 4))
labels = (rows[:, 0] > 0).astype(int)
model = xgboost.train({"objective": "binary:logistic", "verbosity": 0}, xgboost.DMatrix(rows, label=labels), 3)
model.save_model(place / "xgboost-json.json")
model.save_model(place / "xgboost-ubj.ubj")
lightgbm.train({"verbose": -1, "num_leaves": 4}, lightgbm.Dataset(rows, labels), 3).save_model(place / "lightgbm.txt")
trained = catboost.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False).fit(rows, labels)
trained.save_model(str(place / "catboost.cbm"))
"""
TRANSFORMERS = """
import sys
from pathlib import Path
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
place = Path(sys.argv[1]) / "huggingface"
config = transformers.BertConfig(vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                 intermediate_size=16, num_labels=3)
transformers.BertForSequenceClassification(config).save_pretrained(place)
words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}, unk_token="[UNK]"))
words.pre_tokenizer = Whitespace()
special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(place)
"""
MAKERS = {"torch": TORCH, "tensorflow": TENSORFLOW, "boosting": BOOSTING, "transformers": TRANSFORMERS}

CONVERT = """
import json, sys
from pathlib import Path
from ortolan.errors import OrtolanError
from ortolan_convert.convert import convert
from ortolan_convert.explain import explain
for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps({"begun": case["name"]}), flush=True)
    for found in explain([case["path"]]):
        list(found.lines())
    try:
        convert(case["path"], Path(case["room"]) / "out.bundle", quantize=[], overwrite=True, **case["options"])
        error = message = None
    except OrtolanError as caught:
        error, message = type(caught).__name__, str(caught)
    print(json.dumps({"name": case["name"], "error": error, "message": message}), flush=True)
"""


def _run(script: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small model of each kind of a framework."""
    place: Path = tmp_path_factory.mktemp(request.param)
    done = _run(MAKERS[request.param], str(place))
    assert done.returncode == 0, done.stderr
    return place


def _damaged(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents: empty, cut short, overwritten, with bits flipped here and there."""
    chance = random.Random(7)
    yield "empty", b""
    for share in (0.3, 0.95):
        yield f"first {share:.0%}", content[: max(9, int(share * len(content)))]
    yield "zeros in it", content[: len(content) // 3] + bytes(len(content) - len(content) // 3)
    for index in range(6):
        flipped = bytearray(content)
        # Structure is at the beginning and the end.
        where = [chance.randrange(len(content)), chance.randrange(min(400, len(content)))][index % 2]
        flipped[where] ^= 1 << chance.randrange(8)
        yield f"bit flipped at {where}", bytes(flipped)


def _cases(made: Path, place: Path) -> Iterator[dict[str, Any]]:
    for whole in sorted(made.iterdir()):
        for file in [file for file in sorted(whole.rglob("*")) if file.is_file()] if whole.is_dir() else [whole]:
            for index, (damage, content) in enumerate(_damaged(file.read_bytes())):
                broken = place / f"{whole.stem} {file.name} {index}"
                if whole.is_dir():
                    shutil.copytree(whole, broken)
                    (broken / file.relative_to(whole)).write_bytes(content)
                else:
                    broken.write_bytes(content)
                options = {"module": "os:getcwd"} if whole.stem.startswith(("torch-weights", "safetensors")) else {}
                name = f"{whole.stem}: {file.name}: {damage} ({index})"
                yield {"name": name, "path": str(broken), "options": options}


def test_damaged_files(made: Path, tmp_path: Path) -> None:
    """Every damage is an error, or did not matter: never a crash, a traceback, or something left behind."""
    room = tmp_path / "room"
    room.mkdir()
    cases = [{**case, "room": str(room)} for case in _cases(made, tmp_path)]
    done = _run(CONVERT, text="".join(json.dumps(case) + "\n" for case in cases))
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, (lines[-1:], done.stderr[-2000:])
    answers = {line["name"]: line for line in lines if "name" in line}
    assert len(answers) == len(cases)
    for name, answer in answers.items():
        if answer["message"] is None:
            assert "flipped" in name or "zeros" in name or "fingerprint.pb" in name, name
        else:
            assert "\n" not in answer["message"], name
    assert not [path for path in room.iterdir() if path.name != "out.bundle"]


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_a_killed_conversion_leaves_nothing(delay: float, made: Path, tmp_path: Path) -> None:
    """Neither beside the bundle nor among the temporary files, where the frameworks put theirs."""
    room, temporary = tmp_path / "room", tmp_path / "temporary"
    room.mkdir()
    temporary.mkdir()
    artifact = next(
        path for path in sorted(made.iterdir()) if not path.name.startswith(("torch-weights", "safetensors"))
    )
    command = [sys.executable, "-m", "ortolan", "convert", str(artifact), "-o", str(room / "out.bundle")]
    environment = {**os.environ, "TMPDIR": str(temporary), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_until(lambda: bool(list(room.iterdir())))
        time.sleep(delay)
        process.kill()
    _wait_until(lambda: not [path for path in room.iterdir() if path.name != "out.bundle"])
    assert not list(temporary.iterdir())


def _wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


TORCH_CODE = """
import io, json, os, sys, zipfile, torch
from pathlib import Path
place, canary = Path(sys.argv[1]), sys.argv[2]

class Canary:
    def __reduce__(self):
        return os.mkdir, (canary,)

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 2)
    def forward(self, x):
        return self.inner(x)

def sung(load):
    try:
        load()
    except Exception:
        pass
    assert os.path.isdir(canary), load
    os.rmdir(canary)

state = {"weight": torch.zeros(2), "more": Canary()}
torch.save(state, place / "torch-weights.pt")
torch.save(state, place / "torch-weights-legacy.pth", _use_new_zipfile_serialization=False)
for path in place.iterdir():
    sung(lambda: torch.load(path, weights_only=False))
good = place.parent / "good.pt2"
batch = torch.export.Dim("batch")
torch.export.save(torch.export.export(Network().eval(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},)), good)
call = f"__import__('os').mkdir({canary!r})"

def changed(name, change):
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(place / f"torch-exported {name}.pt2", "w") as new:
        for member in old.namelist():
            content = change(member, old.read(member))
            new.writestr(member, content)

def guards(member, content):
    return json.dumps({**json.loads(content), "guards_code": [f"{call} or True"]}) if "/models/" in member else content

def sizes(member, content):
    if "/models/" not in member:
        return content
    return content.decode().replace("Symbol('s77', positive=True, integer=True)", call.replace("'", "\\\\u0027"))

def examples(member, content):
    stream = io.BytesIO()
    torch.save(((Canary(),), {}), stream)
    return stream.getvalue() if "sample_inputs" in member else content

def weights(member, content):
    stream = io.BytesIO()
    torch.save(Canary(), stream)
    if member.endswith("weight_0"):
        return stream.getvalue()
    if member.endswith("model_weights_config.json"):
        return content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    return content

for name, change in (("guards", guards), ("sizes", sizes), ("examples", examples), ("weights", weights)):
    changed(name, change)
    sung(lambda: torch.export.load(place / f"torch-exported {name}.pt2").module()(torch.zeros(2, 4)))
"""
TENSORFLOW_CODE = """
import os, sys
from pathlib import Path
import keras, tensorflow as tf
place, canary = Path(sys.argv[1]), sys.argv[2]
sing = eval(f"lambda x: (__import__('os').makedirs({canary!r}, exist_ok=True), x)[1]")
x = keras.Input((4,))
model = keras.Model(x, keras.layers.Lambda(sing, output_shape=(4,))(keras.layers.Dense(4)(x)))
model.save(place / "keras.keras")
model.save(place / "hdf5.h5")
if os.path.isdir(canary):
    os.rmdir(canary)
keras.models.load_model(place / "keras.keras", safe_mode=False)(tf.zeros((1, 4)))
os.rmdir(canary)

class Writer(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def __call__(self, x):
        tf.io.write_file(canary + "/file", "sung")
        return x * 2

tf.saved_model.save(Writer(), str(place / "saved-model"))
tf.saved_model.load(str(place / "saved-model"))(tf.zeros((1, 4)))
os.remove(canary + "/file")
os.rmdir(canary)
"""
TRANSFORMERS_CODE = """
import json, os, sys, torch
from pathlib import Path
place, canary = Path(sys.argv[1]), sys.argv[2]

class Canary:
    def __reduce__(self):
        return os.mkdir, (canary,)

for name in ("huggingface weights", "huggingface code"):
    (place / name).mkdir()
config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "id2label": {"0": "a", "1": "b"}}
(place / "huggingface weights" / "config.json").write_text(json.dumps(config))
torch.save({"weight": Canary()}, place / "huggingface weights" / "pytorch_model.bin")
own = {**config, "model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
(place / "huggingface code" / "config.json").write_text(json.dumps(own))
(place / "huggingface code" / "own.py").write_text(f"import os\\nos.mkdir({canary!r})\\n")
(place / "huggingface code" / "model.safetensors").write_bytes(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}")
"""


@pytest.mark.parametrize(
    "script", [TORCH_CODE, TENSORFLOW_CODE, TRANSFORMERS_CODE], ids=["torch", "tensorflow", "transformers"]
)
def test_nothing_runs_without_trust(script: str, tmp_path: Path) -> None:
    """Files whose code did run when their own framework read them, as the scripts that make them check."""
    place, room, canary = (tmp_path / name for name in ("made", "room", "canary"))
    place.mkdir()
    room.mkdir()
    done = _run(script, str(place), str(canary))
    assert done.returncode == 0, done.stderr
    cases = [
        {
            "name": path.stem,
            "path": str(path),
            "room": str(room),
            "options": {"module": "os:getcwd"} if path.name.startswith("torch-weights") else {},
        }
        for path in sorted(place.iterdir())
    ]
    done = _run(CONVERT, text="".join(json.dumps(case) + "\n" for case in cases))
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    assert len(answers) == len(cases)
    for answer in answers:
        assert answer["error"] in {"TrustRequiredError", "UnsupportedError", "ConversionError"}, answer
    assert not canary.exists()
    assert not list(room.iterdir())
