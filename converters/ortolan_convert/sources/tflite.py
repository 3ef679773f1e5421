"""TensorFlow Lite models, quantized ones included: one signature becomes a network."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, InputError
from ortolan_convert.messages import words
from ortolan_convert.networks.source import TOLERANCE, NetworkSource
from ortolan_convert.networks.weight_file import tidy, write_model
from ortolan_convert.sources.packages import require
from ortolan_convert.sources.saved_model import chosen_signature
from ortolan_convert.sources.tensorflow.quiet import silenced, tensorflow
from ortolan_convert.sources.tensorflow_lite.file import Signature, read_lite
from ortolan_convert.sources.tensorflow_lite.model import onnx_of

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.request import Request
    from ortolan_convert.sources.tensorflow_lite.file import LiteModel, Operator, Subgraph
    from ortolan_convert.task_config import TaskConfig

STEPS = 4
"""Steps of a quantized output's scale that answers may be apart. TensorFlow Lite's own kernels (built-in, reference and
XNNPACK) are up to 3 apart on networks of 2 to 17 layers: each rounds products in its own way."""
ROUNDED = 0.02
"""Tolerance where numbers are rounded to 8 bits within the graph: 5 steps of 256. Weights in int8 with numbers in
float32 (dynamic range quantization) are among that: TensorFlow Lite rounds what it multiplies them with."""
_HYBRID = frozenset(
    [
        "FULLY_CONNECTED",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "BATCH_MATMUL",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "TRANSPOSE_CONV",
    ]
)


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:
    """Read a TensorFlow Lite model; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        StorageError: the file cannot be read.
        ConversionError: it is damaged, or a weight is NaN.
        UnsupportedError: operators that cannot be converted, by their names.
        UsageError: the description names a signature that is not there, or has to name one.
    """
    path = request.only_path()
    tf = tensorflow()
    with silenced():
        lite = read_lite(path)
        signature = _signature(lite, settings, request, path)
        graph = lite.subgraphs[signature.subgraph]
        model = tidy(onnx_of(lite, signature, path))
        write_model(model, room)
        interpreter = _Interpreter.of(lite.content, signature, path)
    return NetworkSource(
        framework="tensorflow-lite",
        version=tf.__version__,
        files=(path,),
        packages=("tensorflow",),
        model=room / "model.onnx",
        ask=interpreter.ask,
        close=interpreter.close,
        tolerance=_tolerance(graph),
        steps=_steps(graph, signature),
    )


def _signature(lite: LiteModel, settings: TaskConfig, request: Request, path: Path) -> Signature:
    """The chosen signature; where the file has none, the first graph with its tensors' names."""
    if lite.signatures or settings.source:
        return lite.signatures[chosen_signature(lite.signatures, settings.source, request.config, path)]
    graph = lite.subgraphs[0]
    names: set[str] = set()
    inputs = {_plain(graph.tensors[number].name, "input", names): number for number in graph.inputs}
    outputs = {_plain(graph.tensors[number].name, "output", names): number for number in graph.outputs}
    return Signature(key="", subgraph=0, inputs=inputs, outputs=outputs)


def _plain(name: str, kind: str, taken: set[str]) -> str:
    """A tensor's name without what the converter adds; numbered where it comes again."""
    name = name.removeprefix("serving_default_").removesuffix(":0") or kind
    number, candidate = 0, name
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _tolerance(graph: Subgraph) -> float:
    """What numbers may differ by: more where TensorFlow Lite rounds numbers within the graph to 8 bits."""
    quantized = any(graph.tensors[number].quantization for one in graph.operators for number in one.outputs)
    return ROUNDED if quantized or any(_is_hybrid(graph, operator) for operator in graph.operators) else TOLERANCE


def _is_hybrid(graph: Subgraph, operator: Operator) -> bool:
    """Whether an operator takes integer weights and rounds what it multiplies them with when it runs."""
    if operator.name not in _HYBRID or graph.tensors[operator.outputs[0]].dtype != "float32":
        return False
    weights = [graph.tensors[number] for number in operator.inputs[1:] if number >= 0]
    return any(one.data is not None and one.dtype in {"int8", "uint8", "int4"} for one in weights)


def _steps(graph: Subgraph, signature: Signature) -> dict[str, float]:
    """`STEPS` of each quantized output, in its own unit."""
    behind = {one.outputs[0]: one.inputs[0] for one in graph.operators if one.name == "DEQUANTIZE"}
    steps: dict[str, float] = {}
    for name, number in signature.outputs.items():
        if graph.tensors[number].quantization is not None:
            steps[name] = STEPS
        elif number in behind and (quantization := graph.tensors[behind[number]].quantization) is not None:
            steps[name] = STEPS * float(quantization.scales.max())
    return steps


@dataclass(slots=True)
class _Interpreter:
    """TensorFlow Lite's own answers."""

    interpreter: Any
    signature: Signature
    path: Path

    @classmethod
    def of(cls, content: bytes, signature: Signature, path: Path) -> _Interpreter:
        try:
            from tensorflow.lite.python import interpreter as module
        except ImportError:
            module = require("ai_edge_litert.interpreter", "ai-edge-litert", "tensorflow")
        resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            interpreter = module.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        except (ValueError, RuntimeError) as error:
            raise ConversionError(f"{path}: TensorFlow Lite cannot load it: {words(error)}") from error
        return cls(interpreter, signature, path)

    def ask(self, feeds: Tensors) -> Tensors:
        """The interpreter's answers, its state zero before.

        Raises:
            InputError: it refuses the inputs.
        """
        try:
            if self.signature.subgraph:
                self.interpreter.reset_all_variables()
                given = {name: feeds[name] for name in self.signature.inputs}
                found: Tensors = self.interpreter.get_signature_runner(self.signature.key)(**given)
                return {name: np.array(array) for name, array in found.items()}
            for name, number in self.signature.inputs.items():
                self.interpreter.resize_tensor_input(number, feeds[name].shape)
            self.interpreter.allocate_tensors()
            self.interpreter.reset_all_variables()
            for name, number in self.signature.inputs.items():
                self.interpreter.set_tensor(number, feeds[name])
            self.interpreter.invoke()
            return {name: np.array(self.interpreter.get_tensor(at)) for name, at in self.signature.outputs.items()}
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self.path}: TensorFlow Lite refuses a sample: {words(error)}") from error

    def close(self) -> None:
        """Let go of the model."""
        self.interpreter = None
        gc.collect()
