"""Directories of Hugging Face and sentence-transformers models: what is read of them before anything is loaded."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.errors import (
    ConversionError,
    MissingPackageError,
    TrustRequiredError,
    UnsupportedError,
)
from ortolan_convert.convert import convert
from ortolan_convert.sources.huggingface import read_huggingface
from ortolan_convert.sources.recognise import recognise

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("Transformer", "Pooling", "Normalize")
BERT = {"architectures": ["BertModel"], "model_type": "bert"}
CLASSIFIER = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "id2label": {"0": "bad", "1": "good"},
}


@pytest.fixture
def directory(tmp_path: Path) -> Any:
    """Function: (files by name, as JSON; None: not there) -> a sentence-transformers directory with these instead."""

    def make(**changes: Any) -> Path:
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(KINDS)
        ]
        files: dict[str, Any] = {
            "config.json": BERT,
            "model.safetensors": "",
            "tokenizer.json": {},
            "modules.json": modules,
            "1_Pooling/config.json": {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True},
            "sentence_bert_config.json": {"max_seq_length": 128, "do_lower_case": False},
        }
        files |= {name.replace("__", "/").replace("_json", ".json"): content for name, content in changes.items()}
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path

    return make


def test_a_sentence_transformers_directory(directory: Any) -> None:
    """Pooling, normalization and length come from its files."""
    path = directory()
    assert recognise(path) == "huggingface"
    found = read_huggingface(path, trust=False)
    assert (found.task, found.pooling, found.normalize, found.max_length) == ("embedding", "mean", True, 128)
    assert (found.lower_case, found.pickled, found.remote_code) == (False, False, False)
    assert [file.relative_to(path).as_posix() for file in found.files] == [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "sentence_bert_config.json",
        "modules.json",
        "1_Pooling/config.json",
    ]


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_poolings(directory: Any, config: dict[str, Any], pooling: str) -> None:
    """As switches, or by name."""
    assert read_huggingface(directory(**{"1_Pooling__config_json": config}), trust=False).pooling == pooling


def test_a_directory_without_normalization(directory: Any) -> None:
    """Vectors keep their length."""
    modules = [{"path": "", "type": "models.Transformer"}, {"path": "1_Pooling", "type": "models.Pooling"}]
    assert not read_huggingface(directory(modules_json=modules), trust=False).normalize


def test_a_classifier(directory: Any) -> None:
    """Its labels are in the order of its outputs."""
    found = read_huggingface(directory(modules_json=None, config_json=CLASSIFIER), trust=False)
    assert (found.task, found.labels, found.pooling) == ("text-classification", ("bad", "good"), None)


@pytest.mark.parametrize(
    ("files", "kind", "message"),
    [
        (
            {"modules_json": [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.models.Dense"}]},
            UnsupportedError,
            "module 'Dense' cannot be converted; known: Transformer, Pooling, Normalize",
        ),
        (
            {"modules_json": [{"path": "", "type": "x.Transformer"}]},
            UnsupportedError,
            "expected the modules Transformer, Pooling and maybe Normalize in this order, found Transformer",
        ),
        (
            {"modules_json": [{"path": "../elsewhere", "type": "x.Transformer"}]},
            ConversionError,
            "[0].path: expected a path below it, found '../elsewhere'",
        ),
        ({"modules_json": [3]}, ConversionError, "[0]: expected a type and a path"),
        ({"modules_json": {}}, ConversionError, "expected a JSON array"),
        ({"modules_json": "["}, ConversionError, "expected JSON"),
        (
            {"1_Pooling__config_json": {"pooling_mode_weightedmean_tokens": True}},
            UnsupportedError,
            "pooling by pooling_mode_weightedmean_tokens cannot be converted",
        ),
        (
            {"1_Pooling__config_json": {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}},
            UnsupportedError,
            "pooling by pooling_mode_cls_token and pooling_mode_max_tokens cannot be converted",
        ),
        ({"1_Pooling__config_json": {}}, UnsupportedError, "pooling by nothing cannot be converted"),
        (
            {
                "config_sentence_transformers_json": {
                    "prompts": {"query": "search: "},
                    "default_prompt_name": "query",
                }
            },
            UnsupportedError,
            "the default prompt 'search: ' before every text cannot be converted",
        ),
        ({"sentence_bert_config_json": {"max_seq_length": "x"}}, ConversionError, "max_seq_length: expected an int"),
        ({"modules_json": None}, UnsupportedError, "BertModel without modules.json, which says how the vectors"),
        (
            {"config_json": {"architectures": ["LlamaForCausalLM"]}},
            UnsupportedError,
            "LlamaForCausalLM cannot be converted; known: encoders with pooling, and SequenceClassification models",
        ),
        (
            {"config_json": {"architectures": ["T5Model"], "is_encoder_decoder": True}},
            UnsupportedError,
            "T5Model is an encoder and decoder",
        ),
        ({"config_json": {}}, UnsupportedError, "architectures: expected one name, found None"),
        ({"config_json": BERT | {"quantization_config": {}}}, UnsupportedError, "the weights are quantized already"),
        ({"config_json": BERT | {"auto_map": {}}}, TrustRequiredError, "the model is code of its own (auto_map)"),
        ({"model.safetensors": None}, ConversionError, "expected weights as model.safetensors, found none"),
        (
            {"model.safetensors": None, "pytorch_model.bin": "x"},
            TrustRequiredError,
            "a PyTorch pickle, which can run code when it is read; prefer model.safetensors",
        ),
        (
            {
                "model.safetensors": None,
                "model.safetensors.index_json": {"weight_map": {"a": "../../x.safetensors"}},
            },
            ConversionError,
            "weight_map: there is no file '../../x.safetensors' beside it",
        ),
        (
            {"modules_json": None, "config_json": CLASSIFIER | {"problem_type": "regression"}},
            UnsupportedError,
            "problem_type 'regression' cannot be converted; only one label per text",
        ),
        (
            {"modules_json": None, "config_json": CLASSIFIER | {"id2label": {"0": "x", "2": "y"}}},
            ConversionError,
            "id2label: expected two different labels or more, counted from 0",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(
    directory: Any, files: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """With the file and the place in it."""
    with pytest.raises(kind) as caught:
        read_huggingface(directory(**files), trust=False)
    assert message in str(caught.value)
    assert type(caught.value) is kind


def test_pickled_weights_with_trust(directory: Any) -> None:
    """They are read if the user trusts them."""
    found = read_huggingface(directory(**{"model.safetensors": None, "pytorch_model.bin": "x"}), trust=True)
    assert found.pickled
    assert found.files[0].name == "pytorch_model.bin"


def test_shards(directory: Any) -> None:
    """All of them belong to the model."""
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    shards = {"model-1.safetensors": "", "model-2.safetensors": ""}
    path = directory(**{"model.safetensors": None, "model.safetensors.index_json": index}, **shards)
    names = [file.name for file in read_huggingface(path, trust=False).files[:3]]
    assert names == ["model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors"]


def test_a_missing_package_names_the_extra(directory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written."""
    for module in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    source = directory()
    with pytest.raises(MissingPackageError, match=r"pip install 'ortolan\[transformers\]'"):
        convert(source, tmp_path / "out.bundle")
    assert not (tmp_path / "out.bundle").exists()


def test_a_directory_is_converted_alone(directory: Any, tmp_path: Path) -> None:
    """Two artifacts make no sense."""
    path = directory()
    with pytest.raises(ConversionError, match="a directory of a Hugging Face model is converted alone, found 2"):
        convert([path, path], tmp_path / "out.bundle")
