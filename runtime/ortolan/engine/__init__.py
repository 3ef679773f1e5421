"""Everything that touches onnxruntime; no other package imports it."""

from __future__ import annotations

from ortolan.engine.control import RunControl
from ortolan.engine.installation import installed_version, runtime_id
from ortolan.engine.providers import available as available_providers
from ortolan.engine.session import OrtSession, open_session
from ortolan.engine.threads import default_threads

__all__ = [
    "OrtSession",
    "RunControl",
    "available_providers",
    "default_threads",
    "installed_version",
    "open_session",
    "runtime_id",
]
