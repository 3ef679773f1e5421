"""Models saved by Keras: ``.keras`` archives and whole models in HDF5, of Keras 3 and of Keras 2.

Files of Keras 2 are loaded by Keras 2 itself (``tf-keras``): Keras 3 does not know the arguments of their recurrent and
depthwise layers, nor their operators of TensorFlow.
"""

from __future__ import annotations

import gc
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, InputError, OrtolanError, StorageError, UnsupportedError
from ortolan_convert.messages import words
from ortolan_convert.networks.source import NetworkSource
from ortolan_convert.sources.packages import require
from ortolan_convert.sources.tensorflow.graph import Frozen, check_numbers, freeze_function, write_onnx
from ortolan_convert.sources.tensorflow.hdf5_file import check_contained, opened
from ortolan_convert.sources.tensorflow.keras_config import check_config
from ortolan_convert.sources.tensorflow.quiet import silenced, tensorflow
from ortolan_convert.task_config import check_source_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.request import Request
    from ortolan_convert.task_config import TaskConfig

LARGEST_DESCRIPTION = 64 << 20
"""Bytes of JSON that describe a model."""
LARGEST_WEIGHTS = 1 << 34
"""Bytes of the weights in an archive."""
_MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


@dataclass(frozen=True, slots=True)
class _Description:
    """What a file says of its model: Keras's version and the parsed configuration."""

    version: str
    config: object


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:
    """Read a Keras model; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        TrustRequiredError: a layer runs code.
        StorageError: the file cannot be read.
        ConversionError: it is damaged, its weights are NaN, or Keras cannot load it.
        UnsupportedError: weights alone, a newer version, or operators that cannot be converted.
        MissingPackageError: Keras 2 is not installed.
    """
    path = request.only_path()
    check_source_keys(settings.source, (), request.config)
    description = _from_hdf5(path) if request.kind == "hdf5" else _from_archive(path, room)
    code = check_config(description.config, path, trust=request.trust)
    tf = tensorflow()
    with silenced():
        package, keras = _keras_for(description.version, path)
        model = _loaded(keras, path, description.version, trust=request.trust)
        for variable in model.weights:
            check_numbers(getattr(variable, "path", variable.name), variable.numpy(), path)
        answering = _Answering.of(tf, model, path)
        file = write_onnx(answering.frozen(), room, path)
    return NetworkSource(
        framework="keras",
        version=description.version,
        files=(path,),
        packages=("tensorflow", package, "tf2onnx"),
        model=file,
        ask=answering.ask,
        close=answering.close,
        notes=tuple(f"code of the file ran: layer {one.layer!r} ({one.what}), {one.runs}" for one in code),
    )


def _from_archive(path: Path, room: Path) -> _Description:
    """The description in a ``.keras`` archive, whose weights are looked through, too."""
    weights = room / "weights.h5"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist()]
            if sorted(names) != sorted(_MEMBERS):
                others = ", ".join(repr(name) for name in names if name not in _MEMBERS)[:200]
                problem = f"also holds {others}" if others else f"holds {', '.join(names)}"
                raise UnsupportedError(f"{path}: expected a .keras archive of {', '.join(_MEMBERS)}; it {problem}")
            for name, most in zip(_MEMBERS, (LARGEST_DESCRIPTION, LARGEST_DESCRIPTION, LARGEST_WEIGHTS), strict=True):
                if archive.getinfo(name).file_size > most:
                    size = archive.getinfo(name).file_size
                    raise ConversionError(f"{path}: {name}: expected at most {most} bytes, found {size}")
            metadata = _json(archive.read("metadata.json"), path, "metadata.json")
            config = _json(archive.read("config.json"), path, "config.json")
            with archive.open("model.weights.h5") as packed, weights.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, RuntimeError, ValueError) as error:
        raise ConversionError(f"{path}: a .keras archive that is damaged or cut short: {error}") from error
    with opened(weights, path) as content:
        check_contained(content, path)
    weights.unlink()
    return _Description(_version(metadata.get("keras_version") if isinstance(metadata, dict) else None, path), config)


def _from_hdf5(path: Path) -> _Description:
    with opened(path, path) as content:
        config = content.attrs.get("model_config")
        version = content.attrs.get("keras_version")
        if config is None:
            raise UnsupportedError(
                f"{path}: no model_config: weights alone, or not of Keras; save the whole model: model.save(...)"
            )
        check_contained(content, path)
    texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in (config, version)]
    if not isinstance(texts[0], str) or len(texts[0]) > LARGEST_DESCRIPTION:
        raise ConversionError(f"{path}: model_config: expected at most {LARGEST_DESCRIPTION} bytes of JSON")
    # Files of the first Keras have no version.
    return _Description(
        _version(texts[1] if texts[1] is not None else "1.0.0", path), _json(texts[0], path, "model_config")
    )


def _json(text: str | bytes, path: Path, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path}: {name}: not well-formed JSON: {error}") from None


def _version(found: object, path: Path) -> str:
    text = str(found)
    if not isinstance(found, str) or not text.split(".", maxsplit=1)[0].isdigit() or len(text) > 100:
        raise ConversionError(f"{path}: keras_version: expected a version such as 3.8.0, found {found!r:.100}")
    return text


def _keras_for(version: str, path: Path) -> tuple[str, Any]:
    """The distribution and the module of the Keras that wrote the file.

    Raises:
        UnsupportedError: it is newer than the installed one, or Keras runs on another framework.
        MissingPackageError: it is not installed.
    """
    major = int(version.split(".", maxsplit=1)[0])
    if major < 3:
        return "tf-keras", require("tf_keras", "tf-keras (Keras 2)", "tensorflow")
    keras = require("keras", "keras", "tensorflow")
    if major > int(keras.__version__.split(".")[0]):
        raise UnsupportedError(
            f"{path}: saved by Keras {version}; the installed {keras.__version__} is older: upgrade it"
        )
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedError(
            f"{path}: Keras runs on {keras.backend.backend()!r} here; expected tensorflow: set KERAS_BACKEND=tensorflow"
        )
    return "keras", keras


def _loaded(keras: Any, path: Path, version: str, *, trust: bool) -> Any:
    """The model, without its optimizer.

    Keras goes by the name of a file, which may be any: a link with the right one is made.
    """
    suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"
    try:
        with TemporaryDirectory(prefix="ortolan-") as directory:
            link = Path(directory, f"model{suffix}")
            link.symlink_to(path.resolve())
            return keras.models.load_model(link, compile=False, safe_mode=not trust)
    except Exception as error:
        reason = words(error)
        raise ConversionError(
            f"{path}: Keras {keras.__version__} cannot load it (saved by Keras {version}): {reason}"
        ) from error


@dataclass(slots=True)
class _Answering:
    """A Keras model as a function of tensors, which TensorFlow traced."""

    path: Path
    model: Any
    function: Any
    specs: Sequence[Any]
    outputs: Sequence[str]

    @classmethod
    def of(cls, tf: Any, model: Any, path: Path) -> _Answering:
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise UnsupportedError(
                f"{path}: the model does not say what it takes (it was never built, or is a class of its own); save it "
                "with an Input, or export it as a SavedModel: model.export(DIRECTORY)"
            )
        if any(getattr(one, "sparse", False) or getattr(one, "ragged", False) for one in inputs):
            raise UnsupportedError(f"{path}: sparse or ragged inputs; expected dense ones")
        names = _unique([one.name.partition(":")[0].replace("/", "_") for one in inputs])
        specs = [tf.TensorSpec(one.shape, one.dtype, name) for one, name in zip(inputs, names, strict=True)]
        outputs: list[str] = []

        def answer(*tensors: Any) -> Any:
            found = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
            flat = tf.nest.flatten(found)
            outputs[:] = _unique(_output_names(model, found, len(flat)), set(names))
            return flat

        try:
            function = tf.function(answer, autograph=False).get_concrete_function(*specs)
        except Exception as error:
            reason = words(error)
            raise UnsupportedError(f"{path}: TensorFlow cannot make a graph of the model: {reason}") from error
        return cls(path, model, function, specs, outputs)

    def frozen(self) -> Frozen:
        """The function as a graph."""
        graph, weights = freeze_function(self.function, [variable.numpy().nbytes for variable in self.model.weights])
        tensors = [tensor for tensor in self.function.inputs if tensor.dtype.name != "resource"]
        return Frozen(
            graph=graph,
            weights=weights,
            inputs={spec.name: tensor.name for spec, tensor in zip(self.specs, tensors, strict=True)},
            outputs={name: tensor.name for name, tensor in zip(self.outputs, self.function.outputs, strict=True)},
            shapes={spec.name: spec.shape.as_list() if spec.shape.rank is not None else None for spec in self.specs},
        )

    def ask(self, feeds: Tensors) -> Tensors:
        """Keras's answers.

        Raises:
            InputError: it refuses the inputs.
        """
        import tensorflow as tf

        given = []
        for spec in self.specs:
            # An input that no answer depends on is not in the graph.
            shape = [size or 1 for size in spec.shape.as_list()]
            given.append(tf.constant(feeds[spec.name]) if spec.name in feeds else tf.zeros(shape, spec.dtype))
        try:
            answers = self.function(*given)
        except (tf.errors.OpError, ValueError) as error:
            raise InputError(f"{self.path}: Keras refuses a sample: {words(error)}") from error
        return {name: tensor.numpy() for name, tensor in zip(self.outputs, answers, strict=True)}

    def close(self) -> None:
        """Let go of the model."""
        self.model = self.function = None
        gc.collect()


def _output_names(model: Any, found: Any, count: int) -> list[str]:
    if isinstance(found, dict):
        return [str(name) for name in sorted(found)]
    names = getattr(model, "output_names", None)
    if names is None or len(names) != count:
        names = (
            [model.layers[-1].name] if count == 1 and model.layers else [f"output_{index}" for index in range(count)]
        )
    return [str(name).replace("/", "_") for name in names]


def _unique(names: Sequence[str], taken: set[str] | None = None) -> list[str]:
    """The names, numbered where they come again."""
    found: list[str] = []
    for name in names:
        number, candidate = 0, name
        while candidate in found or candidate in (taken or ()):
            number += 1
            candidate = f"{name}_{number}"
        found.append(candidate)
    return found
