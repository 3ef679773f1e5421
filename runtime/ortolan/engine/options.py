"""onnxruntime's session options from a `SessionConfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan.engine.installation import onnxruntime
from ortolan.engine.threads import default_threads
from ortolan.errors import UsageError

if TYPE_CHECKING:
    from ortolan.engine.providers import Provider
    from ortolan.types import SessionConfig

SILENT = 4
"""Log severity "fatal": errors reach the caller as exceptions, and would be printed twice otherwise."""
MAX_THREADS = 1024
"""More threads than any machine has; onnxruntime would try to start them."""


def session_options(config: SessionConfig, *, record_placement: bool, forbid_cpu: bool = False) -> Any:
    """A new ``onnxruntime.SessionOptions``.

    What `SessionConfig` has by default was measured on two x86-64 cores (onnxruntime 1.32, layers of 64 and 512): idle
    threads that spin gain nothing and take the processor from the application; the arena changes nothing for small
    models; without repacked weights a run takes up to 1.9 times as long. Memory patterns are off where shapes change:
    seven models from 10 us to 270 ms ran as fast without (0.94 to 1.04 times), with half the memory for activations. A
    stream's shapes do not change, and silero-vad, whose activations are small, takes 1.05 times as long without.

    Args:
        config: how the session runs.
        record_placement: keep which provider each node was given, for ``placement``.
        forbid_cpu: fail to load if any node is left to the CPU provider: what older versions have to offer.

    Raises:
        UsageError: a number of threads that is none, or ``mmap=False``.
    """
    options = onnxruntime().SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = thread_count(config)
    # Nodes run one after the other, so a pool between them would only cost its threads.
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = config.arena
    # A pattern is one more block for all activations, taken when shapes come back, beside those of the first run.
    options.enable_mem_pattern = False
    entries = {
        "session.intra_op.allow_spinning": "1" if config.spinning else "0",
        "session.disable_prepacking": "0" if config.prepack else "1",
    }
    if record_placement:
        entries["session.record_ep_graph_assignment_info"] = "1"
    if forbid_cpu:
        entries["session.disable_cpu_ep_fallback"] = "1"
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    if not config.mmap:
        raise UsageError(
            "mmap=False is not supported: onnxruntime always maps weights that are stored beside the model"
        )
    return options


def provider_options(config: SessionConfig, provider: Provider) -> dict[str, str]:
    """Options for ``provider``: its row's, then the number of threads if it takes one, then the configuration's."""
    options = dict(provider.options)
    if provider.threads_option is not None:
        options[provider.threads_option] = str(thread_count(config))
    options.update(config.provider_options)
    return options


def thread_count(config: SessionConfig) -> int:
    """The configured number of intra-op threads, or what the process may use.

    Raises:
        UsageError: it is not a whole number from 1 to `MAX_THREADS`.
    """
    threads: object = config.threads
    if threads is None:
        return default_threads()
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise UsageError(f"expected a number of threads from 1 to {MAX_THREADS}, got {threads!r}")
    return threads
