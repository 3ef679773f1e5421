"""Builds small ONNX graphs and knows their cost: every value carries its shape, so memory and work follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

import ortolan
from ortolan.types import Polynomial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

OPSET = 21
"""The newest opset that onnxruntime 1.20 runs."""
ML_OPSET = 3
"""Of the domain ai.onnx.ml: its tree ensembles take float64 thresholds."""
IR_VERSION = 10
"""The newest file format version that onnxruntime 1.20 reads."""
FLOOR = "1.20.0"
"""The oldest onnxruntime that runs these graphs."""

DType = Literal["float16", "float32", "float64", "int8", "int32", "int64", "bool", "object"]
"""numpy's names; strings are ``object``."""
ML = "ai.onnx.ml"
"""Domain of the operators of classical machine learning."""
HOLDS_WEIGHTS = frozenset({"TreeEnsembleRegressor", "LabelEncoder"})
"""Operators whose attributes are what was learned."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph. Free dimensions of its shape are names."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """A serialized ONNX model and its cost.

    Args:
        data: the file's bytes.
        weight_bytes: bytes of all constants, and of trees and tables in attributes.
        macs: multiply-accumulates of one run; a comparison of a tree counts as one.
        activation_bytes: bytes of tensors alive at the worst moment of a run, inputs included.
        one_apart: whether a single row takes another way through the graph than several.
    """

    data: bytes = field(repr=False)
    weight_bytes: int
    macs: Polynomial
    activation_bytes: Polynomial
    one_apart: bool = False


@dataclass(slots=True)
class GraphBuilder:
    """Collects nodes in the order they run.

    Args:
        compute: floating-point type that the arithmetic is done in.
    """

    compute: Literal["float32", "float64"]
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _values: dict[str, Value] = field(default_factory=dict)
    _inputs: list[Value] = field(default_factory=list)
    _outputs: list[Value] = field(default_factory=list)
    _constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    _macs: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    _inside: dict[str, list[onnx.NodeProto]] = field(default_factory=dict)

    def input(self, name: str, dtype: DType, shape: tuple[int | str, ...]) -> Value:
        """Declare an input of the model."""
        value = Value(name, dtype, shape)
        self._inputs.append(value)
        self._values[name] = value
        return value

    def constant(self, array: NDArray[Any], name: str | None = None) -> Value:
        """A tensor stored in the model; equal unnamed tensors are stored once."""
        array = np.ascontiguousarray(array)
        if name is None:
            for known, other in self._constants.items():
                if other.dtype == array.dtype and other.shape == array.shape and other.tobytes() == array.tobytes():
                    return Value(known, str(other.dtype), other.shape)
        name = name or f"constant_{len(self._constants)}"
        self._constants[name] = array
        return Value(name, str(array.dtype), array.shape)

    def number(self, *values: float) -> Value:
        """Constants in the type the arithmetic is done in: a scalar, or a vector of several."""
        array = np.asarray(values if len(values) > 1 else values[0], dtype=self.compute)
        return self.constant(array)

    def vector(self, values: Sequence[float] | NDArray[Any]) -> Value:
        """A constant vector in the type the arithmetic is done in."""
        return self.constant(np.atleast_1d(np.asarray(values)).astype(self.compute))

    def node(
        self,
        operator: str,
        *inputs: Value,
        shape: tuple[int | str, ...] | None = None,
        dtype: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """Add a node with one output, whose shape and type default to those of the first input."""
        number = len(self._nodes) + sum(map(len, self._inside.values()))
        output = Value(f"{operator.lower()}_{number}", dtype or inputs[0].dtype, shape or inputs[0].shape)
        node = helper.make_node(
            operator, [value.name for value in inputs], [output.name], output.name, domain=domain or None
        )
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in sorted(attributes))
        self._nodes.append(node)
        self._values[output.name] = output
        if operator == "MatMul":
            self._macs.append(_product((*output.shape, inputs[0].shape[-1])))
        return output

    def takes(self, *counts: int | str) -> None:
        """Count the work of a node that is no matrix product: the product of these, in multiply-accumulates."""
        self._macs.append(_product(counts))

    def one_or_more(self, rows: Value, one: Callable[[], Value], more: Callable[[], Value]) -> Value:
        """Two ways to the same numbers: for a batch of one row, and for any other.

        Args:
            rows: its first axis counts them.
            one: adds the nodes for one row; gives [1, n].
            more: adds those for several; gives [batch, n] in the same type.
        """
        count = self.node("Shape", rows, shape=(1,), dtype="int64", end=1)
        alone = self.node("Equal", count, self.constant(np.array([1])), shape=(1,), dtype="bool")
        _, then_branch = self._branch(one, f"{alone.name}_one")
        found, else_branch = self._branch(more, f"{alone.name}_more")
        shape = (rows.shape[0], *found.shape[1:])
        return self.node("If", alone, shape=shape, dtype=found.dtype, then_branch=then_branch, else_branch=else_branch)

    def _branch(self, add: Callable[[], Value], name: str) -> tuple[Value, onnx.GraphProto]:
        """The nodes that ``add`` adds, as a graph of their own; its constants stay outside."""
        start = len(self._nodes)
        value = add()
        self._inside[name] = self._nodes[start:]
        del self._nodes[start:]
        return value, helper.make_graph(self._inside[name], name, [], [_declare(value)])

    def _everything(self) -> Iterator[onnx.NodeProto]:
        """All nodes, those of branches too."""
        yield from self._nodes
        for nodes in self._inside.values():
            yield from nodes

    def top(self, value: Value, count: int, *, largest: bool) -> tuple[Value, Value]:
        """The largest or smallest of each row of [batch, n] in order, and int64 their columns: [batch, count] each."""
        shape = (value.shape[0], count)
        found = [
            Value(f"topk_{len(self._nodes)}{end}", dtype, shape) for end, dtype in (("", value.dtype), ("_at", "int64"))
        ]
        size = self.constant(np.array([count], np.int64))
        names = [output.name for output in found]
        self._nodes.append(
            helper.make_node("TopK", [value.name, size.name], names, names[0], axis=1, largest=int(largest), sorted=1)
        )
        self._values.update((output.name, output) for output in found)
        return found[0], found[1]

    def cast(self, value: Value, dtype: DType) -> Value:
        """The value in another type; itself if it already is."""
        if value.dtype == dtype:
            return value
        return self.node("Cast", value, dtype=dtype, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def output(self, value: Value, name: str, dtype: DType = "float32") -> None:
        """Make the value an output of the model, in this type."""
        result = Value(name, dtype, value.shape)
        operator = "Identity" if value.dtype == dtype else "Cast"
        node = helper.make_node(operator, [value.name], [name], name)
        if operator == "Cast":
            node.attribute.append(helper.make_attribute("to", helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))
        self._nodes.append(node)
        self._values[name] = result
        self._outputs.append(result)

    def build(self, nominal: Mapping[str, int]) -> BuiltModel:
        """Serialize, check, and work out the cost.

        Args:
            nominal: usual sizes of the free dimensions, to find the moment of a run that needs most memory.
        """
        graph = helper.make_graph(
            self._nodes,
            "ortolan",
            [_declare(value) for value in self._inputs],
            [_declare(value) for value in self._outputs],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                *([helper.make_opsetid(ML, ML_OPSET)] if any(node.domain == ML for node in self._everything()) else []),
            ],
            ir_version=IR_VERSION,
            producer_name="ortolan",
            producer_version=ortolan.__version__,
        )
        onnx.checker.check_model(model)
        return BuiltModel(
            data=model.SerializeToString(deterministic=True),
            weight_bytes=sum(array.nbytes for array in self._constants.values())
            + sum(
                node.ByteSize() for node in self._everything() if node.domain == ML and node.op_type in HOLDS_WEIGHTS
            ),
            macs=_collect(self._macs),
            activation_bytes=self._liveness(nominal),
            one_apart=bool(self._inside),
        )

    def _liveness(self, nominal: Mapping[str, int]) -> Polynomial:
        inside = [_branches(node) for node in self._nodes]
        last = {
            name: index
            for index, node in enumerate(self._nodes)
            for one in (node, *inside[index])
            for name in one.input
        }
        last |= {value.name: len(self._nodes) for value in (*self._inputs, *self._outputs)}
        alive = [value.name for value in self._inputs]
        worst = Polynomial(())
        for index, node in enumerate(self._nodes):
            alive.extend(node.output)
            # Of branches all values at once: a bound, and little beside the rest.
            within = [name for one in inside[index] for name in one.output]
            here = _collect([_bytes(self._values[name]) for name in (*alive, *within)])
            worst = max(worst, here, key=lambda cost: cost.at(nominal))
            alive = [name for name in alive if last.get(name, -1) > index]
        return worst


def _branches(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of the graphs within a node."""
    return [inner for attribute in node.attribute if attribute.HasField("g") for inner in attribute.g.node]


def _declare(value: Value) -> onnx.ValueInfoProto:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(value.name, dtype, value.shape)


def _product(dims: Sequence[int | str], factor: float = 1) -> tuple[float, tuple[str, ...]]:
    names = tuple(dim for dim in dims if isinstance(dim, str))
    for dim in dims:
        factor *= dim if isinstance(dim, int) else 1
    return factor, names


def _bytes(value: Value) -> tuple[float, tuple[str, ...]]:
    return _product(value.shape, np.dtype(value.dtype).itemsize)


def _collect(terms: Sequence[tuple[float, tuple[str, ...]]]) -> Polynomial:
    total: dict[tuple[str, ...], float] = {}
    for factor, names in terms:
        total[names] = total.get(names, 0) + factor
    return Polynomial(tuple((factor, names) for names, factor in total.items()))
