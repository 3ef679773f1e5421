"""Reads a file with its library in a process of its own first: these libraries are C++, and damaged files end them."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from ortolan.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 600.0
"""Seconds that reading a file and answering one row may take."""

_TRY = """
import sys
import numpy
try:
{code}
except Exception:
    pass  # what is only refused is refused again, with its reason, where it is read in earnest
"""


def read_apart(path: Path, package: str, code: str) -> None:
    """Run code that reads a file in another process, to see whether that survives.

    Args:
        path: the file; the code finds it in ``sys.argv[1]``.
        package: that reads it, for messages.
        code: Python, of the package's own calls.

    Raises:
        ConversionError: the process ended in a crash, or did not end.
    """
    indented = "\n".join(f"    {line}" for line in code.strip().splitlines())
    command = [sys.executable, "-c", _TRY.format(code=indented), str(path)]
    try:
        found = subprocess.run(command, capture_output=True, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{path}: damaged: {package} did not finish reading it in {LONGEST:g} s") from None
    if found.returncode:
        how = signal.Signals(-found.returncode).name if found.returncode < 0 else f"exit status {found.returncode}"
        raise ConversionError(f"{path}: damaged: reading it ends {package} itself ({how}); save the model again")
