"""Directories of Hugging Face and sentence-transformers models: what is read of them before anything is loaded."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.errors import (
    ConversionError,
    MissingPackageError,
    TrustRequiredError,
    UnsupportedError,
    UsageError,
)
from ortolan_convert.convert import convert
from ortolan_convert.sources.huggingface.directory import read_huggingface
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
    assert found.head is not None
    assert (found.task, found.head.pooling, found.head.normalize, found.max_length) == ("embedding", "mean", True, 128)
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
    ("config", "names", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("cls",), "cls"),
        ({"pooling_mode_lasttoken": True}, ("lasttoken",), "last"),
        ({"pooling_mode_max_tokens": True}, ("max",), "max"),
        ({"pooling_mode": "cls"}, ("cls",), "cls"),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",), "last"),
        ({"pooling_mode": "mean_tokens"}, ("mean",), "mean"),
        ({"pooling_mode_weightedmean_tokens": True}, ("weightedmean",), None),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, ("mean_sqrt_len_tokens",), None),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean"), None),
        ({"pooling_mode": ["mean", "cls"]}, ("mean", "cls"), None),
    ],
)
def test_poolings(directory: Any, config: dict[str, Any], names: tuple[str, ...], pooling: str | None) -> None:
    """As switches, or by name; what the runtime does not do, the graph does."""
    head = read_huggingface(directory(**{"1_Pooling__config_json": config}), trust=False).head
    assert head is not None
    assert (head.poolings, head.pooling) == (names, pooling)


def test_a_directory_without_normalization(directory: Any) -> None:
    """Vectors keep their length."""
    modules = [{"path": "", "type": "models.Transformer"}, {"path": "1_Pooling", "type": "models.Pooling"}]
    head = read_huggingface(directory(modules_json=modules), trust=False).head
    assert head is not None
    assert not head.normalize


DENSE = {
    "in_features": 4,
    "out_features": 2,
    "bias": True,
    "activation_function": "torch.nn.modules.activation.Tanh",
}


def modules_of(*kinds: str) -> list[dict[str, str]]:
    """A modules.json."""
    return [{"path": f"{i}_{kind}" if i else "", "type": f"x.models.{kind}"} for i, kind in enumerate(kinds)]


def test_layers_after_the_pooling(directory: Any) -> None:
    """In their order, each with its weights; dropout does nothing, and the last normalization is the runtime's."""
    kinds = ("Transformer", "Pooling", "Dense", "Dropout", "LayerNorm", "Normalize")
    path = directory(
        modules_json=modules_of(*kinds),
        **{
            "2_Dense__config_json": DENSE,
            "2_Dense__model.safetensors": "",
            "4_LayerNorm__config_json": {"dimension": 2},
            "4_LayerNorm__model.safetensors": "",
        },
    )
    found = read_huggingface(path, trust=False)
    assert found.head is not None
    assert [layer.kind for layer in found.head.layers] == ["Dense", "LayerNorm"]
    assert found.head.layers[0].config == {"in_features": 4, "out_features": 2, "bias": True, "activation": "Tanh"}
    assert (found.head.normalize, found.head.pooling) == (True, None)
    assert path / "2_Dense/model.safetensors" in found.files


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"activation_function": "os.system"}, UnsupportedError, "activation_function 'os.system' cannot be converted"),
        (
            {"activation_function": "torch.nn.modules.module.Module"},
            UnsupportedError,
            "known: Identity, Tanh, ReLU, GELU, Sigmoid, SiLU",
        ),
        ({"module_input_name": "token_embeddings"}, UnsupportedError, "a layer over 'token_embeddings'"),
        ({"use_residual": True}, UnsupportedError, "use_residual: a layer with a residual cannot be converted"),
        ({"out_features": 1 << 40}, ConversionError, "out_features: expected an int from 1 to 65536"),
    ],
)
def test_a_dense_layer_that_cannot_be_converted(
    directory: Any, change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Its option is named; nothing is imported by a name in a file."""
    path = directory(
        modules_json=modules_of("Transformer", "Pooling", "Dense"),
        **{"2_Dense__config_json": DENSE | change, "2_Dense__model.safetensors": ""},
    )
    with pytest.raises(kind) as caught:
        read_huggingface(path, trust=False)
    assert message in str(caught.value)


def test_a_pickled_layer_needs_trust(directory: Any) -> None:
    """As the model's own weights do."""
    files = {"2_Dense__config_json": DENSE, "2_Dense__pytorch_model.bin": "x"}
    path = directory(modules_json=modules_of("Transformer", "Pooling", "Dense"), **files)
    with pytest.raises(TrustRequiredError, match=r"2_Dense/pytorch_model\.bin: a PyTorch pickle"):
        read_huggingface(path, trust=False)
    assert read_huggingface(path, trust=True).files[-2].name == "pytorch_model.bin"


def test_what_vectors_are_meant_for_is_noted(directory: Any) -> None:
    """Prompts that are not put there by default, and a similarity other than the cosine."""
    config = {"prompts": {"query": "search: ", "document": ""}, "similarity_fn_name": "dot"}
    notes = read_huggingface(directory(config_sentence_transformers_json=config), trust=False).notes
    assert notes == (
        "the model was trained with the prompt 'search: ' before texts of the kind 'query'; put it there yourself",
        "vectors of this model are compared by dot, not by cosine",
    )


TOKENS = CLASSIFIER | {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B-X"}}
IMAGES = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "id2label": {"0": "crane", "1": "crane"},
    "problem_type": "multi_label_classification",
}


def test_other_classifiers(directory: Any) -> None:
    """Of tokens and of images; labels of images may be equal, as two of ImageNet's are, and hold at once."""
    tokens = read_huggingface(directory(modules_json=None, config_json=TOKENS), trust=False)
    assert (tokens.task, tokens.labels) == ("token-classification", ("O", "B-X"))
    images = read_huggingface(directory(modules_json=None, config_json=IMAGES), trust=False)
    assert (images.task, images.labels) == ("image-classification", ("crane", "crane"))
    assert images.multi_label


def test_labels_of_pairs_are_noted(directory: Any) -> None:
    """A model over two texts answers one text with nothing of use."""
    config = CLASSIFIER | {"id2label": {"0": "contradiction", "1": "entailment"}}
    (note,) = read_huggingface(directory(modules_json=None, config_json=config), trust=False).notes
    assert note.startswith("its labels are those of a model over pairs of texts")


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("token-classification", {"aggregation": "sum"}, "expected one of none, simple, first, average, max"),
        ("token-classification", {"labels": []}, "config.labels: a Hugging Face directory says this itself"),
        ("embedding", {"pooling": "mean"}, "says how vectors are made; leave this out"),
        ("tensor", {}, "a Hugging Face directory describes itself; a description can say of the tasks embedding"),
    ],
)
def test_descriptions_that_say_too_much(
    directory: Any, tmp_path: Path, task: str, config: dict[str, Any], message: str
) -> None:
    """A directory says most itself."""
    file = tmp_path / "task.yaml"
    file.write_text(json.dumps({"task": task, "config": config}))
    with pytest.raises(UsageError, match=re.escape(message)):
        convert(directory(), tmp_path / "out.bundle", config=file)


def test_a_pooling_that_the_user_says(directory: Any, tmp_path: Path) -> None:
    """It must be one that there is; a directory without it is read no further."""
    file = tmp_path / "task.yaml"
    path = directory(modules_json=None)
    file.write_text("{task: embedding, config: {pooling: sum}}")
    with pytest.raises(UsageError, match=r"config\.pooling: expected one of mean, cls, max, last, found 'sum'"):
        convert(path, tmp_path / "out.bundle", config=file)


@pytest.mark.parametrize(
    ("files", "kind", "message"),
    [
        (
            {"modules_json": [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.models.CNN"}]},
            UnsupportedError,
            "module 'CNN' cannot be converted; known: Transformer, Pooling, Dense, LayerNorm, Normalize, Dropout",
        ),
        (
            {"modules_json": [{"path": "", "type": "x.Transformer"}]},
            UnsupportedError,
            "expected the modules Transformer, Pooling and maybe layers after them (Dense, LayerNorm, Normalize, "
            "Dropout) in this order, found Transformer",
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
            {"1_Pooling__config_json": {"pooling_mode_median_tokens": True}},
            UnsupportedError,
            "pooling by pooling_mode_median_tokens cannot be converted",
        ),
        (
            {"1_Pooling__config_json": {"pooling_mode": ["cls", "median"]}},
            UnsupportedError,
            "pooling by median cannot be converted",
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
            "LlamaForCausalLM cannot be converted: it is a decoder, which writes text token by token; known: encoders",
        ),
        (
            {"config_json": {"architectures": ["GPT2ForSequenceClassification"], "model_type": "gpt2"}},
            UnsupportedError,
            "GPT2ForSequenceClassification cannot be converted: it is a decoder",
        ),
        (
            {"config_json": {"architectures": ["BertForQuestionAnswering"], "model_type": "bert"}},
            UnsupportedError,
            "BertForQuestionAnswering cannot be converted; known: encoders with pooling",
        ),
        (
            {"config_json": {"architecture": "resnet50", "num_classes": 1000}},
            UnsupportedError,
            "resnet50 is a model of timm, not of transformers",
        ),
        (
            {"model.safetensors": None, "tf_model.h5": "x"},
            UnsupportedError,
            "found tf_model.h5: TensorFlow's weights only",
        ),
        (
            {"model.safetensors": None, "flax_model.msgpack": "x"},
            UnsupportedError,
            "found flax_model.msgpack: Flax's weights only",
        ),
        ({"model.safetensors": None, "q4.gguf": "x"}, UnsupportedError, "found q4.gguf: GGUF weights"),
        (
            {"model.safetensors": None, "onnx/model.onnx": "x"},
            UnsupportedError,
            "found model.onnx: ONNX files only; convert the .onnx file itself",
        ),
        ({"adapter_config.json": {}}, UnsupportedError, "an adapter (PEFT) without the model it belongs to"),
        (
            {"sentence_bert_config_json": {"transformer_task": "fill-mask"}},
            UnsupportedError,
            "transformer_task 'fill-mask' cannot be converted",
        ),
        (
            {"modules_json": None, "config_json": CLASSIFIER | {"id2label": {"0": "LABEL_0"}}},
            UnsupportedError,
            "one output is a number, not a label (regression, or the score of a pair of texts)",
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
