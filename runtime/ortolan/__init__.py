"""Ortolan: an edge runtime for quantized ONNX models.

::

    import ortolan

    with ortolan.load("sentiment.bundle") as model:
        model.predict("这个手机很好用")

Importing this package imports neither numpy nor onnxruntime: names are resolved when they are first used.
"""

TYPE_CHECKING = False  # as typing's, which would double the time this import takes

if TYPE_CHECKING:
    from ortolan import errors as errors
    from ortolan.engine.control import RunControl as RunControl
    from ortolan.errors import OrtolanError as OrtolanError
    from ortolan.loading import load as load
    from ortolan.model import Clusterer as Clusterer
    from ortolan.model import Model as Model
    from ortolan.model import TextClassifier as TextClassifier
    from ortolan.tasks.clustering import Cluster as Cluster
    from ortolan.tasks.text_classification import Classification as Classification

__version__ = "0.1.0"

_HOMES = {
    "Classification": "ortolan.tasks.text_classification",
    "Cluster": "ortolan.tasks.clustering",
    "Clusterer": "ortolan.model",
    "Model": "ortolan.model",
    "OrtolanError": "ortolan.errors",
    "RunControl": "ortolan.engine.control",
    "TextClassifier": "ortolan.model",
    "load": "ortolan.loading",
}

__all__ = [
    "Classification",
    "Cluster",
    "Clusterer",
    "Model",
    "OrtolanError",
    "RunControl",
    "TextClassifier",
    "errors",
    "load",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module("ortolan.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ortolan' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
