"""What artifacts say of themselves without being run: a module per family of kinds, a function per kind."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ortolan.errors import ConversionError, OrtolanError, StorageError
from ortolan_convert.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan_convert.sources.explaining.facts import Facts
    from ortolan_convert.sources.kinds import Kind

_HERE = "ortolan_convert.sources.explaining"
READERS: Mapping[Kind, str] = {
    "onnx": f"{_HERE}.plain:onnx_facts",
    "huggingface": f"{_HERE}.plain:huggingface_facts",
    "saved-model": f"{_HERE}.tensorflow:saved_model_facts",
    "keras": f"{_HERE}.archives:keras_facts",
    "hdf5": f"{_HERE}.archives:hdf5_facts",
    "tflite": f"{_HERE}.tensorflow:tflite_facts",
    "torch-exported": f"{_HERE}.exported:exported_facts",
    "torchscript": f"{_HERE}.exported:torchscript_facts",
    "torch-weights": f"{_HERE}.pickled:torch_facts",
    "safetensors": f"{_HERE}.archives:safetensors_facts",
    "xgboost-json": f"{_HERE}.trees:xgboost_facts",
    "xgboost-ubj": f"{_HERE}.trees:xgboost_facts",
    "lightgbm": f"{_HERE}.trees:lightgbm_facts",
    "catboost": f"{_HERE}.trees:catboost_facts",
    "skops": f"{_HERE}.archives:skops_facts",
    "pickle": f"{_HERE}.pickled:pickle_facts",
}
"""What reads a kind's facts: ``module:function`` that takes a path."""


def facts_of(path: Path, kind: Kind) -> Facts:
    """What an artifact says of itself. Nothing in it runs, and no training framework is imported.

    Raises:
        ConversionError: it is damaged, or larger than what is looked into.
        ModelFileError: an ONNX file that is damaged.
        StorageError: it cannot be read.
    """
    module, _, function = READERS[kind].partition(":")
    try:
        facts: Facts = getattr(import_module(module), function)(path)
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise ConversionError(f"{path}: damaged or cut short, it cannot be looked into ({one_line(error)})") from error
    return facts
