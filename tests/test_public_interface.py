"""The public interface, pinned: what an application may rely on does not change by accident."""

from __future__ import annotations

import inspect
import re

import pytest

import ortolan
from ortolan import errors

NAMES = [
    "ChunkAnswer",
    "Classification",
    "Cluster",
    "Clusterer",
    "Detection",
    "Detections",
    "Embedder",
    "ImageArray",
    "ImageClassification",
    "ImageClassifier",
    "Model",
    "ObjectDetector",
    "OrtolanError",
    "RecognizedText",
    "Regression",
    "RunControl",
    "Span",
    "Stream",
    "Streamer",
    "TabularClassifier",
    "TabularRegressor",
    "TextClassifier",
    "TextRecognizer",
    "TokenClassification",
    "TokenClassifier",
    "TokenLabel",
    "errors",
    "load",
]

ANSWERING = {
    "predict": "(x, control=None)",
    "predict_batch": "(xs, control=None)",
}
MODEL = {
    "bind": "(feeds)",
    "check": "()",
    "close": "()",
    "run": "(feeds, control=None)",
    **dict.fromkeys(["inputs", "memory", "outputs"], "property"),
}
CLASSES = {
    "Model": MODEL,
    "TokenClassifier": MODEL | ANSWERING,
    "TextClassifier": MODEL | ANSWERING,
    "Clusterer": MODEL | ANSWERING | {"read_table": "(path)", "takes_rows": "property"},
    "Embedder": MODEL | ANSWERING | {"embed": "(text, control=None)", "embed_batch": "(texts, control=None)"},
    "TabularClassifier": MODEL | ANSWERING | {"read_table": "(path)"},
    "TabularRegressor": MODEL | ANSWERING | {"read_table": "(path)"},
    "Streamer": MODEL | ANSWERING | {"stream": "()"},
    "ImageClassifier": MODEL | ANSWERING,
    "ObjectDetector": MODEL | ANSWERING,
    "TextRecognizer": MODEL | ANSWERING,
    "Stream": {
        "flush": "(control=None)",
        "position": "property",
        "push": "(samples, control=None)",
        "reset": "()",
    },
}


def shape(value: object) -> str:
    """The parameters of a method without their types."""
    if isinstance(value, property):
        return "property"
    parameters = list(inspect.signature(value).parameters.values())[1:]  # type: ignore[arg-type] # a function
    return str(inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters]))


def test_the_names_are_these() -> None:
    """None is missing, none has come without a thought; each can be imported and is listed."""
    assert ortolan.__all__ == NAMES
    assert dir(ortolan) == sorted(NAMES)
    for name in NAMES:
        assert getattr(ortolan, name) is not None
    with pytest.raises(AttributeError, match="module 'ortolan' has no attribute 'Strem'"):
        _ = ortolan.Strem


@pytest.mark.parametrize("name", CLASSES)
def test_the_methods_are_these(name: str) -> None:
    """With their parameters; each says what it does."""
    found = {
        key: value
        for key, value in inspect.getmembers(getattr(ortolan, name))
        if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    assert {key: shape(value) for key, value in found.items()} == CLASSES[name]
    assert [key for key, value in found.items() if not inspect.getdoc(value)] == []


def test_every_model_class_is_among_them() -> None:
    """A new task's class is pinned too."""
    models = {
        name for name in NAMES if inspect.isclass(kind := getattr(ortolan, name)) and issubclass(kind, ortolan.Model)
    }
    assert models <= set(CLASSES)


def test_the_drawn_tree_is_the_tree() -> None:
    """The docstring of ortolan.errors shows every class below its base, with the built-in it also is."""
    drawn = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+)(?:\s+(\w+Error)\s)?", line)
        if found and (found[2] == "OrtolanError" or "─" in found[1]):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = (path[depth - 1] if depth else None, found[3])
    real = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
    assert drawn.keys() == real.keys()
    for name, (parent, builtin) in drawn.items():
        if parent is not None:
            assert real[parent] in real[name].__bases__
        if builtin is not None:
            assert builtin in [base.__name__ for base in real[name].__mro__]
        assert issubclass(real[name], ortolan.OrtolanError)
