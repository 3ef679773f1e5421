"""Reading the small text files of /proc and /sys: whatever is wrong with one, it reads as empty."""

from __future__ import annotations

import os

_LIMIT = 2**21  # /proc/cpuinfo of a large server has some hundred kilobytes


def read(base: str, path: str) -> str:
    """Text of ``base + path``; empty if it is missing, unreadable or a directory. Wrong UTF-8 becomes U+FFFD."""
    try:
        descriptor = os.open(base + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    chunks: list[bytes] = []
    size = 0
    try:
        # One read of a file in /proc returns a page at most.
        while size < _LIMIT and (chunk := os.read(descriptor, 65536)):
            chunks.append(chunk)
            size += len(chunk)
    except OSError:  # e.g. a sensor that is switched off; what came before it is not to be trusted either
        return ""
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode("utf-8", "replace")


def read_int(base: str, path: str) -> int | None:
    """The integer a file consists of, None if it does not."""
    text = read(base, path).strip()
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 20 else None


def read_list(base: str, path: str) -> list[str]:
    """The NUL-separated strings of a device-tree property."""
    return [part for part in read(base, path).split("\0") if part.strip()]


def entries(base: str, directory: str, prefix: str = "") -> list[str]:
    """Names in a directory that begin with ``prefix``, sorted; none if it cannot be listed."""
    try:
        names = os.listdir(base + directory)  # noqa: PTH208 -- several times faster than Path.iterdir
    except OSError:
        return []
    return sorted(name for name in names if name.startswith(prefix))


def hwmon_chips(base: str, *names: str) -> list[str]:
    """Directories of the hardware monitors with one of these driver names; their numbers change from boot to boot."""
    home = "/sys/class/hwmon"
    chips = (f"{home}/{chip}" for chip in entries(base, home, "hwmon"))
    return [chip for chip in chips if read(base, f"{chip}/name").strip() in names]
