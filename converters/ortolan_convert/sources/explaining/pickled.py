"""Pickles: of scikit-learn and the boosting libraries, and the weights that PyTorch saves."""

from __future__ import annotations

import re
import sys
import zipfile
from collections import deque
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.sources.explaining.bounded_stream import BoundedStream
from ortolan_convert.sources.explaining.facts import Facts, counted, listed, member
from ortolan_convert.sources.explaining.pickle_outline import Outline, outline
from ortolan_convert.sources.explaining.symbols import Made
from ortolan_convert.sources.recognise import compression_of, open_decompressed, read_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_USUAL = re.compile(
    r"(?:sklearn|xgboost|lightgbm|catboost)\.(?:\w+\.)*_{0,2}[A-Z]\w*"
    r"|scipy\.sparse\.(?:\w+\.)*(?:[cd]s[rc]|coo|dok|lil|bsr|dia)_(?:matrix|array)"
    r"|numpy\.(?:ndarray|dtype|bool_?|str_|bytes_|u?int\d+|float\d+)"
    r"|numpy\.(?:_core|core)\.(?:multiarray\.(?:_reconstruct|scalar)|numeric\._frombuffer)"
    r"|numpy\.random\.(?:_pickle\.__\w+_ctor|_mt19937\.MT19937|_pcg64\.PCG64)"
    r"|joblib\.numpy_pickle\.Numpy\w+"
    r"|collections\.(?:OrderedDict|defaultdict|Counter)|copy_?reg\._reconstructor"
    r"|(?:builtins|__builtin__)\.(?:object|dict|list|tuple|set|frozenset|int|float|str|bytes|bytearray|slice|range|complex)"
    r"|_?codecs\.encode"
)
"""Names that pickles of models import and whose calls make values only."""
_TORCH = re.compile(
    r"torch\._utils\._rebuild_(?:tensor|tensor_v2|tensor_v3|parameter|parameter_with_state|qtensor|sparse_tensor|meta_tensor_no_storage)"
    r"|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.(?:storage\.)?(?:Typed|Untyped|\w+)Storage|torch\.(?:Size|Tensor|device|dtype|memory_format)"
    r"|torch\.nn\.parameter\.(?:Parameter|Buffer)|torch\.(?:serialization\._get_layout|_utils\._get_layout)"
    r"|torch\.(?:float\d+(?:_\w+)?|bfloat16|u?int\d+|bool|complex\d+|q\w+)"
    r"|collections\.(?:OrderedDict|Counter)|persistent id"
    r"|(?:builtins|__builtin__)\.(?:set|bytearray|complex|slice)|_codecs\.encode"
)
"""Of those, what PyTorch itself reads without trust (``weights_only``)."""
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*(?:\.?(?:dev|rc|post)\d+)?")
MOST_VALUES = 4096
"""Values of an array that are read."""
_SMALL = 1 << 16
"""Bytes of an array that are read."""
MOST_OBJECTS = 200_000
"""Objects that are searched."""
DEEPEST = 6
"""Levels of nested estimators that are shown."""


def pickle_facts(path: Path) -> Facts:
    """Of a pickle or joblib file, whatever its compression."""
    with ExitStack() as stack:
        compression = compression_of(read_head(path)[0])
        found = outline(BoundedStream(open_decompressed(path, compression, stack)))
    names = tuple(dict.fromkeys(found.names))
    tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    inside = [("compression", compression)] if compression else []
    inside += [("object", _described(found.content)), *islice(_steps(found.content), 64), *_learnt(found.content)]
    return Facts(
        made_by=_made_by(found.content, tops),
        inside=tuple(inside),
        code=_calls(names, _USUAL),
        packages=tuple(top for top in tops if not _is_standard(top)),
    )


def _is_standard(top: str) -> bool:
    return top in sys.stdlib_module_names or top in {"__main__", "__builtin__", "copy_reg", "(no name)"}


def _calls(names: tuple[str, ...], usual: re.Pattern[str]) -> tuple[str, ...]:
    """What reading a pickle calls: usual names are counted, others listed."""
    others = [name for name in names if not usual.fullmatch(name)]
    count = len(names) - len(others)
    code = [f"others: {listed(others, most=20)}"] if others else []
    if count:
        tops = listed(dict.fromkeys(name.partition(".")[0] for name in names if usual.fullmatch(name)))
        code.insert(0, f"{counted(count, 'name')} of {tops}, as usual")
    return tuple(code)


def _short(made: Any) -> str:
    if isinstance(made, Made):
        return made.by.rpartition(".")[2] if isinstance(made.by, str) else "what another call makes"
    return type(made).__name__


def _described(content: Any) -> str:
    if isinstance(content, Made) and isinstance(content.by, str):
        return content.by
    if isinstance(content, dict):
        return f"a dict of {listed(f'{key!r}: {_short(value)}' for key, value in list(content.items())[:50])}"
    if isinstance(content, list | tuple):
        return f"a {type(content).__name__} of {listed(map(_short, content[:50]))}"
    return _short(content)


def _steps(content: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Steps of a pipeline, transformers of a union or of columns, estimators of an ensemble."""
    if not isinstance(content, Made) or depth > DEEPEST:
        return
    for key in ("steps", "transformer_list", "transformers"):
        steps = content.get(key)
        if not isinstance(steps, list):
            continue
        for step in steps[:50]:
            if isinstance(step, tuple) and len(step) >= 2 and isinstance(step[0], str):
                yield f"{'  ' * depth}{key.split('_')[0].rstrip('s')} {step[0]!r}", _described(step[1])
                yield from _steps(step[1], depth + 1)
    estimators = content.get("estimators_")
    if isinstance(estimators, list):
        yield f"{'  ' * depth}estimators", f"{len(estimators)} of {listed(dict.fromkeys(map(_short, estimators)))}"


def _learnt(content: Any) -> Iterator[tuple[str, str]]:
    """Classes and number of features, of the object or its last step."""
    steps = content.get("steps") if isinstance(content, Made) else None
    chain = [content]
    if isinstance(steps, list):
        chain += [step[1] for step in steps if isinstance(step, tuple) and len(step) == 2]
    for title, key in (("classes", "classes_"), ("features", "n_features_in_"), ("clusters", "n_clusters")):
        values = [one.get(key) for one in chain if isinstance(one, Made)]
        value = next((value for value in reversed(values) if value is not None), None)
        array = values_of(value)
        if array is not None:
            yield title, f"{len(array)}: {listed(map(repr, array), most=12)}"
        elif isinstance(value, int):
            yield title, str(value)


def values_of(array: Any) -> list[Any] | None:
    """Values of a small array in a pickle; None if it is none, or not of plain values."""
    if isinstance(array, list):
        return array[:MOST_VALUES] if all(isinstance(value, str | int | float) for value in array[:64]) else None
    if not isinstance(array, Made):
        return None
    if array.data:
        return _plain(array.data, array.get("dtype"))
    if str(array.by).endswith("._frombuffer") and isinstance(array.arguments, tuple) and len(array.arguments) > 1:
        data = array.arguments[0]
        return _plain(bytes(data[:_SMALL]), array.arguments[1]) if isinstance(data, bytes | bytearray) else None
    inner = array.arguments[0] if isinstance(array.arguments, tuple) and array.arguments else None
    if isinstance(inner, Made) and inner.state is not None:  # an array of objects that joblib pickled
        return values_of(inner)
    if isinstance(array.state, tuple) and len(array.state) == 5:  # numpy: version, shape, dtype, order, data
        data = array.state[4]
        return _plain(data[:_SMALL], array.state[2]) if isinstance(data, bytes) else values_of(data)
    return None


def _plain(data: bytes, dtype: Any) -> list[Any] | None:
    described = dtype.arguments[0] if isinstance(dtype, Made) and dtype.arguments else None
    if not isinstance(described, str) or described[:1] not in {"i", "u", "f", "b", "U", "S"}:
        return None
    try:
        kind = np.dtype(described)
        values: list[Any] = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)[
            :MOST_VALUES
        ].tolist()
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return values


def _made_by(content: Any, tops: tuple[str, ...]) -> str | None:
    """The version that scikit-learn's estimators carry; of other libraries their names."""
    version = _version(content)
    named = [f"scikit-learn {version}"] if version else ["scikit-learn"] if "sklearn" in tops else []
    named += [top for top in ("xgboost", "lightgbm", "catboost") if top in tops]
    return ", ".join(named) or None


def _version(content: Any) -> str | None:
    """Of scikit-learn, by the first estimator that carries it."""
    for value in _below(content, MOST_OBJECTS):
        version = value.get("_sklearn_version") if isinstance(value, Made) else None
        if isinstance(version, str) and _VERSION.fullmatch(version):
            return version
    return None


def _below(content: Any, most: int) -> Iterator[Any]:
    """An object and what it holds, level by level, each once."""
    waiting, seen = deque([content]), {id(content)}
    while waiting and most > 0:
        value = waiting.popleft()
        most -= 1
        yield value
        if isinstance(value, Made):
            children = [value.arguments, value.items, value.state]
        elif isinstance(value, dict):
            children = list(islice(value.values(), most))
        else:
            children = list(islice(value, most)) if isinstance(value, list | tuple) else []
        for child in children:
            if isinstance(child, Made | dict | list | tuple) and id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def torch_facts(path: Path) -> Facts:
    """Of weights, a checkpoint or a whole module saved by ``torch.save``."""
    found, version = _torch_outline(path)
    names = tuple(dict.fromkeys(found.names))
    modules = [name for name in names if _is_module(found.content, name)]
    notes = ["it holds a whole module: its classes must be importable"] if modules else []
    return Facts(
        made_by=f"PyTorch ({version})",
        inside=(("object", _described(found.content)), *_groups(found.content)),
        code=torch_calls(found.names),
        packages=tuple(
            dict.fromkeys(
                top
                for name in names
                if not _TORCH.fullmatch(name) and not _is_standard(top := name.partition(".")[0]) and top != "torch"
            )
        ),
        notes=tuple(notes),
    )


def torch_calls(names: Iterable[str]) -> tuple[str, ...]:
    """What a pickle calls beside what PyTorch reads without trust (``weights_only``)."""
    others = [name for name in dict.fromkeys(names) if not _TORCH.fullmatch(name)]
    return (listed(others, most=20),) if others else ()


def _torch_outline(path: Path) -> tuple[Outline, str]:
    """What is in the file, and the words for its form."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(name) as stream:
                found = outline(BoundedStream(stream))
            top = name.rpartition("/")[0]
            version = f"{top}/version" if top else "version"
            written = member(archive, version, 64).decode("latin-1").strip() if version in archive.namelist() else "?"
            return found, f"zip form, version {written}"
    with path.open("rb") as file:
        pickles = BoundedStream(file)
        for _ in range(3):  # its magic number, the version of its form, and facts of the machine
            outline(pickles)
        return outline(pickles), "the form before 1.6"


def _is_module(content: Any, name: str) -> bool:
    return isinstance(content, Made) and content.by == name and isinstance(content.get("_modules"), Made | dict)


def _entries(content: Any) -> dict[Any, Any]:
    if isinstance(content, Made):
        content = content.items if isinstance(content.items, dict) else content.state
    return content if isinstance(content, dict) else {}


def _groups(content: Any) -> Iterator[tuple[str, str]]:
    """Tensors at the top, and in each dict below it."""
    own = [content] if is_tensor(content) else [value for value in _entries(content).values() if is_tensor(value)]
    if own:
        yield "tensors", _sized(own)
    for key, value in islice(_entries(content).items(), 50):
        if isinstance(value, str | int | float | bool):
            yield f"{key!r:.80}", f"{value!r:.80}"
        elif not is_tensor(value):
            # A parameter is made of a tensor, which is not counted twice.
            parts = {
                id(part.arguments[0]) for part in _below(value, MOST_OBJECTS) if is_tensor(part) and part.arguments
            }
            below = [part for part in _below(value, MOST_OBJECTS) if is_tensor(part) and id(part) not in parts]
            if below:
                yield f"in {key!r:.80}", _sized(below)


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor or a parameter of PyTorch."""
    return isinstance(value, Made) and isinstance(value.by, str) and value.by.startswith("torch._utils._rebuild_")


def _sized(tensors: list[Made]) -> str:
    total = sum(_parameters(tensor) for tensor in tensors)
    return f"{counted(len(tensors), 'tensor')}, {total:,} numbers"


def _parameters(tensor: Made) -> int:
    arguments = tensor.arguments
    if arguments and is_tensor(arguments[0]):  # a parameter around a tensor
        return _parameters(arguments[0])
    shape = arguments[2] if isinstance(arguments, tuple) and len(arguments) > 2 else ()
    count = 1
    for size in shape if isinstance(shape, tuple) else ():
        count *= size if isinstance(size, int) else 0
    return count
