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
    from ortolan.inputs.image_source import ImageArray as ImageArray
    from ortolan.loading import load as load
    from ortolan.model import Clusterer as Clusterer
    from ortolan.model import Embedder as Embedder
    from ortolan.model import ImageClassifier as ImageClassifier
    from ortolan.model import Model as Model
    from ortolan.model import ObjectDetector as ObjectDetector
    from ortolan.model import Streamer as Streamer
    from ortolan.model import TabularClassifier as TabularClassifier
    from ortolan.model import TabularRegressor as TabularRegressor
    from ortolan.model import TextClassifier as TextClassifier
    from ortolan.model import TextRecognizer as TextRecognizer
    from ortolan.model import TokenClassifier as TokenClassifier
    from ortolan.tasks.clustering import Cluster as Cluster
    from ortolan.tasks.image_classification import ImageClassification as ImageClassification
    from ortolan.tasks.image_to_text import RecognizedText as RecognizedText
    from ortolan.tasks.object_detection import Detection as Detection
    from ortolan.tasks.object_detection import Detections as Detections
    from ortolan.tasks.stream import ChunkAnswer as ChunkAnswer
    from ortolan.tasks.stream import Stream as Stream
    from ortolan.tasks.tabular import Regression as Regression
    from ortolan.tasks.text_classification import Classification as Classification
    from ortolan.tasks.token_classification import Span as Span
    from ortolan.tasks.token_classification import TokenClassification as TokenClassification
    from ortolan.tasks.token_classification import TokenLabel as TokenLabel

__version__ = "0.1.0"

_HOMES = {
    "ChunkAnswer": "ortolan.tasks.stream",
    "Classification": "ortolan.tasks.text_classification",
    "Cluster": "ortolan.tasks.clustering",
    "Clusterer": "ortolan.model",
    "Detection": "ortolan.tasks.object_detection",
    "Detections": "ortolan.tasks.object_detection",
    "Embedder": "ortolan.model",
    "ImageArray": "ortolan.inputs.image_source",
    "ImageClassification": "ortolan.tasks.image_classification",
    "ImageClassifier": "ortolan.model",
    "Model": "ortolan.model",
    "ObjectDetector": "ortolan.model",
    "OrtolanError": "ortolan.errors",
    "RecognizedText": "ortolan.tasks.image_to_text",
    "Regression": "ortolan.tasks.tabular",
    "RunControl": "ortolan.engine.control",
    "Span": "ortolan.tasks.token_classification",
    "Stream": "ortolan.tasks.stream",
    "Streamer": "ortolan.model",
    "TabularClassifier": "ortolan.model",
    "TabularRegressor": "ortolan.model",
    "TextClassifier": "ortolan.model",
    "TextRecognizer": "ortolan.model",
    "TokenClassification": "ortolan.tasks.token_classification",
    "TokenClassifier": "ortolan.model",
    "TokenLabel": "ortolan.tasks.token_classification",
    "load": "ortolan.loading",
}

__all__ = [
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
