"""Memory of this process as Linux tells it."""

from __future__ import annotations

from pathlib import Path

from ortolan_bench.protocol import MemoryUse


def memory_of(process: Path = Path("/proc/self")) -> MemoryUse:
    """Read ``status`` and ``smaps_rollup`` of a process directory; what cannot be read is None."""
    status = _sizes(process / "status")
    rollup = _sizes(process / "smaps_rollup")
    private = [rollup[key] for key in ("Private_Clean", "Private_Dirty") if key in rollup]
    return MemoryUse(
        peak_rss=status.get("VmHWM"),
        rss=status.get("VmRSS"),
        pss=rollup.get("Pss"),
        private=sum(private) if private else None,
    )


def _sizes(path: Path) -> dict[str, int]:
    """The rows ``Name:   123 kB`` of a /proc file, in bytes (the kernel's kB is 1024)."""
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines())
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB" and row[1].isdigit()}
