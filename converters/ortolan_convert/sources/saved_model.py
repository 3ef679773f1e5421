"""TensorFlow SavedModels, of TensorFlow 2 and 1: one signature becomes a network.

The graph is taken out of ``saved_model.pb`` and looked through before anything of it runs. Then its variables are
restored and it is asked in a session, as TensorFlow 1 does it: TensorFlow 2's loader would also run whatever
initializers the file brings.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, InputError, OrtolanError, StorageError, UnsupportedError, UsageError
from ortolan_convert.messages import words
from ortolan_convert.networks.source import NetworkSource
from ortolan_convert.sources.tensorflow.graph import Frozen, check_numbers, freeze_session, write_onnx
from ortolan_convert.sources.tensorflow.operators import RESTORE, check_may_run
from ortolan_convert.sources.tensorflow.quiet import silenced, tensorflow
from ortolan_convert.task_config import check_source_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan.types import Array
    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.request import Request
    from ortolan_convert.task_config import TaskConfig

SCHEMA = 1
"""The newest ``saved_model_schema_version``."""
LARGEST_FILE = (1 << 31) - 1
"""Bytes of ``saved_model.pb``: what one message of protobuf holds."""
SIGNATURE = "serving_default"
_INIT = "__saved_model_init_op"


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:
    """Read one signature of a SavedModel; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        StorageError: a file cannot be read.
        ConversionError: it is damaged, its variables are missing or NaN.
        UnsupportedError: an operator that cannot be converted, or that does more than calculate.
        UsageError: the description names a signature that is not there, or has to name one.
    """
    path = request.only_path()
    tf = tensorflow()
    with silenced():
        meta = _meta_graph(path)
        name = chosen_signature(meta.signature_def, settings.source, request.config, path)
        signature = _signature(meta.signature_def[name], name, path)
        _check(meta, signature, path)
        room_of_session = _Loaded.open(tf, meta, signature, path)
        graph, weights = freeze_session(
            room_of_session.session,
            room_of_session.graph,
            list(signature.outputs.values()),
            room_of_session.variable_bytes,
        )
        frozen = Frozen(
            graph=graph,
            weights=weights,
            inputs=signature.inputs,
            outputs=signature.outputs,
            shapes=signature.shapes,
        )
        model = write_onnx(frozen, room, path)
    return NetworkSource(
        framework="tensorflow",
        version=meta.meta_info_def.tensorflow_version or tf.__version__,
        files=_files(path),
        below=path,
        packages=("tensorflow", "tf2onnx"),
        model=model,
        ask=room_of_session.ask,
        close=room_of_session.close,
    )


@dataclass(frozen=True, slots=True)
class _Signature:
    """Tensors such as ``"x:0"`` by the user's names, and the inputs' shapes."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    shapes: Mapping[str, list[int | None] | None]


def _meta_graph(path: Path) -> Any:
    """The graph that is meant for serving."""
    from google.protobuf import message, text_format
    from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2

    content = saved_model_pb2.SavedModel()
    binary, text = path / "saved_model.pb", path / "saved_model.pbtxt"
    file = binary if binary.is_file() else text
    fingerprint = path / "fingerprint.pb"
    try:
        given = fingerprint.read_bytes() if fingerprint.is_file() else None
        if given is not None and not fingerprint_pb2.FingerprintDef.FromString(given).ByteSize():
            raise ConversionError(f"{fingerprint}: damaged or cut short; copy the whole SavedModel again")
        if file.stat().st_size > LARGEST_FILE:
            raise ConversionError(f"{file}: expected at most {LARGEST_FILE} bytes")
        if file == binary:
            content.ParseFromString(file.read_bytes())
        else:
            text_format.Parse(file.read_text(encoding="utf-8"), content)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (message.DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ConversionError(f"{file}: damaged or cut short: {words(error)}") from None
    if content.saved_model_schema_version > SCHEMA:
        found = content.saved_model_schema_version
        raise UnsupportedError(f"{file}: expected a SavedModel of schema version {SCHEMA}, found {found}: a newer one")
    if not content.meta_graphs:
        raise ConversionError(f"{file}: holds no graph; expected the SavedModel of a trained network")
    serving = [meta for meta in content.meta_graphs if "serve" in meta.meta_info_def.tags]
    if len(serving or content.meta_graphs) > 1:
        tags = "; ".join(", ".join(meta.meta_info_def.tags) or "none" for meta in content.meta_graphs)
        raise UnsupportedError(f"{file}: expected one graph with the tag 'serve', found graphs with the tags: {tags}")
    return (serving or content.meta_graphs)[0]


def chosen_signature(
    known: Mapping[str, object], source: Mapping[str, object], config: Path | None, path: Path, default: str = SIGNATURE
) -> str:
    """The signature that the description names under ``source``, else the default one, else the only one.

    Raises:
        UsageError: it is not there, or there are several and none is the default.
    """
    names = sorted(name for name in known if name != _INIT)
    check_source_keys(source, ("signature",), config)
    if "signature" in source:
        name = source["signature"]
        if not isinstance(name, str) or name not in names:
            listed = ", ".join(names) or "none"
            raise UsageError(f"{config}: source.signature: the model has no {name!r}; it has: {listed}")
        return name
    if default in names:
        return default
    if not names:
        raise UnsupportedError(
            f"{path}: no signature, so what goes in and out is unknown; save the model with signatures={{...}}"
        )
    if len(names) > 1:
        raise UsageError(
            f"{path}: expected the signature {default!r} or a single one, found {', '.join(names)}; "
            "name one in the description: source: {signature: NAME}"
        )
    return names[0]


def _signature(definition: Any, name: str, path: Path) -> _Signature:
    for side in (definition.inputs, definition.outputs):
        for key, info in side.items():
            if info.WhichOneof("encoding") != "name":
                kind = info.WhichOneof("encoding") or "nothing"
                raise UnsupportedError(f"{path}: signature {name}: {key}: expected a tensor, found {kind}")
    if not definition.inputs or not definition.outputs:
        raise UnsupportedError(f"{path}: signature {name}: expected inputs and outputs, found none on one side")
    shapes = {
        key: None
        if info.tensor_shape.unknown_rank
        else [dim.size if dim.size >= 0 else None for dim in info.tensor_shape.dim]
        for key, info in sorted(definition.inputs.items())
    }
    return _Signature(
        {key: _tensor(definition.inputs[key].name) for key in sorted(definition.inputs)},
        {key: _tensor(definition.outputs[key].name) for key in sorted(definition.outputs)},
        shapes,
    )


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _check(meta: Any, signature: _Signature, path: Path) -> None:
    """Refuse, before anything runs, what does more than calculate."""
    nodes = {node.name: node for node in meta.graph_def.node}
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    for side, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for name, tensor in tensors.items():
            if tensor.partition(":")[0] not in nodes:
                raise ConversionError(f"{path}: the signature's {side} {name!r} is not in the graph: {tensor}")
    answering = _leading_to(nodes, [name.partition(":")[0] for name in signature.outputs.values()])
    check_may_run(answering, functions, str(path), also=frozenset())
    restore = meta.saver_def.restore_op_name
    if restore:
        if restore not in nodes:
            raise ConversionError(f"{path}: the operator that restores variables is not in the graph: {restore}")
        check_may_run(_leading_to(nodes, [restore]), functions, str(path), also=RESTORE)


def _leading_to(nodes: Mapping[str, Any], names: list[str]) -> list[Any]:
    """The nodes that these need, with what has to run before."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name not in found and name in nodes:
            found[name] = nodes[name]
            waiting += nodes[name].input
    return list(found.values())


class _Loaded:
    """The graph in a session, its variables restored."""

    def __init__(self, session: Any, graph: Any, signature: _Signature, path: Path) -> None:
        self.session, self.graph = session, graph
        self.variable_bytes: list[int] = []
        self._signature, self._path = signature, path

    @classmethod
    def open(cls, tf: Any, meta: Any, signature: _Signature, path: Path) -> _Loaded:
        saver = meta.saver_def
        kept = [name.partition(":")[0] for name in (*signature.outputs.values(), *signature.inputs.values())]
        restoring = (
            [saver.restore_op_name, saver.filename_tensor_name.partition(":")[0]] if saver.restore_op_name else []
        )
        pruned = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [*dict.fromkeys(kept + restoring)])
        for node in (*pruned.node, *(node for function in pruned.library.function for node in function.node_def)):
            node.device = ""
        try:
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(pruned, name="")
                _add_reads(tf, graph)
            loaded = cls(tf.compat.v1.Session(graph=graph), graph.as_graph_def(add_shapes=True), signature, path)
            try:
                loaded._restore(tf, saver)
            except BaseException:
                loaded.close()
                raise
        except OrtolanError:
            raise
        except (tf.errors.OpError, ValueError, TypeError, KeyError) as error:
            made = meta.meta_info_def.tensorflow_version or "unknown"
            reason = words(error)
            raise ConversionError(
                f"{path}: TensorFlow {tf.__version__} cannot load it (written by version {made}): {reason}"
            ) from error
        return loaded

    def _restore(self, tf: Any, saver: Any) -> None:
        files = sorted((self._path / "variables").glob("variables.*"))
        variables = [node for node in self.graph.node if node.op in {"VarHandleOp", "VariableV2", "Variable"}]
        if not variables:
            return
        if not files or not saver.restore_op_name:
            raise ConversionError(f"{self._path}: variables/ is missing; expected {len(variables)} variables in it")
        prefix = str(self._path / "variables" / "variables")
        reader = tf.train.load_checkpoint(prefix)
        types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
        self.variable_bytes = [prod(shape) * types[name].size for name, shape in shapes.items()]
        for name in sorted(shapes):
            if types[name].is_floating:
                check_numbers(
                    name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"), _as_float(reader.get_tensor(name)), self._path
                )
        self.session.run(saver.restore_op_name, {_tensor(saver.filename_tensor_name): prefix})

    def ask(self, feeds: Tensors) -> Tensors:
        """TensorFlow's answers.

        Raises:
            InputError: it refuses the inputs.
        """
        import tensorflow as tf

        given = {tensor: feeds[name] for name, tensor in self._signature.inputs.items() if name in feeds}
        try:
            answers: dict[str, Array] = self.session.run(dict(self._signature.outputs), given)
        except (tf.errors.OpError, ValueError) as error:
            raise InputError(f"{self._path}: TensorFlow refuses a sample: {words(error)}") from error
        return answers

    def close(self) -> None:
        """Let go of the session and its variables."""
        self.session.close()
        self.session = self.graph = None
        gc.collect()


def _add_reads(tf: Any, graph: Any) -> None:
    """The operator by which TensorFlow looks for each variable's value when it freezes a graph."""
    names = {operation.name for operation in graph.get_operations()}
    for operation in graph.get_operations():
        if operation.type == "VarHandleOp" and f"{operation.name}/Read/ReadVariableOp" not in names:
            dtype = operation.get_attr("dtype")
            tf.raw_ops.ReadVariableOp(
                resource=operation.outputs[0], dtype=dtype, name=f"{operation.name}/Read/ReadVariableOp"
            )


def _as_float(array: Any) -> Any:
    return array.astype(np.float32) if array.dtype.kind != "f" else array


def _files(path: Path) -> tuple[Path, ...]:
    names = [
        path / "saved_model.pb",
        path / "saved_model.pbtxt",
        path / "fingerprint.pb",
        *sorted((path / "variables").glob("variables.*")),
    ]
    return tuple(file for file in names if file.is_file())
