"""Whether a provider runs on this machine: to be installed is not enough."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ortolan.engine.session import open_session
from ortolan.errors import OrtolanError
from ortolan.types import SessionConfig

_SUM = (
    b'\x08\x08:A\n\x10\n\x01x\n\x01x\x12\x01y"\x03Add:\x00\x12\x03oneZ\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x02\n'
    b"\x02\x08\x04b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x02\n\x02\x08\x04B\x04\n\x00\x10\x11"
)
"""An ONNX file, IR 8 and opset 17: float32 x[2, 4] -> y = x + x."""


def obstacle(provider: str) -> str | None:
    """What keeps a provider from running a model of one node here, None if it does run it.

    Args:
        provider: its name.
    """
    with tempfile.TemporaryDirectory(prefix="ortolan-trial-") as directory:
        path = Path(directory) / "one-node.onnx"
        path.write_bytes(_SUM)
        try:
            open_session(path, SessionConfig(provider=provider, threads=1)).close()
        except OrtolanError as error:
            return str(error).replace(str(path), "a model of one node")
    return None
