"""Time per operator, from the profile that onnxruntime writes: events of the Chrome trace format. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan_bench.protocol import OperatorTime, WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def operator_times(events: Sequence[Mapping[str, Any]]) -> tuple[OperatorTime, ...]:
    """The operators of a profile, the slowest first. The first run is left out: it allocates.

    Node events are complete ones (``"ph": "X"``) of category ``Node`` named ``…_kernel_time``; ``ts`` and ``dur`` are
    microseconds (Chrome's trace event format). Profiling itself costs some microseconds per node: shares are to be
    trusted more than sums.

    Raises:
        WorkerFailed: there are no runs in it.
    """
    runs = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    measured = runs[1:] or runs
    if not measured:
        raise WorkerFailed("onnxruntime's profile holds no run of the model")
    kernels = [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= measured[0]
    ]
    seconds: dict[tuple[str, str], float] = {}
    nodes: dict[tuple[str, str], set[str]] = {}
    for event, own in _own_times(kernels):
        about = event.get("args", {})
        key = (str(about.get("op_name", "?")), str(about.get("provider", "?")))
        seconds[key] = seconds.get(key, 0.0) + own * 1e-6
        nodes.setdefault(key, set()).add(event["name"])
    found = (
        OperatorTime(op, provider, len(nodes[op, provider]), total / len(measured))
        for (op, provider), total in seconds.items()
    )
    return tuple(sorted(found, key=lambda one: (-one.seconds, one.op)))


def _own_times(kernels: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], float]]:
    """Microseconds of each event without those of the events inside of it on the same thread."""
    own: list[tuple[Mapping[str, Any], float]] = []
    around: dict[Any, list[int]] = {}
    for event in sorted(kernels, key=lambda event: (event["ts"], -event["dur"])):
        stack = around.setdefault(event.get("tid"), [])
        while stack and not _inside(event, own[stack[-1]][0]):
            stack.pop()
        if stack:
            outer, rest = own[stack[-1]]
            own[stack[-1]] = (outer, max(0.0, rest - event["dur"]))
        stack.append(len(own))
        own.append((event, float(event["dur"])))
    return own


def _inside(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> bool:
    end = outer["ts"] + outer["dur"]
    return bool(inner["ts"] < end and inner["ts"] + inner["dur"] <= end)
