"""Which provider each node of a loaded graph was given, and whether that is what was asked for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ortolan.engine.providers import short_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.engine.providers import Provider

_WORK = """
Attention Conv ConvInteger ConvTranspose DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention
DynamicQuantizeLSTM DynamicQuantizeMatMul Einsum FusedConv FusedGemm FusedMatMul FusedMatMulActivation
GRU Gemm GemmFloat8 GroupQueryAttention LSTM LongformerAttention MatMul MatMulBnb4 MatMulFpQ4 MatMulInteger
MatMulInteger16 MatMulIntegerToFloat MatMulNBits MoE MultiHeadAttention NhwcConv NhwcFusedConv PackedAttention
PackedMultiHeadAttention QAttention QGemm QLinearConv QLinearConvTranspose QLinearMatMul QMoE QOrderedAttention
QOrderedMatMul RNN SparseAttention SparseToDenseMatMul TransposeMatMul
"""

WORK = frozenset(_WORK.split())
"""Operators that multiply and accumulate: where they run decides where the model runs."""

Nodes = dict[str, "Counter[str]"]
"""Number of nodes by provider (short name where Ortolan has one) and operator."""


def assignment(session: Any, provider: Provider | None = None) -> Nodes | None:
    """Where the nodes of an ``onnxruntime.InferenceSession`` are; None if its version does not tell.

    The session must have been opened with ``session.record_ep_graph_assignment_info``.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        provider: the one that was asked for, whose name counts even if it is in no table.
    """
    read = getattr(session, "get_provider_graph_assignment_info", None)
    if read is None:
        return None
    nodes: Nodes = {}
    for part in read():
        asked = provider is not None and part.ep_name == provider.ort_name
        name = provider.name if provider is not None and asked else short_name(part.ep_name)
        operators = nodes.setdefault(name, Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return nodes


def completed(nodes: Nodes, provider: Provider, operators: Mapping[str, int]) -> Nodes:
    """The assignment with the nodes of a provider that onnxruntime does not list, as it does not WebGPU's (1.27).

    They are what the graph has beyond the nodes that are listed elsewhere. Only numbers are compared, of nodes that do
    real work where there are any: optimization renames nodes and removes others before they are assigned.

    Args:
        nodes: the assignment.
        provider: the one that was asked for.
        operators: number of nodes in the model's file, by operator.
    """
    if provider.name in nodes:
        return nodes
    work = Counter({name: count for name, count in operators.items() if name in WORK})
    listed = Counter[str]()
    for elsewhere in nodes.values():
        listed.update(elsewhere)
    if work:
        left = work.total() - sum(count for name, count in listed.items() if name in WORK)
    else:
        left = sum(operators.values()) - listed.total()
    if left <= 0:
        return nodes
    unlisted = (work or Counter(operators)) - listed
    return {**nodes, provider.name: unlisted or Counter({next(iter(work or operators)): left})}


def totals(nodes: Nodes) -> Mapping[str, int]:
    """Number of nodes per provider."""
    return {provider: sum(operators.values()) for provider, operators in nodes.items()}


def strays(nodes: Nodes, provider: Provider) -> str:
    """The nodes that do real work elsewhere than on ``provider``: ``"2 x MatMul on cpu"``; empty if there are none."""
    found = [
        f"{count} x {operator} on {place}"
        for place, operators in sorted(nodes.items())
        if place != provider.name
        for operator, count in sorted(operators.items())
        if operator in WORK
    ]
    return ", ".join(found)


def works(nodes: Nodes, provider: Provider) -> bool:
    """Whether ``provider`` has anything to do, and real work if the graph has any."""
    here = nodes.get(provider.name, Counter())
    any_work = any(operator in WORK for operators in nodes.values() for operator in operators)
    return any(operator in WORK for operator in here) if any_work else bool(here)
