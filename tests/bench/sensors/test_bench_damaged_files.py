"""Whatever is in a file, or if it cannot be read at all: nothing fails, and no figure is absurd."""

from datetime import datetime, timezone

import pytest

from ortolan.hardware.probe import probe, probe_state
from ortolan_bench.environment import record
from ortolan_bench.sensors import Machine, usage, usage_from_json, usage_to_json
from ortolan_bench.sensors.accelerator import accelerator_memory
from ortolan_bench.sensors.power import find_power_meter
from ortolan_bench.validity import Evidence, judge

NAMES = ["pi-4", "pi-5", "orin-nano", "x86-laptop", "vm", "container"]
CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)),
    "negative": b"-1\n",
    "huge": b"9" * 400 + b"\n",
    "twenty digits": b"9" * 20 + b" " + b"9" * 20 + b"\n",
    "words": b"no such device\n\n\n",
    "cut off": None,
    "directory": "directory",  # opens but cannot be read, as a sensor that is switched off
}


def damage(file, content):
    original = file.read_bytes()
    if content == "directory":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(original[: len(original) // 2] if content is None else content)
    return original


def repair(file, original):
    if file.is_dir():
        file.rmdir()
    file.write_bytes(original)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_file_may_be_damaged(computer, worker, name, content):
    """One at a time, between the readings, as happens to a sensor that fails."""
    root = computer(name)
    before = Machine(root, clock=lambda: 1.0).read(worker)
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        original = damage(file, content)
        after = Machine(root, clock=lambda: 2.0).read(worker)
        for found in (usage(before, after, 0.5), usage(after, before, 0.5), usage(after, after, 0.5)):
            assert usage_from_json(usage_to_json(found), "conditions") == found
            judge(Evidence(usage=found))
            assert found.energy_j is None or 0 < found.energy_j < 1e5, file
            assert found.temperature_highest_c is None or -40 < found.temperature_highest_c < 150, file
        find_power_meter(str(root), None)
        accelerator_memory(worker, root)
        repair(file, original)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_the_environment_is_recorded_from_damaged_files(computer, content):
    """All of them at once."""
    root = computer("orin-nano")
    for file in [path for path in root.rglob("*") if path.is_file()]:
        damage(file, content)
    found = record(
        hardware=probe(root),
        state=probe_state(root),
        runtime_id="x",
        numpy_version="x",
        command=[],
        started=datetime(2026, 1, 1, tzinfo=timezone.utc),
        root=root,
    )
    assert found["cores_usable"] >= 1
